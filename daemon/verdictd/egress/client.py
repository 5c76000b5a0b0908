"""HTTP client that reaches only what the rules allow. It is imported where a request is made."""

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from verdictd.egress.rules import Egress


@asynccontextmanager
async def session(
    egress: Egress,
    target: URL,
    resolver: AbstractResolver,
    *,
    socket_type: type[socket.socket] = socket.socket,
    **options: Any,
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client for the host of `target`: each connection is checked, and used only once.

    It has no cookies, no proxy and no timeout. Follow no redirects: they lead to other hosts.
    """

    def connect(found: tuple[Any, ...]) -> socket.socket:
        """Return a socket for the very address that aiohttp connects it to next."""
        family, kind, protocol, _, address = found
        egress.check(target.raw_host or "", address[0])
        return socket_type(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        # A server could close a kept connection just as it is used again, which would waste an attempt.
        force_close=True,
        socket_factory=connect,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # aiohttp rounds it up: the caller has its own
        trust_env=False,
        auto_decompress=False,
        **options,
    ) as session:
        yield session


class Resolver(AbstractResolver):
    """Resolver with threads of its own, so that a name server that hangs does not block other work."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return every address of a host name."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: the threads belong to the caller."""
