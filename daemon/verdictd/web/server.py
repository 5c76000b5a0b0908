"""HTTP server, with limits on connections, headers and time."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, cast

import structlog
from aiohttp import web

from verdictd.settings import HttpSettings
from verdictd.web.connections import Places
from verdictd.web.responses import HttpError

_SHUTDOWN_S = 5
_LINGER_S = 2
_MAX_LINE_BYTES = 8_192
_MAX_HEADERS = 64

log = structlog.get_logger()


@asynccontextmanager
async def listen(app: web.Application, settings: HttpSettings) -> AsyncIterator[None]:
    """Serve the application for as long as the block lasts; raises OSError if the address is in use."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # a client that has disconnected does not wait for a result any more
        shutdown_timeout=_SHUTDOWN_S,
    )
    listening: asyncio.Server | None = None
    await runner.setup()
    try:
        if runner.server is not None:
            listening = await _listening(runner.server, settings)
            host, port, *_ = listening.sockets[0].getsockname()
            log.info("http.listening", host=host, port=port, tokens=len(settings.tokens))
            if not settings.tokens and not ip_address(host).is_loopback:
                log.warning("http.open", effect="every client of this address may submit; see http.tokens")
        yield
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()


async def _listening(server: web.Server, settings: HttpSettings) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    places = Places(settings.max_requests + settings.max_event_streams)

    def accept() -> asyncio.Protocol:
        return _Connection(
            server,
            places=places,
            stalled_s=settings.request_timeout_s,
            loop=loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.request_timeout_s,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
        )

    try:
        return await loop.create_server(accept, settings.host, settings.port, reuse_address=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        where = f"http.host {settings.host}, http.port {settings.port}"
        raise OSError(f"cannot listen on {where}: {reason or error}") from error


class _Connection(web.RequestHandler):
    """Connection of aiohttp with a place of its own, that reveals no versions and quotes no invalid input."""

    __slots__ = ("_address", "_places", "_stalled_s")

    def __init__(self, server: web.Server, *, places: Places, stalled_s: float, **options: Any) -> None:
        super().__init__(server, **options)
        self._places = places
        self._stalled_s = stalled_s
        self._address: str | None = None

    @property
    def is_waiting(self) -> bool:
        """No request is in progress: the client has not sent a whole head, or not yet the next one."""
        return not self._request_in_progress and not self._messages

    @property
    def is_sending(self) -> bool:
        """A response is on its way to a client that does not read it fast enough."""
        return self._request_in_progress and self._current_request is None

    def give_way(self) -> None:
        """Close the connection at once, for another one."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        if peer is None or not self._places.take(self, peer[0]):
            cast(asyncio.Transport, transport).abort()
            return
        self._address = peer[0]
        # The kernel ends a connection whose client does not read the response.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._stalled_s * 1000))
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._address is not None:
            self._places.leave(self, self._address)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - not used: it quotes the client's input
    ) -> web.StreamResponse:
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("http.failed", path=request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response has been sent already")
        response = HttpError(HTTPStatus(status), f"{HTTPStatus(status).phrase}.").response()
        response.headers["Server"] = "verdictd"
        response.force_close()
        return response
