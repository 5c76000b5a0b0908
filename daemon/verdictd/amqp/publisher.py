"""Publishing with confirm: the only place that does."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, Self, cast

import aiormq
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from verdictd.amqp.connection import amqp_errors, end_of
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.amqp.topology import Queues, declare, has_queue
from verdictd.concurrency import background, backoff
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
"""Prefix of the addresses that RabbitMQ gives to clients that wait for a direct reply."""
# What is given up goes back to the queue, perhaps to be judged again by others, which helps nobody while
# RabbitMQ takes no results. What waits is bounded by the capacity: nothing is taken in its place.
PUBLISH_LIMIT_S = 86_400
_HELD_S = 5
_BLOCKED_S = 0.1

_PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is to be published."""

    body: bytes
    properties: Basic.Properties


MessageFactory = Callable[[], Awaitable[Message]]
"""Makes the message of each try."""

log = structlog.get_logger()


def json_message(
    body: bytes,
    *,
    type: str | None = None,  # noqa: A002 - the property's name
    correlation_id: str | None = None,
    message_id: str | None = None,
    reply_to: str | None = None,
    priority: int | None = None,
    headers: Mapping[str, str | int] | None = None,
    expiration_s: float | None = None,
) -> Message:
    """Return a persistent message of JSON; without a `message_id` it has a new one.

    Each try needs another `message_id`: two of a name in flight confuse returns and confirms.
    """
    properties = Basic.Properties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_type=type,
        correlation_id=correlation_id,
        message_id=message_id or str(uuid.uuid4()),
        reply_to=reply_to,
        priority=priority,
        timestamp=datetime.now(UTC),
        headers=dict(headers or {}),
        expiration=None if expiration_s is None else str(round(expiration_s * 1000)),
    )
    return Message(body, properties)


async def publish_once(
    channel: aiormq.Channel, queue: str, make: MessageFactory, *, timeout_s: float, exchange: str = ""
) -> str | None:
    """Publish over a channel with confirms; return why the queue does not get the message, None if it does.

    To another exchange than the default one, `queue` is the routing key.

    Raises BrokerUnavailable if that is not known, and if the queue is full (its cause is DeliveryError then).
    """
    with amqp_errors(f"cannot publish to {exchange or queue!r}"):
        async with asyncio.timeout(timeout_s):
            # While the broker blocks us, tries would only pile up copies; aiormq itself does not look.
            await channel.connection.ready()
            return await _publish(channel, queue, await make(), exchange)


async def _publish(channel: aiormq.Channel, queue: str, message: Message, exchange: str) -> str | None:
    # RabbitMQ returns each mandatory message to a direct reply address, even those that it delivers.
    direct = not exchange and queue.startswith(DIRECT_REPLY_TO)
    if direct and not await has_queue(channel.connection, queue):
        return "nobody waits there"
    try:
        # The confirm says that the message was sent, so nothing else has to wait for that.
        await channel.basic_publish(
            message.body,
            exchange=exchange,
            routing_key=queue,
            properties=message.properties,
            mandatory=not direct,
            wait=False,
        )
    except PublishError:
        return "no such queue"
    return None


class Publisher:
    """Publishes over a connection of its own, which RabbitMQ blocks while it is short of memory or disk.

    State: the channel while it is open; since when publications wait for a confirm, the oldest first.
    """

    def __init__(self, connection: ReconnectingConnection, *, limit_s: float = PUBLISH_LIMIT_S) -> None:
        self.connection = connection
        self._limit_s = limit_s
        self._liveness = connection.liveness()
        self._failure = ""
        self._channel: asyncio.Future[aiormq.Channel] = asyncio.get_running_loop().create_future()
        self._waiting: dict[object, float] = {}

    @classmethod
    @asynccontextmanager
    async def keep(
        cls, settings: BrokerSettings, queues: Queues, *, limit_s: float = PUBLISH_LIMIT_S
    ) -> AsyncIterator[Self]:
        """Hold a connection to publish over until the block ends; publications wait for it."""
        async with (
            ReconnectingConnection.keep(settings, "verdictd publish", queues) as connection,
            cls.over(connection, limit_s=limit_s) as publisher,
        ):
            yield publisher

    @classmethod
    @asynccontextmanager
    async def over(
        cls, connection: ReconnectingConnection, *, limit_s: float = PUBLISH_LIMIT_S
    ) -> AsyncIterator[Self]:
        """Publish over a channel of its own until the block ends: what closes it disturbs no other."""
        publisher = cls(connection, limit_s=limit_s)
        async with background(publisher._keep_channel()):
            yield publisher

    @property
    def connected(self) -> bool:
        """True while there is a channel to publish over."""
        return self._channel.done()

    @property
    def confirming(self) -> bool:
        """True while RabbitMQ takes what is published; short of memory or disk it confirms nothing."""
        oldest_s = next(iter(self._waiting.values()), None)
        held = oldest_s is not None and time.monotonic() - oldest_s > _HELD_S
        return self.connected and not held

    @property
    def overdue(self) -> bool:
        """True if there is no connection to publish over, and the tries to open one have stopped."""
        return self._liveness.overdue or self.connection.overdue

    @property
    def failure(self) -> str:
        """Reason why nothing can be published, as far as it is known."""
        return "" if self.connected else self.connection.failure or self._failure

    async def publish(self, queue: str, make: MessageFactory) -> str | None:
        """Publish until RabbitMQ confirms, across reconnects; return why this queue will not get the message.

        Raises BrokerUnavailable after the limit of this publisher.
        """
        with self._waits(queue):
            async with asyncio.timeout(self._limit_s):
                return await self._until_confirmed(queue, make)

    async def publish_to_own(self, queue: str, make: MessageFactory) -> None:
        """Publish to a queue that the daemon declares until RabbitMQ confirms, across reconnects.

        There is no other queue for it: one that is missing, and that we may not declare, is waited for.
        Raises BrokerUnavailable after the limit of this publisher.
        """
        connection = self.connection
        with self._waits(queue):
            async with asyncio.timeout(self._limit_s):
                for pause_s in backoff(connection.settings.reconnect_max_s):
                    if await self._until_confirmed(queue, make) is None:
                        return
                    try:
                        await declare(await connection.opened(), connection.settings, connection.queues)
                    except BrokerUnavailable as error:
                        log.warning("reply.delayed", reason=str(error))
                        await asyncio.sleep(pause_s)

    async def publish_now(self, queue: str, message: Message, *, exchange: str = "") -> None:
        """Publish once; raises BrokerUnavailable, after which the message may be published or not.

        Raises it at once where there is no connection, or where RabbitMQ is known to block it.
        """

        async def make() -> Message:
            return message

        if not self.connected:
            raise BrokerUnavailable("not connected to RabbitMQ")
        channel = self._channel.result()
        with amqp_errors("RabbitMQ takes no messages now"):
            async with asyncio.timeout(_BLOCKED_S):
                await channel.connection.ready()
        if await self._try(channel, queue, make, exchange=exchange) is not None:
            missing = f"no queue is bound to {exchange!r}" if exchange else f"queue {queue!r} does not exist"
            raise BrokerUnavailable(missing)

    async def _until_confirmed(self, queue: str, make: MessageFactory) -> str | None:
        pauses_s = backoff(self.connection.settings.reconnect_max_s)
        while True:
            try:
                return await self._try(await asyncio.shield(self._channel), queue, make)
            except BrokerUnavailable as error:
                log.warning("reply.delayed", reason=str(error))
            await asyncio.sleep(next(pauses_s))

    async def _try(
        self, channel: aiormq.Channel, queue: str, make: MessageFactory, *, exchange: str = ""
    ) -> str | None:
        timeout_s = self.connection.settings.publish_timeout_s
        try:
            return await publish_once(channel, queue, make, timeout_s=timeout_s, exchange=exchange)
        except BrokerUnavailable as error:
            full = isinstance(error.__cause__, DeliveryError)
            if not full or queue in self.connection.queues:  # for which there is no other
                raise
            return "the queue takes no more"

    @contextmanager
    def _waits(self, queue: str) -> Iterator[None]:
        """Count a publication that waits for its confirm; raise BrokerUnavailable for a TimeoutError."""
        waiting = object()
        self._waiting[waiting] = time.monotonic()
        try:
            yield
        except TimeoutError as error:
            raise BrokerUnavailable(f"no confirm from {queue!r} in {self._limit_s:g} s") from error
        finally:
            del self._waiting[waiting]

    async def _keep_channel(self) -> None:
        await self.connection.use(self._open_channel, liveness=self._liveness, on_failure=self._failed)

    async def _open_channel(self, connection: AbstractConnection) -> NoReturn:
        with amqp_errors("cannot open a channel"):
            async with asyncio.timeout(self.connection.settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                underlay = await channel.get_underlay_channel()
        end = end_of(underlay)
        self._channel.set_result(cast(aiormq.Channel, underlay))
        self._liveness.rest()
        try:
            raise BrokerUnavailable(await end)
        finally:
            self._channel = asyncio.get_running_loop().create_future()

    def _failed(self, reason: str) -> None:
        self._failure = reason
