"""A receiver of callbacks on a loopback address, which behaves as a test tells it to."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from support.broker import HOST
from support.rabbitmq import free_ports
from support.waiting import turns

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
OTHER_SECRET = "whsec_" + "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI="

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What the receiver does after it has read a request."""


@dataclass(frozen=True, slots=True)
class Received:
    """A request; the names of its headers in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    def verified(self, secret: str = SECRET) -> Any:
        """The result in it, verified by the library that receivers use; raises where that fails."""
        return Webhook(secret).verify(self.body, self.headers)


def answers(status: int, *headers: str, body: bytes = b"") -> Behave:
    async def behave(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()

    return behave


async def never_answers(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3_600)


async def dies(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


class Receiver:
    """An HTTP server; each request gets the next of its behaviours, and the last one from then on."""

    def __init__(
        self,
        *behaviours: Behave,
        host: str = HOST,
        port: int | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port or free_ports(1)[0]
        self.behaviours = list(behaviours or [answers(204)])
        self.received: list[Received] = []
        self.connections = 0
        self.tls = None
        if certificate is not None:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(certificate, certificate.with_suffix(".key"))

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/hook?token=1"

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Receiver"]:
        """Listen, until the block ends; connections end with it."""
        serving: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            serving.add(task)
            try:
                await self._serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass  # the sender went away
            except asyncio.CancelledError:
                pass  # the test is over; asyncio would print it
            finally:
                serving.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(connected, self.host, self.port, ssl=self.tls)
        try:
            yield self
        finally:
            server.close()
            await turns()  # what was accepted is begun, to be ended with the others
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(line, headers, body, time.monotonic()))
        behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        await behave(writer)
        writer.close()
        await writer.wait_closed()
