"""The daemon as an operator runs it: a process with settings in its environment."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from support.boxes import own_boxes
from support.forkserver import DIES_WITH_US, Process
from support.waiting import LIMIT_S, wait_until

COMMAND = (sys.executable, "-m", "verdictd")


def sandbox_setting(name: str) -> str | None:
    """The value of `sandbox.isolate` for a sandbox of the tests; None where this machine has no isolate."""
    if name == "embedded":
        return "embedded"
    return os.environ.get("VERDICTD_TEST_ISOLATE") or shutil.which("isolate")


def environment(**settings: str) -> dict[str, str]:
    """The environment of a command with these settings and no others: `sandbox__boxes="2"`.

    Without a cache, unless that is one of them.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VERDICTD_")}
    own = {"judge__cache_kib": "0"} | settings
    return kept | {f"VERDICTD_{name.upper()}": value for name, value in own.items()}


class Daemon:
    """A running `verdictd serve`, and what it has logged so far."""

    def __init__(self, process: Process | asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log
        # State: how much of the log was read, and what was in it.
        self._read_bytes = 0
        self._events: dict[str, list[dict[str, Any]]] = {}

    @property
    def text(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    def logged(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log lines of one event, in their order; without one, all lines."""
        self._read()
        return [*chain.from_iterable(self._events.values())] if event is None else self._events.get(event, [])

    def _read(self) -> None:
        """Take in the lines that came since the last time: some tests look a hundred times a second."""
        with self._log.open("rb") as log:
            log.seek(self._read_bytes)
            lines, newline, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(lines + newline)
        for line in lines.split(b"\n"):
            if line.startswith(b"{"):
                event = json.loads(line)
                self._events.setdefault(event["event"], []).append(event)

    async def end(self, number: int = signal.SIGTERM, within_s: float = LIMIT_S) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(within_s):
            return await self.process.wait()


@asynccontextmanager
async def daemon(log: Path, *, within: Sequence[str] = (), **settings: str) -> AsyncIterator[Daemon]:
    """Run the daemon; it is consuming when the block begins, and gone when it has ended."""
    async with launched(log, within=within, **settings) as running:
        await wait_until(lambda: running.logged("broker.consuming") or running.process.returncode is not None)
        assert running.process.returncode is None, running.text
        yield running


@asynccontextmanager
async def launched(log: Path, *, within: Sequence[str] = (), **settings: str) -> AsyncIterator[Daemon]:
    """Run the daemon in boxes of its own, though it may fail to start; it is gone when the block has ended.

    `within` is a command that becomes the one given to it, such as `nsenter --net=...`.
    """
    with own_boxes(settings) as own:
        process = await _started(log, within, environment(**own))
        try:
            yield Daemon(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _started(
    log: Path, within: Sequence[str], environment: dict[str, str]
) -> Process | asyncio.subprocess.Process:
    """Start a daemon that dies with the tests, also where those are killed."""
    with log.open("wb") as stderr:
        if not within:
            return await Process.fork(["serve"], environment, out=stderr, err=stderr)
        return await asyncio.create_subprocess_exec(
            *DIES_WITH_US,
            *within,
            *COMMAND,
            "serve",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=environment,
        )
