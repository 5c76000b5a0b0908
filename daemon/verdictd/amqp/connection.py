"""Connections to RabbitMQ, and plain words for what is wrong with them."""

import asyncio
import errno
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import aio_pika
import aiormq
import structlog
from aio_pika import exceptions
from aio_pika.abc import AbstractConnection
from yarl import URL

from verdictd.amqp.decoding import decode_whatever_was_sent
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

CLOSE_TIMEOUT_S = 3
WRONG_LOGIN = "wrong user or password?"
NO_VHOST = "the virtual host does not exist, or the user may not use it"
NO_TLS = "this port does not speak TLS"
BAD_CERTIFICATE = "its certificate is not accepted"
CLOSED_AT_ONCE = "it closed the connection at once"

log = structlog.get_logger()


@asynccontextmanager
async def connect(settings: BrokerSettings, name: str) -> AsyncIterator[AbstractConnection]:
    """Open a connection that RabbitMQ shows under this name; raise BrokerUnavailable with the reason."""
    decode_whatever_was_sent()
    url = URL(settings.url.get_secret_value()).update_query(heartbeat=settings.heartbeat_s)
    where = f"{url.host}:{url.port or ''}".rstrip(":")
    # aio_pika.connect leaves a connection that fails to the garbage collector, which cannot close it.
    opened = aio_pika.Connection(
        url, ssl_context=tls_context(settings), client_properties={"connection_name": name}
    )
    try:
        with amqp_errors(f"cannot connect to {where}"):
            async with asyncio.timeout(settings.connect_timeout_s):
                await opened.connect()
        yield opened
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await opened.close()


def version_of(opened: AbstractConnection) -> str:
    """Return the version of RabbitMQ at the other end, as it says itself; empty if it does not.

    Raises BrokerUnavailable if the connection is lost.
    """
    return str(underlay(opened).server_properties.get("version", ""))


def underlay(opened: AbstractConnection) -> aiormq.abc.AbstractConnection:
    """Return aiormq's connection below aio-pika's; raise BrokerUnavailable if it is lost."""
    if opened.transport is None:
        raise BrokerUnavailable("the connection was lost")
    return opened.transport.connection


def tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    """Return the context for `amqps`; it checks the broker's certificate, against `ca_file` alone if set."""
    if URL(settings.url.get_secret_value()).scheme != "amqps":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        files = f"ca_file {settings.ca_file}, cert_file {settings.cert_file}, key_file {settings.key_file}"
        raise BrokerUnavailable(f"TLS cannot be set up from {files}: {error.strerror or error}") from error
    return context


def end_of(opened: aiormq.abc.AbstractConnection | aiormq.abc.AbstractChannel) -> asyncio.Future[str]:
    """Return a future of the reason why this closed, or why the broker cancelled a channel's consumer."""
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def finish(reason: str) -> None:
        if not end.done():
            end.set_result(reason)

    def closed(closing: asyncio.Future[Any]) -> None:
        finish("it was closed" if closing.cancelled() else _reason(closing.exception()))

    opened.closing.add_done_callback(closed)
    if isinstance(opened, aiormq.abc.AbstractChannel):
        opened.on_consumer_cancel_callbacks.add(lambda _: finish("the broker cancelled the consumer"))
    return end


@contextmanager
def amqp_errors(doing: str) -> Iterator[None]:
    """Turn every error of the libraries into BrokerUnavailable; let the cancellation of this task pass."""
    try:
        yield
    except asyncio.CancelledError as error:
        # aiormq hands the cancellation of its own tasks to whoever waits for a connection that was lost.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable(f"{doing}: the connection was lost") from error
    except exceptions.CONNECTION_EXCEPTIONS as error:  # TimeoutError among them, as an OSError
        raise BrokerUnavailable(f"{doing}: {_reason(error)}") from error
    except Exception as error:
        if type(error) is not Exception:  # what aiormq raises where a channel closed without a reason
            raise
        raise BrokerUnavailable(f"{doing}: the connection was lost") from error


def _reason(error: BaseException | None) -> str:
    match error:
        case None | asyncio.CancelledError():
            return "the connection was lost"
        case TimeoutError():
            return "no answer in time"
        case OSError(errno=errno.ECONNREFUSED):
            return "Connection refused"
        case OSError() if (reason := _reason_of_tls(str(error))) is not None:
            return reason
        case exceptions.ChannelInvalidStateError():
            return "the channel is closed"
        case exceptions.ProbableAuthenticationError():
            return f"{WRONG_LOGIN} {error.args[-1]}"
        case exceptions.ChannelPreconditionFailed() if "inequivalent" in str(error):
            return f"{error.args[-1]} (delete the queue, or set declare = false)"
        case exceptions.InvalidFrameError() if "Connection.OpenOk" in str(error):
            return NO_VHOST
        case exceptions.DeliveryError():
            return str(error)
        case _:
            return str(error.args[-1]) if error.args else type(error).__name__


def _reason_of_tls(said: str) -> str | None:
    """Return the reason where one side spoke TLS and the other did not, or did not like what it heard."""
    if "WRONG_VERSION_NUMBER" in said:
        return NO_TLS
    if "CERTIFICATE_VERIFY_FAILED" in said:
        found = re.search(r"verify failed: (.*?)\.? \(_ssl", said)
        return f"{BAD_CERTIFICATE}: {found[1]}" if found else BAD_CERTIFICATE
    return CLOSED_AT_ONCE if "unexpectedly closed" in said else None
