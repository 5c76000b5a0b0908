"""Let a program talk to the interactor of its submission, which runs beside it in the second box."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import structlog

from verdictd import metrics
from verdictd.contract.checker import Interactor
from verdictd.contract.result import Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.files import File
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.checkers.authored import AuthoredProgram, Compile, faults_of_author, free_name
from verdictd.judging.checkers.blame import blame
from verdictd.judging.checkers.judgement import Judgement, fault
from verdictd.judging.execution import Artifact, memory_floor_kib, place_artifact, was_disturbed
from verdictd.judging.interactive import interactor_limits
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.companion import companion
from verdictd.sandbox.model import Command, Descriptor, Report, Transcript
from verdictd.sandbox.pair import Meeting, Seat, meet

_UNREAD_BYTES = 64 * 1024 * 1024
"""Bytes that an interactor may still write to a program that has ended: it cannot know that."""
_FOLLOWING = "nextpass.in"
_TRANSCRIPT_BYTES = 128 * 1024

log = structlog.get_logger()


class InteractorProgram:
    """The interactor of one submission."""

    def __init__(
        self, interactor: Interactor, admitted: Admitted, *, compile_program: Compile, open_files: int
    ) -> None:
        self._protocol = interactor.protocol
        self.passes = interactor.passes
        self._limits = admitted.limits
        self.program = AuthoredProgram(
            "interactor", interactor, admitted, compile_program=compile_program, open_files=open_files
        )

    async def compiled(self, box: Box) -> Artifact | Judgement:
        """Return what is to be run beside a program in this box, or the judgement that there is nothing.

        Raises SandboxBroken, marked as the author's.
        """
        with faults_of_author():
            return await self.program.compiled(await companion(box))

    def command(self, artifact: Artifact, folder: str, test: AdmittedTest) -> Command:
        """Return the command beside a run of this test."""
        given, answer, output, feedback = (
            f"/box/{folder}/{name}" for name in ("input", "answer", "feedback/output", "feedback/")
        )
        match self._protocol:
            case "testlib":
                arguments = (given, output, answer)
            case "kattis":
                arguments = (given, answer, feedback)
            case _ as unreachable:
                assert_never(unreachable)
        return self.program.command(artifact, arguments, limits=self.limits(test))

    def limits(self, test: AdmittedTest) -> EffectiveLimits:
        """Return its limits beside a run of this test."""
        return interactor_limits(self._limits, test.limits)


@dataclass(frozen=True, slots=True)
class Pass:
    """One conversation of a test: the interactor's input, and what it left in its feedback before."""

    given: bytes | Descriptor = field(repr=False)
    feedback: tuple[File, ...] = ()


@dataclass(slots=True)
class Interaction:
    """One test of a program with an interactor. State: the runs, each with the judgement on it."""

    interactor: InteractorProgram
    box: Box
    command: Command
    """The command of the tested program."""
    artifact: Artifact
    beside: Artifact
    """The interactor."""
    admitted: Admitted
    test: AdmittedTest
    stdin: OpenData
    expected: OpenData | None
    _judged: list[tuple[Report, Judgement]] = field(default_factory=list)

    async def run(self) -> Report:
        """Run both programs, in as many passes as the interactor asks for. Raises SandboxBroken."""
        folder = free_name(self.beside)
        second = await companion(self.box)
        following: Pass | None = Pass(self.stdin.source)
        reports: list[Report] = []
        while following is not None:
            meeting, judged = await self._pass(second, folder, following)
            reports.append(meeting.program.report)
            following = None
            if self.interactor.passes > 1 and judged.verdict.status is Status.ACCEPTED:
                following, judged = await self._following(second, folder, judged, last=len(reports))
        report = _together(reports)
        self._judged.append((report, judged))
        return report

    def judgement(self, report: Report) -> Judgement:
        """Return the judgement on a run by its report."""
        return next(judged for known, judged in self._judged if known is report)

    async def _pass(self, second: Box, folder: str, this: Pass) -> tuple[Meeting, Judgement]:
        """Run both programs, and once more if others disturbed one of them."""
        command = self.interactor.command(self.beside, folder, self.test)
        meeting = await self._meet(second, command, folder, this)
        for part in (meeting.program, meeting.partner):
            if was_disturbed(part.report):
                log.warning("run.repeated", ending=part.report.ending, signal=part.report.signal)
                meeting = await self._meet(second, command, folder, this)
                break
        with faults_of_author():
            decided = await self.interactor.program.judgement(
                second,
                folder,
                command,
                meeting.partner.report,
                self.test.points,
                limits=self.interactor.limits(self.test),
            )
        alone = verdict(
            meeting.program.report,
            self.test.limits,
            memory_floor_kib=memory_floor_kib(self.command, self.box.sandbox),
            out_of_memory=self.admitted.language.out_of_memory,
        )
        return meeting, blame(meeting, alone, decided, self.test.limits)

    async def _following(
        self, second: Box, folder: str, judged: Judgement, *, last: int
    ) -> tuple[Pass | None, Judgement]:
        """Return the pass that the interactor asks for after one that it accepted, and the judgement."""
        with faults_of_author():
            left = await self.interactor.program.left(second, folder)
        if isinstance(left, Judgement):
            return None, left
        name = f"{folder}/feedback/{_FOLLOWING}"
        asked = next((file.content for file in left if file.name == name), None)
        if asked is None:
            return None, judged
        if last == self.interactor.passes:
            return None, fault(f"The interactor failed: it asks for more than {last} passes.")
        return Pass(asked, tuple(file for file in left if file.name != name)), judged

    async def _meet(self, second: Box, command: Command, folder: str, this: Pass) -> Meeting:
        data = {
            "input": this.given,
            "answer": b"" if self.expected is None else self.expected.source,
        }
        with metrics.STAGES.labels(metrics.Stage.RUN).time():
            await self.box.ready(control_groups=self.command.control_groups)
            await place_artifact(self.box, self.artifact)
            with faults_of_author():
                await second.ready(control_groups=command.control_groups)
                await self.interactor.program.place(second, self.beside, folder, data, this.feedback)
            return await meet(
                Seat(self.box, self.command, dropped_bytes=self.command.constraints.output_bytes),
                Seat(second, command, dropped_bytes=_UNREAD_BYTES, of_author=True),
                ends_program=self.interactor.program.is_against,
                transcript_bytes=_TRANSCRIPT_BYTES if self.admitted.submission.transcript else 0,
            )


def _together(reports: Sequence[Report]) -> Report:
    """Return the last of several passes, with the largest figures of all and everything that was said."""
    if len(reports) == 1:
        return reports[0]
    said = tuple(utterance for report in reports for utterance in report.transcript.said)
    truncated = any(report.transcript.truncated for report in reports)
    return replace(
        reports[-1],
        cpu_time_s=max(report.cpu_time_s for report in reports),
        wall_time_s=max(report.wall_time_s for report in reports),
        memory_kib=max(report.memory_kib for report in reports),
        transcript=Transcript(said, truncated).cut(_TRANSCRIPT_BYTES),
    )
