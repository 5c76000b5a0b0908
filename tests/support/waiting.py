"""Waiting for what takes time, within a limit."""

import asyncio
import time
from collections.abc import Callable

import pytest

LIMIT_S = 60
"""For what is done soon, on a busy machine with a slow disk too."""
_SHARE = 5
"""Looking takes at most this part of the time, as some conditions read all processes of the machine."""


async def wait_until(condition: Callable[[], object], within_s: float = LIMIT_S) -> float:
    """Wait for something to become true, or fail the test in time; the seconds that it took."""
    began_s = looked_s = time.monotonic()
    while not condition():
        now_s = time.monotonic()
        if now_s - began_s > within_s:
            pytest.fail(f"did not happen within {within_s} s")
        await pause(began_s, at_least_s=_SHARE * (now_s - looked_s))
        looked_s = time.monotonic()
    return time.monotonic() - began_s


async def pause(since_s: float, *, at_least_s: float = 0) -> None:
    """Wait for a tenth of the time that has passed since then, as looking a hundred times a second costs."""
    await asyncio.sleep(max(0.01, at_least_s, min((time.monotonic() - since_s) / 10, 0.2)))


async def turns() -> None:
    """Let the event loop finish what it has begun: to accept or to close a connection takes several steps."""
    for _ in range(5):
        await asyncio.sleep(0)
