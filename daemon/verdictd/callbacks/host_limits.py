"""A lane for each host: so many at once, and a slow host keeps nobody else waiting."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PATIENCE_S = 1


@dataclass(slots=True)
class _HostLimit:
    """State of one host, kept while somebody is in its lane."""

    free: asyncio.Semaphore
    users: int = field(default=0)
    waiting: int = field(default=0)
    slow: bool = field(default=False)


class HostLimits:
    """Bounds what is under way to each host. State: the lanes in use."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._hosts: dict[str, _HostLimit] = {}

    @asynccontextmanager
    async def enter(self, host: str) -> AsyncIterator[bool]:
        """A place in the host's lane; or False at once or soon, where it is slow and enough wait already.

        A lane is slow when the last who left it, or somebody who waits, took more than a second.
        """
        lane = self._hosts.setdefault(host, _HostLimit(asyncio.Semaphore(self._width)))
        lane.users += 1
        try:
            if not await self._wait(lane):
                yield False
                return
            began_s = time.monotonic()
            try:
                yield True
            finally:
                lane.slow = time.monotonic() - began_s > _PATIENCE_S
                lane.free.release()
        finally:
            lane.users -= 1
            if not lane.users:
                del self._hosts[host]

    async def _wait(self, lane: _HostLimit) -> bool:
        if lane.free.locked() and lane.slow and lane.waiting >= self._width:
            return False
        lane.waiting += 1
        try:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await lane.free.acquire()
            except TimeoutError:
                lane.slow = True
            return lane.waiting <= self._width and await lane.free.acquire()
        finally:
            lane.waiting -= 1
