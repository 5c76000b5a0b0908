"""Events of submissions, published without waiting for anything; `amqp.following` receives them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, Self

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection, AbstractExchange

from verdictd import metrics
from verdictd.amqp.connection import amqp_errors
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.amqp.topology import declare_events
from verdictd.concurrency import background, tick
from verdictd.contract.events import EVENT_TYPE
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

_FLUSH_S = 1
_GATHERED_S = 0.1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event as it is published. Its kind is one word, so that ids may have any number of them."""

    submission_id: str
    kind: str
    body: bytes
    correlation_id: str

    @property
    def routing_key(self) -> str:
        """Key that queues are bound by."""
        return f"{self.submission_id}.{self.kind}"


class EventPublisher:
    """Publishes events over a connection of its own, which is opened when there is the first one.

    RabbitMQ blocks or slows down a connection over which it gets more than it can take, so neither results
    nor acknowledgements share it. Events are transient and not confirmed: they may be lost.

    State: the events that wait, the oldest first.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._waiting: deque[OutgoingEvent] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def keep(cls, consuming: ReconnectingConnection) -> AsyncIterator[Self]:
        """Publish until the block ends, and then for a moment what still waits.

        The exchange is declared over another connection, as soon as that is there.
        """
        publisher = cls(consuming.settings)
        async with background(publisher._publish_all(consuming)):
            yield publisher
            await publisher._flush()

    @property
    def waiting(self) -> int:
        """Number of events that wait."""
        return len(self._waiting)

    def offer(self, event: OutgoingEvent) -> None:
        """Publish an event as soon as possible; if too many wait, drop the oldest."""
        if len(self._waiting) >= self._settings.events_waiting:
            self._waiting.popleft()
            metrics.EVENTS.labels(metrics.EventOutcome.DROPPED).inc()
        self._waiting.append(event)
        self._arrived.set()
        self._idle.clear()

    async def _publish_all(self, consuming: ReconnectingConnection) -> None:
        await consuming.use(self._announce, liveness=consuming.liveness(), on_failure=_ignore)
        await self._arrived.wait()
        async with ReconnectingConnection.keep(self._settings, "verdictd events", {}) as connection:
            await connection.use(self._publish_over, liveness=connection.liveness(), on_failure=_ignore)

    async def _announce(self, connection: AbstractConnection) -> None:
        """Declare the exchange, so that queues can be bound to it before there is an event."""
        try:
            await declare_events(connection, self._settings)
        except BrokerUnavailable as error:
            log.warning("events.unavailable", reason=str(error))

    async def _publish_over(self, connection: AbstractConnection) -> NoReturn:
        await self._arrived.wait()  # nobody is told of a right that is missing while nothing is published
        await declare_events(connection, self._settings)
        with amqp_errors("cannot publish events"):
            async with asyncio.timeout(self._settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                exchange = await channel.get_exchange(self._settings.events_exchange, ensure=False)
                underlay = (await channel.get_underlay_channel()).connection
            while True:
                await self._arrived.wait()
                await tick(_GATHERED_S)  # several at once cost less
                while self._waiting:
                    await underlay.ready()  # what waits is dropped meanwhile, the oldest first
                    await self._publish(exchange)
                self._arrived.clear()
                self._idle.set()

    async def _publish(self, exchange: AbstractExchange) -> None:
        event = self._waiting.popleft()
        outcome = metrics.EventOutcome.DROPPED
        try:
            await exchange.publish(self._message(event), event.routing_key, mandatory=False)
            outcome = metrics.EventOutcome.PUBLISHED
        finally:
            metrics.EVENTS.labels(outcome).inc()

    def _message(self, event: OutgoingEvent) -> aio_pika.Message:
        return aio_pika.Message(
            event.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
            type=EVENT_TYPE,
            correlation_id=event.correlation_id,
            timestamp=datetime.now(UTC),
            expiration=self._settings.events_expire_s,
        )

    async def _flush(self) -> None:
        if self._arrived.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._idle.wait()


def _ignore(_: str) -> None:
    """Do nothing about a failure, which is logged: no result depends on events."""
