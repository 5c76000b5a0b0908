"""A TCP proxy in front of RabbitMQ that lets nothing pass, or is away, when it is told to."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

from support.rabbitmq import free_ports
from support.waiting import turns

HEADER = rb"AMQP\x00"
"""The first bytes of a connection."""


def method(class_id: int, method_id: int) -> bytes:
    """A pattern for a frame that carries this method of AMQP."""
    return rb"\x01..\x00..." + re.escape(class_id.to_bytes(2) + method_id.to_bytes(2))


class Proxy:
    """Passes bytes on, over many connections. State: which ways are open, and what is to close them."""

    def __init__(self, host: str, port: int) -> None:
        self._broker = host, port
        self._to_broker = asyncio.Event()
        self._to_client = asyncio.Event()
        self._pattern: re.Pattern[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._address = ("", 0)
        self.url = ""
        self.heal()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, host: str = "127.0.0.1") -> AsyncIterator[Self]:
        """A proxy for a broker on an address of ours; `url` of it is the broker's, by way of the proxy."""
        parts = urlsplit(url)
        proxy = cls(parts.hostname or "", parts.port or 5672)
        proxy._address = (host, free_ports(1)[0])
        proxy.url = url.replace(f"{parts.hostname}:{parts.port}/", "{}:{}/".format(*proxy._address))
        await proxy._listen()
        try:
            yield proxy
        finally:
            proxy._refuse()
            await turns()  # what was accepted is begun, to be ended with the others
            proxy.cut()
            if proxy._tasks:
                await asyncio.wait(proxy._tasks, timeout=5)
            await turns()  # what was ended is closed

    @property
    def stalled(self) -> bool:
        """Whether nothing passes, one way at least."""
        return not (self._to_broker.is_set() and self._to_client.is_set())

    def stall(self, *, to_broker: bool = True, to_client: bool = True) -> None:
        """Let nothing pass these ways, on old and new connections; the connections stay."""
        if to_broker:
            self._to_broker.clear()
        if to_client:
            self._to_client.clear()

    def stall_at(self, pattern: bytes) -> None:
        """Stall as soon as a client sends such bytes, which do not pass."""
        self._pattern = re.compile(pattern, re.DOTALL)

    def heal(self) -> None:
        """Let everything pass, what was held back too."""
        self._pattern = None
        self._to_broker.set()
        self._to_client.set()

    def cut(self) -> int:
        """Close every connection, on both sides; how many there were."""
        for task in self._tasks:
            task.cancel()
        return len(self._tasks)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse connections and cut those that there are, as if the broker were not running."""
        self._refuse()
        self.cut()
        try:
            yield
        finally:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, *self._address)

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also of one that never ran

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            answers, requests = await asyncio.open_connection(*self._broker)
            try:
                await asyncio.gather(
                    self._pass_on(reader, requests, self._to_broker, sent=True),
                    self._pass_on(answers, writer, self._to_client, sent=False),
                    return_exceptions=True,
                )
            finally:
                requests.transport.abort()

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, way: asyncio.Event, *, sent: bool
    ) -> None:
        try:
            while data := await source.read(65_536):
                if sent and self._pattern is not None and self._pattern.search(data):
                    self._pattern = None
                    self.stall()
                await way.wait()
                target.write(data)
                await target.drain()
            await way.wait()
        finally:
            target.close()
