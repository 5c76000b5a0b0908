"""Judge a submission: compile it, run its tests, in as many boxes as it may have."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from pydantic import AwareDatetime

from verdictd import __version__
from verdictd.concurrency import background, offload
from verdictd.contract.events import Observe
from verdictd.contract.result import LanguageUsed, Result, WorkerIdentity
from verdictd.errors import DataUnavailable, FaultKind, InvalidSubmission, Problem, SandboxBroken
from verdictd.judging.admission import Admitted, path_of_test
from verdictd.judging.checkers.check import OutputChecker
from verdictd.judging.checkers.interactor import InteractorProgram
from verdictd.judging.compiler import Compiler
from verdictd.judging.progress import Progress
from verdictd.judging.results import judged_result, unjudged_result
from verdictd.judging.scoring import TestOutcome
from verdictd.judging.test_data import DataStore
from verdictd.judging.testing import run_test
from verdictd.judging.verdicts import Verdict, expired
from verdictd.judging.versions import Versions
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import BoxId, Sandbox
from verdictd.sandbox.pool import BoxPool
from verdictd.settings import JudgeSettings

_MANY_TESTS = 100  # whose result takes as long as a thread needs to start, many times over

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A submission that has a box now."""

    id: str
    language: str
    since: AwareDatetime
    tests: int = 1
    done: int = 0
    """Tests that are decided."""


class _Expired(Exception):
    """The deadline has passed, and the submission has no box yet."""

    def __init__(self, deadline: datetime) -> None:
        super().__init__(deadline)
        self.deadline = deadline


def _before(deadline: datetime | None) -> AbstractAsyncContextManager[None]:
    """Raise _Expired if the deadline has passed, or as soon as it passes while the block runs."""
    return nullcontext() if deadline is None else _until(deadline)


@asynccontextmanager
async def _until(deadline: datetime) -> AsyncIterator[None]:
    left_s = (deadline - datetime.now(UTC)).total_seconds()
    if left_s <= 0:
        raise _Expired(deadline)
    try:
        async with asyncio.timeout(left_s) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise _Expired(deadline) from None


class Judge:
    """Judges submissions in the boxes of a pool.

    State: the submission that runs in each box, and its progress.
    """

    def __init__(
        self,
        *,
        pool: BoxPool,
        compiler: Compiler,
        versions: Versions,
        data: DataStore,
        sandbox: Sandbox,
        settings: JudgeSettings,
        open_files: int,
        result_bytes: int,
    ) -> None:
        self._pool = pool
        self._compiler = compiler
        self._versions = versions
        self._data = data
        self._sandbox = sandbox
        self._settings = settings
        self._open_files = open_files
        self._result_bytes = result_bytes
        self._running: dict[BoxId, tuple[Running, Progress]] = {}

    @property
    def running(self) -> dict[BoxId, Running]:
        """The submissions that run now, by the number of their box."""
        return {
            box: replace(running, done=progress.plan.decided)
            for box, (running, progress) in self._running.items()
        }

    async def judge(
        self, admitted: Admitted, *, spare_boxes: int = 1, observe: Observe | None = None
    ) -> Result:
        """Judge a submission in a box of its own; if the sandbox fails, go on in another.

        One that has no box yet when its deadline passes is not judged; once it has begun, it goes on.
        A program that makes the sandbox fail in one working box after the other gets a verdict for that.
        Raises SandboxBroken if the sandbox fails otherwise again and again, or if its box does not work any
        more, Draining if no more boxes are leased, InvalidSubmission and DataUnavailable for its test data.
        The loss of as many as `spare_boxes` costs the test that ran there another box, once a test is
        decided: those that are decided stay so. `observe` is told of each step.
        """
        try:
            return await self._judge(admitted, spare_boxes, observe)
        except _Expired as error:
            submission = admitted.submission
            return self.unjudged(submission.id, expired(error.deadline), metadata=submission.metadata)

    async def _judge(self, admitted: Admitted, spare_boxes: int, observe: Observe | None) -> Result:
        async with _before(admitted.submission.deadline):
            await self._data.fetch(admitted.submission.references())
        checker = OutputChecker(admitted, compile_program=self._compiler.compile, open_files=self._open_files)
        interactor = self._interactor(admitted)
        progress = Progress(
            admitted,
            checker=checker,
            interactor=interactor,
            spare_boxes=spare_boxes,
            kept_bytes=self._result_bytes,
            observe=observe,
        )
        while not progress.finished:
            try:
                await self._go_on(admitted, progress)
            except SandboxBroken as error:
                if not progress.goes_on(error):
                    raise
        language = admitted.language
        result = partial(
            judged_result,
            admitted,
            progress.judged(),
            language=LanguageUsed(name=language.name, version=await self._versions.of(language)),
            worker=self.identity(progress.box),
            started_at=progress.started_at,
        )
        return await offload(result, len(admitted.tests), large=_MANY_TESTS)

    def _interactor(self, admitted: Admitted) -> InteractorProgram | None:
        interactor = admitted.submission.interactor
        if interactor is None or admitted.interactor is None:
            return None
        return InteractorProgram(
            interactor,
            admitted.interactor,
            compile_program=self._compiler.compile,
            open_files=self._open_files,
        )

    async def _go_on(self, admitted: Admitted, progress: Progress) -> None:
        """Do the steps that are left in one box, and in those that are idle."""
        async with AsyncExitStack() as stack:
            async with _before(None if progress.begun else admitted.submission.deadline):
                box = await stack.enter_async_context(self._pool.lease())
            progress.enter(box.number)
            with self._occupied(box, admitted, progress):
                await self._within_time(box, admitted, progress)

    @contextmanager
    def _occupied(self, box: Box, admitted: Admitted, progress: Progress) -> Iterator[None]:
        """Tell others of the submission that is in a box."""
        # Bound for the rest of the caller's task and the tasks it starts, the one that retires a box too.
        language = admitted.language.name
        structlog.contextvars.bind_contextvars(language=language, box=box.number)
        running = Running(admitted.submission.id, language, datetime.now(UTC), len(admitted.tests))
        self._running[box.number] = (running, progress)
        log.debug("submission.started", id=admitted.submission.id)
        try:
            yield
        finally:
            del self._running[box.number]

    async def _within_time(self, box: Box, admitted: Admitted, progress: Progress) -> None:
        try:
            async with asyncio.timeout_at(progress.until_s):
                await self._steps(box, admitted, progress)
        except TimeoutError:
            message = f"judging in box {box.number} took longer than {admitted.timeout_s:g} s"
            raise SandboxBroken(message, FaultKind.DEADLINE) from None

    async def _steps(self, box: Box, admitted: Admitted, progress: Progress) -> None:
        if progress.compilation is None:
            await self._compile(box, admitted, progress)
        helpers = min(admitted.submission.parallel_tests, progress.plan.waiting) - 1
        async with background(self._help(admitted, progress, helpers)) if helpers > 0 else nullcontext():
            while await progress.more():
                await self._test(box, admitted, progress)

    async def _help(self, admitted: Admitted, progress: Progress, helpers: int) -> None:
        """Run tests in idle boxes."""

        async def one() -> None:
            while await progress.more():
                try:
                    async with self._pool.borrow() as box:
                        with self._occupied(box, admitted, progress):
                            while progress.can_begin:
                                await self._test(box, admitted, progress)
                except (SandboxBroken, InvalidSubmission, DataUnavailable) as error:
                    if not progress.goes_on(error):  # the owner of the submission raises it
                        return

        async with asyncio.TaskGroup() as group:
            for _ in range(helpers):
                group.create_task(one())

    async def _compile(self, box: Box, admitted: Admitted, progress: Progress) -> None:
        try:
            compilation = await self._compiler.compile(box, admitted.program)
        except SandboxBroken as error:
            progress.compiling_broke_off(error)
            raise
        progress.compiled(compilation)

    async def _test(self, box: Box, admitted: Admitted, progress: Progress) -> None:
        index = progress.plan.begin()
        try:
            outcome = await self._outcome(box, admitted, progress, index)
        except BaseException as error:
            progress.broke_off(index, error)
            raise
        progress.record(index, outcome)

    async def _outcome(self, box: Box, admitted: Admitted, progress: Progress, index: int) -> TestOutcome:
        test, where = admitted.tests[index], path_of_test(admitted, index)
        async with AsyncExitStack() as stack:
            stdin = await stack.enter_async_context(self._data.open(test.stdin, f"{where}/stdin"))
            expected = None
            if test.expected_output is not None:
                opening = self._data.open(test.expected_output, f"{where}/expected_output")
                expected = await stack.enter_async_context(opening)
            return await run_test(
                box,
                progress.artifact,
                admitted,
                test,
                runs=progress.runs[index],
                stdin=stdin,
                expected=expected,
                checker=progress.checker,
                interactor=progress.interactor,
                open_files=self._open_files,
                time_retries=self._settings.time_retries,
                repeat_before_s=progress.repeat_before_s,
            )

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
