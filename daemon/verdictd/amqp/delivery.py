"""Delivery: a message as it came, and its settlement."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import assert_never

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage

from verdictd import metrics
from verdictd.amqp.connection import amqp_errors
from verdictd.errors import BrokerUnavailable

TIMESTAMP_IN_MS = "timestamp_in_ms"
"""Header with the time of publication in milliseconds since 1970."""
TAKEN_BACK = "taken_back"
"""Settlement that is counted when the connection was lost before."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came; `attempt` counts its deliveries from 1.

    `timestamp` is in UTC: that of the header `timestamp_in_ms` if there is one, which RabbitMQ's own
    interceptor writes too, else of the property, which has whole seconds.

    What cannot be decoded is replaced: by U+FFFD in text, by None for the timestamp, by no headers, as are
    headers of more than 32 KiB. `received_at`: the time from which RabbitMQ waits for the settlement.
    `on_settled`: called once RabbitMQ was told that the message is done with.
    """

    queue: str
    body: bytes
    message_id: str | None
    correlation_id: str | None
    reply_to: str | None
    type: str | None
    content_type: str | None
    content_encoding: str | None
    priority: int | None
    timestamp: datetime | None
    headers: Mapping[str, object]
    redelivered: bool
    attempt: int
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    on_settled: list[Callable[[], None]] = field(default_factory=list, compare=False, repr=False)


class Settlement(StrEnum):
    """Answer to RabbitMQ about one delivery."""

    ACK = "ack"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead_letter"


def received(message: DeliveredMessage, queue: str, received_at: datetime) -> Delivery:
    """Return a delivery as the rest of the daemon sees it."""
    properties = message.header.properties
    headers = dict(properties.headers or {})
    redelivered = bool(message.redelivered)
    # RabbitMQ's count from the second delivery on; in a first one the sender can have put it.
    count = headers.pop("x-delivery-count", 1)
    count = count if redelivered else 0
    return Delivery(
        queue=queue,
        body=message.body,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        type=properties.message_type,
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        priority=properties.priority,
        timestamp=_in_milliseconds(headers.get(TIMESTAMP_IN_MS)) or properties.timestamp,
        headers=headers,
        redelivered=redelivered,
        attempt=1 + (count if isinstance(count, int) else 1),
        received_at=received_at,
    )


def _in_milliseconds(value: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int) and value > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


async def settle(message: DeliveredMessage, settlement: Settlement, queue: str, *, timeout_s: float) -> bool:
    """Settle a message; return False if RabbitMQ has taken it back meanwhile."""
    channel, tag = message.channel, message.delivery_tag or 0
    try:
        with amqp_errors("cannot settle"):
            async with asyncio.timeout(timeout_s):
                await _tell(channel, tag, settlement)
    except BrokerUnavailable as error:
        # RabbitMQ took the message back when it lost the channel: someone else has it.
        log.info("delivery.taken_back", settlement=settlement, reason=str(error))
        metrics.DELIVERIES.labels(queue, TAKEN_BACK).inc()
        return False
    metrics.DELIVERIES.labels(queue, settlement).inc()
    return True


async def _tell(channel: AbstractChannel, tag: int, settlement: Settlement) -> None:
    match settlement:
        case Settlement.ACK:
            await channel.basic_ack(tag, wait=False)
        case Settlement.REQUEUE:
            await channel.basic_reject(tag, requeue=True, wait=False)
        case Settlement.DEAD_LETTER:
            await channel.basic_reject(tag, requeue=False, wait=False)
        case _ as unreachable:
            assert_never(unreachable)
