"""Limits on concurrent requests to each host, so that a slow host does not delay callbacks to others."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PATIENCE_S = 1


@dataclass(slots=True)
class _HostLimit:
    """State of one host, kept while it has requests in flight or waiting."""

    free: asyncio.Semaphore
    users: int = field(default=0)
    waiting: int = field(default=0)
    slow: bool = field(default=False)


class HostLimits:
    """Limits the requests in flight to each host. State: the hosts in use."""

    def __init__(self, width: int, *, patience_s: float = _PATIENCE_S) -> None:
        self._width = width
        self._patience_s = patience_s
        self._hosts: dict[str, _HostLimit] = {}

    @asynccontextmanager
    async def enter(self, host: str) -> AsyncIterator[bool]:
        """Yield True once a request to the host may be sent; or False if the host is slow and enough wait.

        A host is slow if its last request, or a wait for one, took longer than a second. False comes at once
        while the host is known to be slow, else after that second.
        """
        limit = self._hosts.setdefault(host, _HostLimit(asyncio.Semaphore(self._width)))
        limit.users += 1
        try:
            if not await self._wait(limit):
                yield False
                return
            began_s = time.monotonic()
            try:
                yield True
            finally:
                limit.slow = time.monotonic() - began_s > self._patience_s
                limit.free.release()
        finally:
            limit.users -= 1
            if not limit.users:
                del self._hosts[host]

    async def _wait(self, limit: _HostLimit) -> bool:
        if limit.free.locked() and limit.slow and limit.waiting >= self._width:
            return False
        limit.waiting += 1
        try:
            try:
                async with asyncio.timeout(self._patience_s):
                    return await limit.free.acquire()
            except TimeoutError:
                limit.slow = True
            return limit.waiting <= self._width and await limit.free.acquire()
        finally:
            limit.waiting -= 1
