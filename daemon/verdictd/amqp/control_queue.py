"""Queue of control messages: a stream that all daemons read, or one for each of them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aiormq import exceptions
from aiormq.abc import AbstractChannel
from pamqp import common

from verdictd.amqp.connection import amqp_errors
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

# RabbitMQ forgets whole segments, so they are small.
_SEGMENT_BYTES = 1024 * 1024
_STREAM_BYTES = 64 * _SEGMENT_BYTES
_CLOSING_REPLIES = ("INTERNAL_ERROR", "NOT_IMPLEMENTED", "COMMAND_INVALID", "NOT_ALLOWED")
_REFUSED = (
    exceptions.ChannelPreconditionFailed,
    exceptions.ChannelAccessRefused,
    exceptions.ChannelNotFoundEntity,
)


@dataclass(frozen=True, slots=True)
class ControlQueue:
    """The queue from which a daemon reads. `no_stream`: the reason why it is not a stream, if it is none."""

    name: str
    no_stream: str = ""


async def declare_control(
    connection: AbstractConnection, settings: BrokerSettings, *, no_stream: str = ""
) -> ControlQueue:
    """Make the exchange and the stream behind it, or a queue for this connection alone if it cannot be one.

    Raises BrokerUnavailable if neither is possible. If `closes_connection` is true of the reason, it is to be
    called again over another connection, with the reason as `no_stream`: it does not ask for a stream then.
    """
    name = settings.control_queue
    async with _channel(connection, settings) as channel:
        await channel.exchange_declare(
            name, exchange_type="fanout", durable=True, passive=not settings.declare
        )
    no_stream = no_stream or await _declare_stream(connection, settings)
    return await declare_own(connection, settings, no_stream) if no_stream else ControlQueue(name)


async def declare_own(
    connection: AbstractConnection, settings: BrokerSettings, no_stream: str
) -> ControlQueue:
    """Make a queue that ends with the connection."""
    name = f"{settings.control_queue}.{uuid.uuid4()}"
    async with _channel(connection, settings) as channel:
        await channel.queue_declare(name, exclusive=True, auto_delete=True)
        await channel.queue_bind(name, settings.control_queue)
    return ControlQueue(name, no_stream)


async def _declare_stream(connection: AbstractConnection, settings: BrokerSettings) -> str:
    """Make the stream, or look for it; return the reason if it is refused."""
    if settings.control_age_s == 0:
        return "broker.control_age_s is 0"
    name = settings.control_queue
    arguments: common.FieldTable = {
        "x-queue-type": "stream",
        "x-max-age": f"{settings.control_age_s}s",
        "x-max-length-bytes": _STREAM_BYTES,
        "x-stream-max-segment-size-bytes": _SEGMENT_BYTES,
    }
    try:
        async with _channel(connection, settings) as channel:
            await channel.queue_declare(name, durable=True, passive=not settings.declare, arguments=arguments)
            if settings.declare:
                await channel.queue_bind(name, name)
    except BrokerUnavailable as error:
        if not is_refusal(error):
            raise
        return str(error)
    return ""


def closes_connection(reason: str) -> bool:
    """Return True if RabbitMQ closed the connection since it does not allow what was asked for.

    It does so for a stream where the feature flag of streams is disabled.
    """
    return any(reply in reason for reply in _CLOSING_REPLIES)


def is_refusal(error: BrokerUnavailable) -> bool:
    """Return True if this RabbitMQ, or its operator, does not allow what was asked for."""
    return isinstance(error.__cause__, _REFUSED)


@asynccontextmanager
async def _channel(
    connection: AbstractConnection, settings: BrokerSettings
) -> AsyncIterator[AbstractChannel]:
    """Open a channel for a few operations: one that fails closes it. Raises BrokerUnavailable."""
    with amqp_errors(f"{settings.control_queue!r} cannot be used"):
        async with (
            asyncio.timeout(settings.connect_timeout_s),
            connection.channel(publisher_confirms=False) as channel,
        ):
            yield await channel.get_underlay_channel()
