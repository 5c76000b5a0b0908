"""Tools for asyncio: work in threads, background tasks, locks by key, cleanup that survives cancellation."""

import asyncio
import math
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

LARGE_BYTES = 64 * 1024
_TICK_S = 0.1
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def offload(work: Callable[[], T], size: int, *, large: int = LARGE_BYTES) -> T:
    """Run CPU-heavy work in a thread, so that heartbeats and other submissions are not delayed.

    Work on something smaller than `large` runs here: it ends before a thread would have started. Sizes are in
    bytes, unless both are given in something else.
    """
    return work() if size < large else await asyncio.to_thread(work)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block, and cancel it at the end of the block.

    If the work raises, the block is cancelled and the exception propagates. A single exception, of the work
    or of the block, propagates as it is; two are raised as a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failures:
        if len(failures.exceptions) > 1:
            raise
        failure = failures.exceptions[0]
    else:
        return
    raise failure  # here and not above, where the group would become its context


class KeyedLock:
    """One lock per key: holders of the same key follow each other in order of arrival.

    A lock exists only as long as a task holds it or waits for it. `changed` is set whenever `waiting` has
    changed.
    """

    def __init__(self, changed: asyncio.Event | None = None) -> None:
        self._changed = changed or asyncio.Event()
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._users: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._locks)

    @property
    def waiting(self) -> int:
        """Number of tasks that wait for the holder of their key."""
        return self._users.total() - len(self._locks)

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of `key` for as long as the block lasts."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] += 1
        self._changed.set()
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._locks[key], self._users[key]
            self._changed.set()


async def finish(cleanup: Coroutine[Any, Any, T]) -> T:
    """Run the cleanup to its end even if cancelled meanwhile, then raise the cancellation."""
    task = asyncio.ensure_future(cleanup)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def tick(longest_s: float) -> None:
    """Sleep for `longest_s` at most, and no longer than 0.1 s, until a moment that is the same for all tasks.

    To wake up costs more than what most watchers do then, so those that wait wake up together.
    """
    period_s = _TICK_S / math.ceil(_TICK_S / longest_s)
    now_s = asyncio.get_running_loop().time()
    await asyncio.sleep((now_s // period_s + 1) * period_s - now_s)


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on SIGTERM, SIGINT and SIGHUP for as long as the block lasts.

    SIGHUP is what a terminal sends when it is closed.

    The process is about to end when the block does, so signals that come later are ignored.
    """
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def backoff(longest_s: float) -> Iterator[float]:
    """Yield the seconds to wait before each retry: doubled each time, up to `longest_s`.

    A random part is taken off, so that judge boxes do not all reconnect at the same moment.
    """
    pause_s = min(0.5, longest_s)
    while True:
        yield pause_s * random.uniform(0.5, 1)  # noqa: S311 - not a secret
        pause_s = min(2 * pause_s, longest_s)
