"""Keeps the event loop free: heartbeats and neighbours go on while many bytes are worked on."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 64 * 1024


async def aside(work: Callable[[], T], size_bytes: int, *, large_bytes: int = LARGE_BYTES) -> T:
    """Do it here, or in a thread where it has `large_bytes` or more to work on."""
    return work() if size_bytes < large_bytes else await asyncio.to_thread(work)
