"""The daemon as its users reach it over HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.daemon import Daemon, launched
from support.waiting import LIMIT_S, pause, wait_until


class Site:
    """A running daemon, and a client of it."""

    def __init__(self, daemon: Daemon, client: aiohttp.ClientSession, port: int) -> None:
        self.daemon = daemon
        self.client = client
        self.port = port

    async def get(self, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        async with self.client.request(method, path, **options) as response:
            return response.status, await response.json()

    async def post(self, submission: object, *, wait: bool = False, **options: Any) -> tuple[int, Any]:
        """The answer to a submission: JSON, or bytes as they are."""
        kind = "data" if isinstance(submission, bytes) else "json"
        path = "/submissions/new?wait=true" if wait else "/submissions/new"
        options.setdefault("headers", {"Content-Type": "application/json"})
        return await self.get(path, "POST", **{kind: submission}, **options)

    async def ready(self) -> None:
        """Wait until submissions are taken and judged."""
        began_s = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            while (await self.get("/readyz"))[0] != 200:
                await pause(began_s)

    async def not_ready(self, problem: str) -> tuple[int, Any]:
        """The answer of /readyz, as soon as one of its problems begins so."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                status, said = await self.get("/readyz")
                if any(each.startswith(problem) for each in said.get("problems", ())):
                    return status, said
                await asyncio.sleep(0.05)


@asynccontextmanager
async def site(log: Path, **settings: str) -> AsyncIterator[Site]:
    """Run the daemon with HTTP on a free port; submissions are judged when the block begins."""
    async with listening(log, **settings) as served:
        await served.ready()
        yield served


@asynccontextmanager
async def listening(log: Path, **settings: str) -> AsyncIterator[Site]:
    """Run the daemon with HTTP on a free port, whether there is a broker or not."""
    own = {
        "http__enabled": "true",
        "http__port": "0",
        "sandbox__isolate": "embedded",
        "sandbox__boxes": "1",
        "broker__reconnect_max_s": "0.5",
    }
    async with launched(log, **(own | settings)) as daemon:
        await wait_until(lambda: daemon.logged("http.listening") or daemon.process.returncode is not None)
        assert daemon.process.returncode is None, daemon.text
        async with reached(daemon) as served:
            yield served


@asynccontextmanager
async def reached(daemon: Daemon) -> AsyncIterator[Site]:
    """A client of a daemon that listens."""
    port = daemon.logged("http.listening")[0]["port"]
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as client:
        yield Site(daemon, client, port)


async def until_in_box(served: Site, count: int) -> None:
    """Wait until so many submissions are in a box."""
    began_s = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while sum(box["running"] is not None for box in (await served.get("/status"))[1]["boxes"]) < count:
            await pause(began_s)


async def until_counted(served: Site, submission_id: str) -> dict[str, Any]:
    """What `/status` says once it shows this verdict, which can arrive before it is counted."""
    began_s = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while True:
            status: dict[str, Any] = (await served.get("/status"))[1]
            if any(verdict["id"] == submission_id for verdict in status["verdicts"]):
                return status
            await pause(began_s)
