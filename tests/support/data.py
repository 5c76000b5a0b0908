"""A server of test data on a loopback address, which fails as often as a test tells it to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from support.broker import HOST
from support.rabbitmq import free_ports


class DataServer:
    """An HTTP server with files; `failures` requests more get the status `failing_with`."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.hangs: set[str] = set()
        self.failures = 0
        self.failing_with = 503
        self._end = asyncio.Event()

    def reference(self, name: str, content: bytes) -> dict[str, str]:
        """Serve a file, and return a reference to it."""
        self.files[name] = content
        return {"sha256": sha256(content), "url": self.url(name)}

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.port}/{name}"

    @asynccontextmanager
    async def up(self) -> AsyncIterator["DataServer"]:
        app = web.Application()
        app.router.add_get("/{name:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, self.port).start()
        try:
            yield self
        finally:
            self._end.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(name)
        if self.failures:
            self.failures -= 1
            return web.Response(status=self.failing_with, headers={"Location": self.url("elsewhere")})
        if name in self.hangs:
            await self._end.wait()
        if name not in self.files:
            return web.Response(status=404)
        return web.Response(body=self.files[name])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
