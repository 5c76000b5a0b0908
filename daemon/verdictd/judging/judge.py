"""A Submission becomes a Result: build, run as often as asked for, stop at the first failure."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from pydantic import AwareDatetime

from verdictd import __version__, metrics
from verdictd.concurrency import offload
from verdictd.contract.result import Cause, LanguageUsed, Result, Status, WorkerIdentity
from verdictd.contract.submission import EffectiveLimits, Submission
from verdictd.egress import Egress, EgressDenied
from verdictd.errors import FaultKind, InvalidSubmission, Problem, SandboxBroken
from verdictd.judging import languages
from verdictd.judging.compile import Compilation, clash, compile_submission, retry_if_killed
from verdictd.judging.languages import Language, Registry
from verdictd.judging.results import Judged, judged_result, unjudged_result
from verdictd.judging.verdicts import Verdict, verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import BoxId, Command, Constraints, Report, Sandbox
from verdictd.sandbox.pool import BoxPool
from verdictd.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A submission that has a box now."""

    id: str
    language: str
    since: AwareDatetime


class Judge:
    """Judges submissions in the boxes of a pool.

    State: the language versions that were asked for so far, and what runs in each box.
    """

    def __init__(
        self,
        *,
        pool: BoxPool,
        sandbox: Sandbox,
        registry: Registry,
        settings: Settings,
        egress: Egress | None = None,
    ) -> None:
        self._pool = pool
        self._egress = egress
        self._sandbox = sandbox
        self._registry = registry
        self._settings = settings.judge
        self._allow_network = settings.sandbox.allow_network
        self._open_files = settings.sandbox.open_files
        self._versions: dict[str, str | None] = {}
        self._running: dict[BoxId, Running] = {}

    @property
    def running(self) -> dict[BoxId, Running]:
        """What runs now, by the number of its box."""
        return dict(self._running)

    @property
    def usable(self) -> bool:
        """Whether there is a box to judge in."""
        return self._pool.usable > 0

    def check(self, submission: Submission) -> Language:
        """The submission's language; raises InvalidSubmission where this host cannot do what it asks for."""
        language = self._registry.get(submission.language)
        if language is None or language.missing:
            known = ", ".join(sorted(available.name for available in self._registry.available))
            raise InvalidSubmission([Problem("/language", f"unknown language; there are: {known}")])
        problems = list(self._problems(submission, language))
        if problems:
            raise InvalidSubmission(problems)
        return language

    def _problems(self, submission: Submission, language: Language) -> Iterator[Problem]:
        refused = languages.refused_option(language, submission.compiler_options)
        if refused is not None:
            yield Problem("/compiler_options", f"{refused!r} is not allowed for {language.name}")
        clashing = clash(language, submission.additional_files)
        if clashing is not None:
            yield Problem(
                "/additional_files", f"{clashing!r} stands where the source or the artifact belongs"
            )
        if submission.enable_network and not (self._allow_network or language.allow_network):
            yield Problem("/enable_network", f"the network is not allowed here for {language.name}")
        if submission.callback_url is not None:
            yield from self._callback_problems(submission.callback_url)
        limits = submission.effective_limits()
        left_s = self._settings.submission_timeout_s
        if language.compile_cmd:
            left_s -= language.compile_limits.wall_time_s
        if limits.number_of_runs * limits.wall_time_limit > left_s:
            runs = f"{limits.number_of_runs} runs of up to {limits.wall_time_limit:g} s"
            yield Problem("/number_of_runs", f"{runs} do not fit into {left_s:g} s")

    def _callback_problems(self, url: str) -> Iterator[Problem]:
        if self._egress is None:
            yield Problem(
                "/callback_url", "callbacks are not delivered here; the result goes to the reply queue"
            )
            return
        try:
            self._egress.target(url)
        except EgressDenied as error:
            yield Problem("/callback_url", str(error))

    async def judge(self, submission: Submission) -> Result:
        """Judge a submission in a box of its own.

        Raises InvalidSubmission as `check` does, SandboxBroken where the fault is ours, Draining.
        """
        language = self.check(submission)
        async with self._pool.lease() as box:
            started_at = datetime.now(UTC)
            # For the rest of the caller's task, and of the tasks it starts: what retires the box is one.
            structlog.contextvars.bind_contextvars(language=language.name, box=box.number)
            self._running[box.number] = Running(submission.id, language.name, started_at)
            log.debug("submission.started", id=submission.id)
            try:
                judged = await self._within_time(box, language, submission)
            finally:
                del self._running[box.number]
            worker = self.identity(box.number)
        used = LanguageUsed(name=language.name, version=await self.version(language))
        return judged_result(submission, judged, language=used, worker=worker, started_at=started_at)

    async def _within_time(self, box: Box, language: Language, submission: Submission) -> Judged:
        try:
            async with asyncio.timeout(self._settings.submission_timeout_s):
                return await self._judge(box, language, submission)
        except TimeoutError:
            raise SandboxBroken(
                f"box {box.number} took longer than all limits together allow", FaultKind.DEADLINE
            ) from None

    async def _judge(self, box: Box, language: Language, submission: Submission) -> Judged:
        built = await compile_submission(
            box,
            language,
            submission,
            artifact_bytes=self._settings.artifact_kib * 1024,
            output_bytes=self._settings.compile_output_kib * 1024,
        )
        if built.failure is not None:
            return Judged(Verdict(Status.COMPILATION_ERROR, Cause.COMPILE, built.failure), built, ())
        limits = submission.effective_limits()
        command = self._command(language, submission, limits)
        reports: list[Report] = []
        for _ in range(limits.number_of_runs):
            reports.append(await retry_if_killed(partial(self._run, box, command, built)))
            decided = await self._verdict(reports[-1], command, limits, submission.expected_output)
            if decided.status is not Status.ACCEPTED:
                break
        return Judged(decided, built, reports)

    async def _run(self, box: Box, command: Command, built: Compilation) -> Report:
        await box.ready(control_groups=command.control_groups)
        with metrics.STAGES.labels(metrics.Stage.RUN).time():
            await box.place(built.files)
            await box.place(built.executables, mode=0o755)
            return await box.run(command)

    def _command(self, language: Language, submission: Submission, limits: EffectiveLimits) -> Command:
        memory_kib = limits.memory_limit
        # A runtime that reserves more than it uses cannot live under such a limit: it keeps its group.
        per_process = limits.enable_per_process_and_thread_memory_limit and language.address_space
        address_space_kib = None
        if per_process:
            address_space_kib = memory_kib
        elif not self._sandbox.control_groups and language.address_space:
            # Without a group the resident set decides, after the run. This bound only keeps the host safe,
            # and leaves room for what a program maps and never touches.
            address_space_kib = 2 * memory_kib + 131_072
        return Command(
            argv=tuple(
                languages.run_argv(
                    language,
                    submission.command_line_arguments,
                    memory_kib=memory_kib,
                    stack_kib=limits.stack_limit,
                )
            ),
            constraints=Constraints(
                cpu_time_s=limits.cpu_time_limit,
                cpu_extra_time_s=limits.cpu_extra_time,
                wall_time_s=limits.wall_time_limit,
                memory_kib=None if per_process else memory_kib,
                address_space_kib=address_space_kib,
                stack_kib=limits.stack_limit,
                file_size_kib=limits.max_file_size,
                processes=limits.max_processes_and_or_threads + language.extra_processes,
                open_files=self._open_files,
                output_bytes=limits.max_output_size * 1024,
            ),
            environment=language.environment,
            directories=language.directories,
            stdin=submission.stdin,
            stderr_to_stdout=submission.redirect_stderr_to_stdout,
            network=limits.enable_network,
            control_groups=not (per_process and limits.enable_per_process_and_thread_time_limit),
        )

    async def _verdict(
        self, report: Report, command: Command, limits: EffectiveLimits, expected: bytes | None
    ) -> Verdict:
        together = self._sandbox.control_groups and command.constraints.memory_kib is not None
        floor_kib = 0 if together else self._sandbox.resident_floor_kib
        decide = partial(verdict, report, limits, expected, memory_floor_kib=floor_kib)
        size_bytes = len(report.stdout.data) + len(expected or b"")
        return await offload(decide, size_bytes)

    async def version(self, language: Language) -> str | None:
        """The version of a language's compiler or interpreter, asked for once; None where it does not say."""
        if language.name not in self._versions:
            self._versions[language.name] = await languages.version(language)
        return self._versions[language.name]

    def identity(self, box: int | None) -> WorkerIdentity:
        """Who judges here."""
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
        """The answer to a message that is not judged."""
        return unjudged_result(submission_id, verdict, self.identity(None), problems, metadata)
