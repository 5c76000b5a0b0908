"""Let a program talk to the interactor of its submission, which runs beside it in the second box."""

from dataclasses import dataclass
from typing import assert_never

import structlog

from verdictd import metrics
from verdictd.contract.checker import Interactor
from verdictd.contract.submission import EffectiveLimits
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.checkers.authored import AuthoredProgram, Compile, faults_of_author, free_name
from verdictd.judging.checkers.blame import blame
from verdictd.judging.checkers.judgement import Judgement
from verdictd.judging.checkers.passes import TRANSCRIPT_BYTES, Pass
from verdictd.judging.execution import Artifact, memory_floor_kib, place_artifact, was_disturbed
from verdictd.judging.interactive import interactor_limits
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.companion import companion
from verdictd.sandbox.model import Command, Report
from verdictd.sandbox.pair import Meeting, Seat, meet

_UNREAD_BYTES = 64 * 1024 * 1024
"""Bytes that an interactor may still write to a program that has ended: it cannot know that."""

log = structlog.get_logger()


class InteractorProgram:
    """The interactor of one submission."""

    def __init__(
        self, interactor: Interactor, admitted: Admitted, *, compile_program: Compile, open_files: int
    ) -> None:
        self._protocol = interactor.protocol
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
class Interaction:
    """One test of a program with an interactor."""

    interactor: InteractorProgram
    box: Box
    command: Command
    """The command of the tested program."""
    artifact: Artifact
    beside: Artifact
    """The interactor."""
    admitted: Admitted
    test: AdmittedTest
    expected: OpenData | None

    async def one_pass(self, this: Pass) -> tuple[Report, Judgement]:
        """Run both programs, and once more if others disturbed one of them. Raises SandboxBroken."""
        second, folder = await companion(self.box), free_name(self.beside)
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
        return meeting.program.report, blame(meeting, alone, decided, self.test.limits)

    async def following(self, done: int) -> Pass | Judgement | None:
        """Return the pass that the interactor asks for; see `AuthoredProgram.following`."""
        with faults_of_author():
            folder = free_name(self.beside)
            return await self.interactor.program.following(await companion(self.box), folder, done)

    async def _meet(self, second: Box, command: Command, folder: str, this: Pass) -> Meeting:
        data = {
            "input": this.given.source,
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
                transcript_bytes=TRANSCRIPT_BYTES if self.admitted.submission.transcript else 0,
            )
