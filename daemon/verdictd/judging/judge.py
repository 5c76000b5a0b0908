"""Judge a submission: compile it, run it as often as asked for, stop at the first run that fails."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import AwareDatetime

from verdictd import __version__
from verdictd.contract.result import Cause, LanguageUsed, Result, Status, WorkerIdentity
from verdictd.errors import FaultKind, Problem, SandboxBroken
from verdictd.judging import languages
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.check import OutputChecker
from verdictd.judging.checkers.judgement import Judgement
from verdictd.judging.checkers.program import Case
from verdictd.judging.compile import Compilation, compile_submission
from verdictd.judging.execution import memory_floor_kib, run_artifact, run_command
from verdictd.judging.languages import Language
from verdictd.judging.results import Judged, judged_result, unjudged_result
from verdictd.judging.verdicts import Verdict, internal_error, verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import BoxId, Captured, Report, Sandbox
from verdictd.sandbox.pool import BoxPool
from verdictd.settings import JudgeSettings

_COMPILE_OUTPUT_BYTES = 64 * 1024  # in a result
_BEGINNINGS = 3
"""Boxes in which a compilation or a run is begun, before the submission goes back to the queue."""
_BEGUN_AGAIN = frozenset(FaultKind) - {FaultKind.DEADLINE, FaultKind.FILES}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A submission that has a box now."""

    id: str
    language: str
    since: AwareDatetime


@dataclass(slots=True)
class _Progress:
    """The steps of a submission that are done, in whatever box; `faults` of the sandbox in the next step.

    `started_at`: the time at which it had its first box. `box`: the last one.
    """

    checker: OutputChecker
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    box: BoxId | None = None
    compilation: Compilation | None = None
    reports: list[Report] = field(default_factory=list)
    faults: list[SandboxBroken] = field(default_factory=list)

    @property
    def blames_the_program(self) -> bool:
        """True if the sandbox failed while the program ran, each time."""
        return all(fault.kind is FaultKind.PROGRAM for fault in self.faults)


class Judge:
    """Judges submissions in the boxes of a pool.

    State: the language versions that were asked for so far, and the submission that runs in each box.
    """

    def __init__(self, *, pool: BoxPool, sandbox: Sandbox, settings: JudgeSettings, open_files: int) -> None:
        self._pool = pool
        self._sandbox = sandbox
        self._settings = settings
        self._open_files = open_files
        self._versions: dict[str, str | None] = {}
        self._running: dict[BoxId, Running] = {}

    @property
    def running(self) -> dict[BoxId, Running]:
        """The submissions that run now, by the number of their box."""
        return dict(self._running)

    async def judge(self, admitted: Admitted) -> Result:
        """Judge a submission in a box of its own; if the sandbox fails, go on in another.

        A program that makes the sandbox fail in one working box after the other gets a verdict for that.
        Raises SandboxBroken if the sandbox fails otherwise again and again, or if its box does not work any
        more, Draining if no more boxes are leased.
        """
        progress = _Progress(
            OutputChecker(admitted, compile_program=self._compile, open_files=self._open_files)
        )
        judged = None
        while judged is None:
            try:
                judged = await self._go_on(admitted, progress)
            except SandboxBroken as error:
                progress.faults.append(error)
                if not error.box_works or error.kind not in _BEGUN_AGAIN:
                    raise
                if len(progress.faults) < _BEGINNINGS:
                    log.warning("run.begun_again", kind=error.kind, error=str(error))
                elif progress.blames_the_program:
                    judged = _sandbox_broken(progress.compilation, error)
                else:
                    raise
        language = admitted.language
        return judged_result(
            admitted,
            judged,
            language=LanguageUsed(name=language.name, version=await self.version(language)),
            worker=self.identity(progress.box),
            started_at=progress.started_at,
        )

    async def _go_on(self, admitted: Admitted, progress: _Progress) -> Judged:
        """Do the steps that are left in one box."""
        submission, language = admitted.submission, admitted.language
        async with self._pool.lease() as box:
            since = datetime.now(UTC)
            if progress.box is None:
                progress.started_at = since
            progress.box = box.number
            # Bound for the rest of the caller's task and the tasks it starts, the one that retires a box too.
            structlog.contextvars.bind_contextvars(language=language.name, box=box.number)
            self._running[box.number] = Running(submission.id, language.name, since)
            log.debug("submission.started", id=submission.id)
            try:
                spent_s = (since - progress.started_at).total_seconds()
                return await self._within_time(box, admitted, progress, spent_s=spent_s)
            finally:
                del self._running[box.number]

    async def _within_time(
        self, box: Box, admitted: Admitted, progress: _Progress, *, spent_s: float
    ) -> Judged:
        timeout_s = self._settings.submission_timeout_s
        try:
            async with asyncio.timeout(timeout_s - spent_s):
                return await self._judge(box, admitted, progress)
        except TimeoutError:
            message = (
                f"judging in box {box.number} took longer than {timeout_s:g} s (judge.submission_timeout_s)"
            )
            raise SandboxBroken(message, FaultKind.DEADLINE) from None

    async def _judge(self, box: Box, admitted: Admitted, progress: _Progress) -> Judged:
        compilation = progress.compilation
        if compilation is None:
            compilation = progress.compilation = await self._compile(box, admitted)
            progress.faults.clear()
        if compilation.artifact is None:
            failed = Verdict(Status.COMPILATION_ERROR, Cause.COMPILE, compilation.failure)
            return Judged(failed, compilation.output, ())
        artifact = compilation.artifact
        command = run_command(admitted, artifact, open_files=self._open_files)
        floor_kib = memory_floor_kib(command, self._sandbox)
        while True:
            if progress.reports:  # the output of many runs would fill the daemon's memory
                progress.reports[-1] = progress.reports[-1].without_streams()
            report = await run_artifact(box, artifact, command)
            judgement = await _judgement(box, report, admitted, progress.checker, floor_kib)
            progress.reports.append(report)
            progress.faults.clear()
            is_last = len(progress.reports) == admitted.limits.number_of_runs
            if is_last or judgement.verdict.status is not Status.ACCEPTED:
                return Judged(
                    judgement.verdict,
                    compilation.output,
                    progress.reports,
                    judgement.checker_message,
                    judgement.team_message,
                )

    async def _compile(self, box: Box, admitted: Admitted) -> Compilation:
        return await compile_submission(
            box,
            admitted,
            artifact_bytes=self._settings.artifact_kib * 1024,
            output_bytes=_COMPILE_OUTPUT_BYTES,
        )

    async def version(self, language: Language) -> str | None:
        """Return the version of a compiler or interpreter, or None if it is unknown; it is asked for once."""
        if language.name not in self._versions:
            self._versions[language.name] = await languages.version(language)
        return self._versions[language.name]

    def identity(self, box: int | None) -> WorkerIdentity:
        """Return the host, the box and the versions that a result names."""
        return WorkerIdentity(
            host=socket.gethostname(),
            box=box,
            sandbox=self._sandbox.name,
            sandbox_version=self._sandbox.version,
            verdictd=__version__,
        )

    def unjudged(
        self,
        submission_id: str,
        verdict: Verdict,
        problems: Sequence[Problem] = (),
        metadata: dict[str, Any] | None = None,
    ) -> Result:
        """Return the result of a message that is not judged."""
        return unjudged_result(submission_id, verdict, self.identity(None), problems, metadata)


def _sandbox_broken(compilation: Compilation | None, error: SandboxBroken) -> Judged:
    """Return the verdict on a program, or a compiler, that made one working box after the other fail."""
    if error.with_checker:
        message = f"The checker breaks its sandbox: {error}."
        output = Captured() if compilation is None else compilation.output
        return Judged(internal_error(message, Cause.CHECKER), output, ())
    if compilation is None:
        message = f"The compiler breaks its sandbox: {error}."
        return Judged(Verdict(Status.COMPILATION_ERROR, Cause.SANDBOX, message), Captured(), ())
    message = f"The program breaks its sandbox: {error}."
    return Judged(Verdict(Status.RUNTIME_ERROR_OTHER, Cause.SANDBOX, message), compilation.output, ())


async def _judgement(
    box: Box, report: Report, admitted: Admitted, checker: OutputChecker, floor_kib: int
) -> Judgement:
    """Return the verdict on a run; the checker is asked about the output of a program that ended well."""
    decided = verdict(
        report,
        admitted.limits,
        memory_floor_kib=floor_kib,
        out_of_memory=admitted.language.out_of_memory,
    )
    if decided.status is not Status.ACCEPTED:
        return Judgement(decided)
    submission = admitted.submission
    return await checker.check(box, Case(submission.stdin, report.stdout.data, submission.expected_output))
