"""A bounded pool of boxes: leased clean, reset after use, retired when they cannot be reset."""

import asyncio
import fcntl
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import Context
from enum import StrEnum
from pathlib import Path

import structlog

from verdictd import metrics
from verdictd.concurrency import finish
from verdictd.errors import FaultKind, SandboxBroken, SandboxUnusable, VerdictdError
from verdictd.sandbox.box import Box
from verdictd.sandbox.companion import cleanup, recover, reset
from verdictd.sandbox.model import BoxId, Sandbox

log = structlog.get_logger()


class BoxTaken(VerdictdError):
    """Another process on this host holds the lock of a box: refuse to start."""


class Draining(VerdictdError):
    """The pool does not lease boxes any more: requeue the message."""


class BoxState(StrEnum):
    """State of a box."""

    FREE = "free"
    LEASED = "leased"
    RESETTING = "resetting"
    RETIRED = "retired"


@contextmanager
def lock_boxes(directory: Path, numbers: range) -> Iterator[None]:
    """Hold the host-wide lock of every box in the range; raises BoxTaken. A lock ends with its process."""
    with ExitStack() as locks:
        for number in numbers:
            fd = _lock(directory / f"verdictd-box-{number}.lock", number)
            locks.callback(os.close, fd)
        yield


def _lock(path: Path, number: int) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            # Readable by all, so that a daemon of another user can take the lock too.
            fd = os.open(path, flags | os.O_CREAT, 0o444)
            os.fchmod(fd, 0o444)  # regardless of the umask
    except OSError as error:
        raise BoxTaken(f"cannot open the lock of box {number}: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BoxTaken(
            f"box {number} is in use by another daemon on this host (lock {path}); see sandbox.first_box"
        ) from None
    return fd


class BoxPool:
    """Leases boxes. Mutable state: the free boxes, the state of each box, the resets under way, draining.

    Made by `open_pool`, whose task group owns the resets.
    """

    def __init__(self, boxes: list[Box], tasks: asyncio.TaskGroup, *, retire_s: float) -> None:
        self._boxes = boxes
        self._tasks = tasks
        self._retire_s = retire_s
        self._free: deque[Box] = deque()
        self._wanting = 0
        self._borrowed: list[asyncio.Timeout] = []
        self._states = {box.number: BoxState.RESETTING for box in boxes}
        self._available = asyncio.Condition()
        """Notified when `lease` may go on: a box is free, none is usable any more, or the pool drains."""
        self._draining = False
        self.changed = asyncio.Event()
        """Set whenever `usable` may have changed; cleared by the one who waits for it."""
        self.failure = ""
        """Reason why a box was retired, of the last one."""
        self._closed = asyncio.Event()
        self._resets: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"BoxPool({self._states})"

    @property
    def states(self) -> dict[BoxId, BoxState]:
        """Return the state of each box, by its number."""
        return dict(self._states)

    @property
    def usable(self) -> int:
        """Return the number of boxes that are not retired."""
        return len(self._states) - list(self._states.values()).count(BoxState.RETIRED)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Box]:
        """Lease a clean box for as long as the block lasts; raises Draining once `drain` was called.

        A box whose block ends with SandboxBroken must prove that it works before it is leased again: the
        error's `box_works` tells. SandboxUnusable is raised if no box is usable to begin with, and if the
        sandbox cannot even be started.
        """
        async with self._available:
            self._wanting += 1
            if not self._free and self._borrowed:
                self._borrowed.pop().reschedule(0)  # which is now
            try:
                with metrics.STAGES.labels(metrics.Stage.WAIT).time():
                    await self._available.wait_for(lambda: self._free or self._draining or not self.usable)
            finally:
                self._wanting -= 1
            if self._draining:
                raise Draining
            if not self._free:
                raise SandboxUnusable("no box is usable", FaultKind.MANAGE)
            box = self._free.popleft()
        async with self._leased(box):
            yield box

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Box]:
        """Wait for a box that nobody else wants, and lease it; faults are treated as by `lease`.

        The block is cancelled, and ends without an error, as soon as somebody waits for a box.
        """
        async with self._available:
            await self._available.wait_for(lambda: len(self._free) > self._wanting)
            box = self._free.popleft()
        try:
            async with self._leased(box), asyncio.timeout(None) as lent:
                self._borrowed.append(lent)
                try:
                    yield box
                finally:
                    with suppress(ValueError):  # asked for already
                        self._borrowed.remove(lent)
        except TimeoutError:
            if not lent.expired():
                raise

    @asynccontextmanager
    async def _leased(self, box: Box) -> AsyncIterator[None]:
        self._states[box.number] = BoxState.LEASED
        try:
            yield
        except SandboxBroken as error:
            metrics.SANDBOX_FAULTS.labels(error.kind).inc()
            self._states[box.number] = BoxState.RESETTING
            # The task belongs to the pool, so that a caller who is cancelled meanwhile does not wait for it.
            proof = self._tasks.create_task(self._recover(box), name=f"prove-{box.number}")
            failure = await asyncio.shield(proof)
            error.box_works = failure is None
            if failure is not None and failure.kind is FaultKind.START:
                raise SandboxUnusable(str(failure), failure.kind) from error
            raise
        except BaseException:
            self._begin_reset(box)
            raise
        else:
            self._begin_reset(box)

    async def drain(self) -> None:
        """Stop leasing boxes; waiters get Draining."""
        async with self._available:
            self._draining = True
            self._available.notify_all()
        self.changed.set()

    async def start(self) -> None:
        """Recover every box, also one in which programs of a killed daemon still run."""
        async with asyncio.TaskGroup() as starting:
            for box in self._boxes:
                starting.create_task(self._recover(box))

    async def close(self) -> None:
        """Stop recovering retired boxes, and remove all boxes that are not retired."""
        self._closed.set()
        await self.drain()
        if self._resets:  # otherwise a cleanup would find its box in use
            await asyncio.wait(self._resets)
        for box in self._boxes:
            if self._states[box.number] is not BoxState.RETIRED:
                try:
                    await cleanup(box)
                except SandboxBroken as error:
                    log.warning("box.not_removed", box=box.number, error=str(error))

    def _begin_reset(self, box: Box) -> None:
        task = self._tasks.create_task(self._reset(box), name=f"reset-{box.number}")
        self._resets.add(task)
        task.add_done_callback(self._resets.discard)

    async def _reset(self, box: Box) -> None:
        self._states[box.number] = BoxState.RESETTING
        try:
            await reset(box)
        except SandboxBroken as error:
            self._retire(box, error)
        else:
            await self._release(box)

    async def _release(self, box: Box) -> None:
        if not self.usable:
            log.info("sandbox.usable", box=box.number)
        self._states[box.number] = BoxState.FREE
        async with self._available:
            self._free.append(box)
            self._available.notify_all()
        self.changed.set()

    def _retire(self, box: Box, error: SandboxBroken) -> None:
        """Take the box out of use for `retire_s`, then recover it as at the start, until that succeeds."""
        was_usable = self.usable
        self._states[box.number] = BoxState.RETIRED
        self.changed.set()
        self.failure = str(error)
        log.error("box.retired", box=box.number, kind=error.kind, error=str(error), again_in_s=self._retire_s)
        metrics.SANDBOX_FAULTS.labels(error.kind).inc()
        if was_usable and not self.usable:
            log.error("sandbox.unusable", error=str(error))
        # In an empty context: the next log lines are about the box, not about the submission that was in it.
        self._tasks.create_task(self._recover_later(box), name=f"retired-{box.number}", context=Context())

    async def _recover_later(self, box: Box) -> None:
        async with self._available:
            self._available.notify_all()  # waiters raise SandboxUnusable if no box is usable any more
        try:
            async with asyncio.timeout(self._retire_s):
                await self._closed.wait()
        except TimeoutError:
            self._tasks.create_task(self._recover(box), name=f"recover-{box.number}")

    async def _recover(self, box: Box) -> SandboxBroken | None:
        """Recover the box, which proves that programs run in it; return the fault for which it is retired."""
        try:
            killed = await recover(box)
        except SandboxBroken as error:
            self._retire(box, error)
            return error
        except OSError as error:
            fault = SandboxBroken(f"cannot recover box {box.number}: {error}", FaultKind.MANAGE)
            self._retire(box, fault)
            return fault
        if killed:
            log.warning("box.survivors_killed", box=box.number, processes=killed)
        await self._release(box)
        return None


@asynccontextmanager
async def open_pool(sandbox: Sandbox, numbers: range, *, retire_s: float) -> AsyncIterator[BoxPool]:
    """Open a pool over these boxes and as many after them, their companions; the caller holds all locks."""
    with tempfile.TemporaryDirectory(prefix="verdictd-") as meta_directory:
        async with asyncio.TaskGroup() as tasks:
            directory = Path(meta_directory)
            companions = [Box(sandbox, BoxId(number + len(numbers)), directory) for number in numbers]
            boxes = [
                Box(sandbox, BoxId(number), directory, companion)
                for number, companion in zip(numbers, companions, strict=True)
            ]
            pool = BoxPool(boxes, tasks, retire_s=retire_s)
            try:
                await pool.start()
                yield pool
            finally:
                await finish(pool.close())
