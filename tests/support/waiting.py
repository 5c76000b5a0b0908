"""Waiting for what takes time, within a limit."""

import asyncio
import time
from collections.abc import Callable

import pytest


async def wait_until(condition: Callable[[], object], within_s: float = 20) -> None:
    """Wait for something to become true, and fail the test if it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"did not happen within {within_s} s")
        await asyncio.sleep(0.02)
