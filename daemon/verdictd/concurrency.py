"""Small tools for asyncio: work in threads, background tasks, cleanup that survives cancellation, signals."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

LARGE_BYTES = 64 * 1024


async def offload(work: Callable[[], T], size_bytes: int, *, large_bytes: int = LARGE_BYTES) -> T:
    """Do it here, or in a thread where it has `large_bytes` or more to work on."""
    return work() if size_bytes < large_bytes else await asyncio.to_thread(work)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block, and cancel it at its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def finish(cleanup: Coroutine[Any, Any, T]) -> T:
    """Run to the end even if cancelled meanwhile, then let the cancellation through."""
    task = asyncio.ensure_future(cleanup)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at SIGTERM and SIGINT for as long as the block lasts.

    The process ends with it: a signal that comes still later changes nothing.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def backoff(longest_s: float) -> Iterator[float]:
    """Seconds between tries: doubled each time, less a random part, so that boxes do not come all at once."""
    pause_s = min(0.5, longest_s)
    while True:
        yield pause_s * random.uniform(0.5, 1)  # noqa: S311 - no secret
        pause_s = min(2 * pause_s, longest_s)
