"""Judge a submission: compile it, run it as often as asked for, stop at the first run that fails."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from pydantic import AwareDatetime

from verdictd import __version__
from verdictd.concurrency import offload
from verdictd.contract.result import Cause, LanguageUsed, Result, Status, WorkerIdentity
from verdictd.errors import FaultKind, Problem, SandboxBroken
from verdictd.judging import languages
from verdictd.judging.admission import Admitted
from verdictd.judging.compile import compile_submission
from verdictd.judging.execution import memory_floor_kib, run_artifact, run_command
from verdictd.judging.languages import Language
from verdictd.judging.results import Judged, judged_result, unjudged_result
from verdictd.judging.verdicts import Verdict, verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import BoxId, Report, Sandbox
from verdictd.sandbox.pool import BoxPool
from verdictd.settings import JudgeSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A submission that has a box now."""

    id: str
    language: str
    since: AwareDatetime


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

    @property
    def usable(self) -> bool:
        """True while at least one box can be leased."""
        return self._pool.usable > 0

    async def judge(self, admitted: Admitted) -> Result:
        """Judge a submission in a box of its own.

        Raises SandboxBroken if the sandbox failed, Draining if no more boxes are leased.
        """
        submission, language = admitted.submission, admitted.language
        async with self._pool.lease() as box:
            started_at = datetime.now(UTC)
            # Bound for the rest of the caller's task and the tasks it starts, the one that retires a box too.
            structlog.contextvars.bind_contextvars(language=language.name, box=box.number)
            self._running[box.number] = Running(submission.id, language.name, started_at)
            log.debug("submission.started", id=submission.id)
            try:
                judged = await self._within_time(box, admitted)
            finally:
                del self._running[box.number]
            worker = self.identity(box.number)
        used = LanguageUsed(name=language.name, version=await self.version(language))
        return judged_result(admitted, judged, language=used, worker=worker, started_at=started_at)

    async def _within_time(self, box: Box, admitted: Admitted) -> Judged:
        timeout_s = self._settings.submission_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._judge(box, admitted)
        except TimeoutError:
            message = (
                f"judging in box {box.number} took longer than {timeout_s:g} s (judge.submission_timeout_s)"
            )
            raise SandboxBroken(message, FaultKind.DEADLINE) from None

    async def _judge(self, box: Box, admitted: Admitted) -> Judged:
        compilation = await compile_submission(
            box,
            admitted,
            artifact_bytes=self._settings.artifact_kib * 1024,
            output_bytes=self._settings.compile_output_kib * 1024,
        )
        if compilation.artifact is None:
            failed = Verdict(Status.COMPILATION_ERROR, Cause.COMPILE, compilation.failure)
            return Judged(failed, compilation.output, ())
        artifact = compilation.artifact
        command = run_command(admitted, self._sandbox, artifact, open_files=self._open_files)
        floor_kib = memory_floor_kib(command, self._sandbox)
        reports: list[Report] = []
        for _ in range(admitted.limits.number_of_runs):
            reports.append(await run_artifact(box, artifact, command))
            decided = await _verdict(reports[-1], admitted, floor_kib)
            if decided.status is not Status.ACCEPTED:
                break
        return Judged(decided, compilation.output, reports)

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


async def _verdict(report: Report, admitted: Admitted, floor_kib: int) -> Verdict:
    expected = admitted.submission.expected_output
    decide = partial(
        verdict,
        report,
        admitted.limits,
        expected,
        memory_floor_kib=floor_kib,
        out_of_memory=admitted.language.out_of_memory,
    )
    return await offload(decide, len(report.stdout.data) + len(expected or b""))
