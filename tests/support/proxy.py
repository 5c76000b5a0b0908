"""A TCP proxy that can cut connections, and hold back what goes one way or the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from support.rabbitmq import HOST, free_ports

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards a port of its own to the broker. State: which ways are open, and the connections."""

    def __init__(self, url: str, host: str) -> None:
        self._target = urlsplit(url)
        self._host = host
        self._port = free_ports(1)[0]
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.heal()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, host: str = HOST) -> AsyncIterator[Self]:
        """A proxy in front of the broker of a URL; all its connections end with the block."""
        proxy = cls(url, host)
        server = await asyncio.start_server(proxy._accept, host, proxy._port)
        try:
            yield proxy
        finally:
            server.close()
            for task in proxy._serving:
                task.cancel()
            await asyncio.gather(*proxy._serving, return_exceptions=True)
            await server.wait_closed()

    @property
    def url(self) -> str:
        """The URL of the broker by way of this proxy."""
        user = f"{self._target.username}:{self._target.password}"
        return urlunsplit(self._target._replace(netloc=f"{user}@{self._host}:{self._port}"))

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing pass to the broker (`up`), from it (`down`), or either; no connection is closed."""
        if up:
            self._up.clear()
        if down:
            self._down.clear()

    def heal(self) -> None:
        """Let everything pass, also what was held back."""
        self._up.set()
        self._down.set()

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        for writer in self._writers:
            writer.transport.abort()
        return len(self._writers) // 2

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # A cancelled task would be reported by asyncio's server: the end of the block is no error.
        with suppress(OSError, asyncio.CancelledError):
            await self._forward(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {writer}
        try:
            onward, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            writers.add(back)
            self._writers |= writers
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pump(reader, back, self._up))
                ways.create_task(_pump(onward, writer, self._down))
        except* OSError:
            pass  # one side is gone, and so is the other
        finally:
            self._writers -= writers
            for each in writers:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event) -> None:
    """Forward one way, the end of it too; nothing passes while the way is not open."""
    while True:
        data = await reader.read(CHUNK_BYTES)
        await is_open.wait()
        if not data:
            raise ConnectionResetError("the other side has closed")
        writer.write(data)
        await writer.drain()
