"""Connections to RabbitMQ: made, kept, watched; and plain words for what is wrong with them."""

import asyncio
import errno
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NoReturn

import aio_pika
import aiormq
import structlog
from aio_pika import exceptions
from aio_pika.abc import AbstractConnection
from yarl import URL

from verdictd.amqp.decoding import decode_whatever_was_sent
from verdictd.amqp.liveness import Liveness
from verdictd.concurrency import backoff
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

CLOSE_TIMEOUT_S = 3

log = structlog.get_logger()


async def reconnecting(
    settings: BrokerSettings,
    name: str,
    use: Callable[[AbstractConnection], Awaitable[None]],
    liveness: Liveness | None = None,
    *,
    on_lost: Callable[[str], None] = lambda _: None,
) -> None:
    """Run `use` over a connection, and over a new one whenever that is lost, until it returns.

    `liveness` beats with each try; `use` rests it when it has what it needs. `on_lost` gets the reason.
    """
    liveness = liveness or Liveness(limit_s=0)
    pauses_s = backoff(settings.reconnect_max_s)
    while True:
        liveness.beat()
        began_s = time.monotonic()
        reason = "a fault of the daemon"
        try:
            async with connect(settings, name) as opened:
                return await _while_it_answers(opened, settings, use)
        except BrokerUnavailable as error:
            reason = str(error)
        except Exception:  # must not end in a daemon that looks well and does nothing
            log.exception("broker.fault", connection=name)
        on_lost(reason)
        if time.monotonic() - began_s > settings.reconnect_max_s:
            pauses_s = backoff(settings.reconnect_max_s)
        pause_s = next(pauses_s)
        log.warning("broker.lost", connection=name, reason=reason, retry_s=round(pause_s, 1))
        await asyncio.sleep(pause_s)


async def _while_it_answers(
    opened: AbstractConnection,
    settings: BrokerSettings,
    use: Callable[[AbstractConnection], Awaitable[None]],
) -> None:
    """Run `use` to its end, or until RabbitMQ gives no answer any more; raises BrokerUnavailable then."""
    using: asyncio.Future[None] = asyncio.ensure_future(use(opened))
    asking: asyncio.Future[None] = asyncio.ensure_future(_ask(opened, settings.heartbeat_s))
    try:
        await asyncio.wait({using, asking}, return_when=asyncio.FIRST_COMPLETED)
        (using if using.done() else asking).result()
    finally:
        for task in (using, asking):
            task.cancel()
        await asyncio.wait({using, asking}, timeout=CLOSE_TIMEOUT_S)


async def _ask(connection: AbstractConnection, every_s: float) -> NoReturn:
    """Ask for an answer again and again: heartbeats alone tell late, and not that what we send arrives."""
    with amqp_errors("RabbitMQ does not answer"):
        async with asyncio.timeout(every_s):
            channel = await connection.channel(publisher_confirms=False)
            underlay = await channel.get_underlay_channel()
        while True:
            await asyncio.sleep(every_s)
            await underlay.connection.ready()  # it reads nothing while it blocks us, and says so
            async with asyncio.timeout(every_s):
                await channel.set_qos(prefetch_count=1)


@asynccontextmanager
async def connect(settings: BrokerSettings, name: str) -> AsyncIterator[AbstractConnection]:
    """A connection that RabbitMQ shows under this name; raises BrokerUnavailable with the reason."""
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


def tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    """The context for `amqps`: checks the broker's certificate, against `ca_file` alone where that is set."""
    if URL(settings.url.get_secret_value()).scheme != "amqps":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        files = f"ca_file {settings.ca_file}, cert_file {settings.cert_file}, key_file {settings.key_file}"
        raise BrokerUnavailable(f"TLS cannot be set up from {files}: {error}") from error
    return context


def end_of(channel: aiormq.abc.AbstractChannel) -> asyncio.Future[str]:
    """Resolves with the reason when the channel closes, or when the broker cancels its consumer."""
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def finish(reason: str) -> None:
        if not end.done():
            end.set_result(reason)

    def closed(closing: asyncio.Future[Any]) -> None:
        finish("it was closed" if closing.cancelled() else _reason(closing.exception()))

    channel.closing.add_done_callback(closed)
    channel.on_consumer_cancel_callbacks.add(lambda _: finish("the broker cancelled the consumer"))
    return end


@contextmanager
def amqp_errors(doing: str) -> Iterator[None]:
    """Turn whatever the libraries raise into BrokerUnavailable; the cancellation of this task passes."""
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
        case exceptions.ChannelInvalidStateError():
            return "the channel is closed"
        case exceptions.ProbableAuthenticationError():
            return f"wrong user or password? {error.args[-1]}"
        case exceptions.ChannelPreconditionFailed() if "inequivalent" in str(error):
            return f"{error.args[-1]} (delete the queue, or set declare = false)"
        case exceptions.InvalidFrameError() if "Connection.OpenOk" in str(error):
            return "the virtual host does not exist, or the user may not use it"
        case exceptions.DeliveryError():
            return str(error)
        case _:
            return str(error.args[-1]) if error.args else type(error).__name__
