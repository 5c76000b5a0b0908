"""What a scenario works with: daemons, brokers, a random generator with a known seed."""

import asyncio
import itertools
import math
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Self

import pytest

from support.broker import Broker
from support.daemon import Daemon, daemon, launched
from support.rabbitmq import PrivateBroker
from support.waiting import wait_until

BOXES = 4
MOST_BOXES = 12


class Rig:
    """The means of one scenario. State: the daemons that it has started so far.

    `full` asks for the figures of a long run, `short` for those of one test among many; `numbers` are boxes
    of its own, MOST_BOXES of them. `frail_broker` runs, and may be stopped and killed.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        folder: Path,
        random: Random,
        sandbox: str,
        numbers: range,
        full: bool = False,
        short: bool = False,
        frail_broker: PrivateBroker | None = None,
    ) -> None:
        self._broker = broker
        self._frail_broker = frail_broker
        self._numbers = numbers
        self.random = random
        self.sandbox = sandbox
        self.full = full
        self.short = short
        self.daemons: list[Daemon] = []
        self._logs = (folder / f"daemon-{number}.log" for number in itertools.count())

    async def vhost(self) -> str:
        """The URL of an empty virtual host of the shared broker."""
        return await asyncio.to_thread(self._broker.fresh_vhost)

    async def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints, asked for the shared broker."""
        return await asyncio.to_thread(self._broker.ctl, *arguments)

    @asynccontextmanager
    async def own_broker(self, *, feature_flags: str | None = None) -> AsyncIterator[PrivateBroker]:
        """A broker that the scenario may stop, kill and start; others may have used it before."""
        if self._frail_broker is not None and feature_flags is None:
            yield self._frail_broker
            return
        broker = PrivateBroker(feature_flags=feature_flags)
        try:
            await asyncio.to_thread(broker.start)
            yield broker
        finally:
            await asyncio.to_thread(broker.close)

    @asynccontextmanager
    async def daemon(
        self,
        url: str,
        *,
        boxes: int = BOXES,
        offset: int = 0,
        ready: bool = True,
        within: Sequence[str] = (),
        **settings: str,
    ) -> AsyncIterator[Daemon]:
        """A daemon that consumes, or is only launched; `offset` keeps the boxes of several apart."""
        own = {
            "broker__url": url,
            "sandbox__isolate": self.sandbox,
            "sandbox__boxes": str(boxes),
            "sandbox__first_box": str(self._numbers[0] + 2 * offset),
            "log__level": "debug",
            "log__format": "json",
        }
        run = daemon if ready else launched
        async with run(next(self._logs), within=within, **(own | settings)) as running:
            self.daemons.append(running)
            yield running

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone after the block; like its parents, it is writable by its owner alone."""
        with TemporaryDirectory(prefix="verdictd-chaos-") as folder:
            yield Path(folder)

    def control_groups(self) -> list[str]:
        """The control groups of the scenario's boxes that are there."""
        names = {f"{prefix}-{number}" for number in self._numbers for prefix in ("box", "verdictd-box")}
        return [
            f"{folder}/{name}" for folder, below, _ in os.walk("/sys/fs/cgroup") for name in names & {*below}
        ]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event, of all daemons that there were."""
        return [line for daemon in self.daemons for line in daemon.logged(event)]

    def starts(self) -> dict[str, int]:
        """How many runs were begun of each submission."""
        return Counter(line["id"] for line in self.logged("submission.started"))


class Phoenix:
    """A daemon that is started again whenever it was killed. State: the one that runs now."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Daemon]]) -> None:
        self._start = start
        self._life = AsyncExitStack()
        self.running: Daemon

    async def __aenter__(self) -> Self:
        self.running = await self._life.enter_async_context(self._start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.aclose()

    async def kill(self) -> None:
        """End the daemon with SIGKILL; the next one consumes when this returns."""
        await self.running.end(signal.SIGKILL)
        await self._life.aclose()
        self.running = await self._life.enter_async_context(self._start())


async def elapsed(condition: Callable[[], object], limit_s: float) -> float:
    """The seconds until something is true; infinity where it was not within the limit."""
    try:
        return await wait_until(condition, limit_s)
    except pytest.fail.Exception:
        return math.inf
