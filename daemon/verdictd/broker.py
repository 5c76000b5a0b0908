"""AMQP: take submissions, reply with confirm, settle each delivery exactly once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Self, assert_never

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from verdictd import topology
from verdictd.errors import BrokerUnavailable
from verdictd.replies import Replies, Reply
from verdictd.settings import BrokerSettings

REPLY_TIMEOUT_S = 600
FAULT_PAUSE_S = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came; `attempt` counts its deliveries from 1, `timestamp` is in UTC.

    What cannot be decoded is replaced (text), None (timestamp) or empty (headers, also those over 32 KiB).
    """

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


class Settlement(StrEnum):
    """What becomes of a delivery."""

    ACK = "ack"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead_letter"


Handle = Callable[[Delivery], Awaitable[Settlement]]


class Broker:
    """RabbitMQ over two connections: a shortage of memory or disk there blocks the one that publishes."""

    def __init__(
        self, settings: BrokerSettings, *, reply_timeout_s: float, more: topology.Queues | None = None
    ) -> None:
        self._settings = settings
        self._more = more or {}
        self._replies = Replies(settings, timeout_s=reply_timeout_s, more=more)
        # State: no consumer registered; deliveries not settled yet.
        self._not_consuming = asyncio.Event()
        self._not_consuming.set()
        self._in_flight: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        connected = "connected" if self.connected else "not connected"
        consuming = "consuming" if self.consuming else "not consuming"
        return f"<Broker {connected}, {consuming}, {len(self._in_flight)} in flight>"

    @property
    def connected(self) -> bool:
        """Whether a reply can be sent now."""
        return self._replies.connected

    @property
    def consuming(self) -> bool:
        """Whether RabbitMQ delivers submissions to us now."""
        return not self._not_consuming.is_set()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: BrokerSettings,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        more: topology.Queues | None = None,
    ) -> AsyncIterator[Self]:
        """A broker whose queues are there, and `more` of them where these are given.

        Raises BrokerUnavailable at once, but reconnects from then on.
        """
        async with topology.connection(settings, "verdictd start") as connection:
            await topology.declare(connection, settings, more)
        broker = cls(settings, reply_timeout_s=reply_timeout_s, more=more)
        keeping = asyncio.create_task(broker._replies.keep_connected())
        try:
            yield broker
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def consume(
        self,
        handle: Handle,
        *,
        prefetch: int,
        stop: asyncio.Event,
        drain_timeout_s: float,
        queue: str | None = None,
    ) -> None:
        """Hand each submission to `handle` in a task of its own and settle it as told, until `stop` is set.

        They come from the submissions queue, unless another one is given.

        Then what is in flight has `drain_timeout_s` to end; what does not is cancelled and put back.
        """
        async with asyncio.TaskGroup() as connections:
            async with asyncio.TaskGroup() as in_flight:

                async def receive(message: DeliveredMessage) -> None:
                    # The channel cancels this callback when the connection is lost; the work goes on.
                    work = self._work(message, handle, stop)
                    try:
                        task = in_flight.create_task(work)
                    except RuntimeError:
                        work.close()  # the group has ended: RabbitMQ takes the message back with the channel
                        return
                    self._in_flight.add(task)
                    task.add_done_callback(self._in_flight.discard)

                use = partial(
                    self._consume_over,
                    queue=queue or self._settings.submissions_queue,
                    receive=receive,
                    prefetch=prefetch,
                    stop=stop,
                )
                keeping = connections.create_task(topology.keep(self._settings, "verdictd consume", use))
                await stop.wait()
                await self._not_consuming.wait()
                await self._drain(drain_timeout_s)
            keeping.cancel()

    async def reply(
        self, body: bytes, *, delivery: Delivery, submission_id: str, again: Callable[[], bytes] | None = None
    ) -> None:
        """Publish a result until RabbitMQ confirms it, across reconnects; a lost confirm makes a duplicate.

        `again` makes the body of such a duplicate, which says what it is.

        Where its `reply_to` is refused or nobody is there, the results queue gets it, with headers that say
        so. Raises BrokerUnavailable if that is missing too, or after `reply_timeout_s` in all.
        """
        await self._replies.publish(
            Reply(
                body=body,
                again=again or (lambda: body),
                submission_id=submission_id,
                reply_to=delivery.reply_to,
                correlation_id=delivery.correlation_id,
                priority=delivery.priority,
                headers=delivery.headers,
            )
        )

    async def publish(self, queue: str, make: Callable[[], Message]) -> None:
        """Publish to a queue that the daemon declares until RabbitMQ confirms it; `make` makes each try.

        Raises BrokerUnavailable as `reply` does.
        """
        await self._replies.publish_to_own(queue, make)

    def reply_to_problem(self, reply_to: str | None) -> str | None:
        """Why a submission may not ask for its result there; None if it may."""
        return self._replies.problem(reply_to)

    async def _work(self, message: DeliveredMessage, handle: Handle, stop: asyncio.Event) -> None:
        """One delivery from its arrival to its settlement; nothing it raises may reach its neighbours."""
        settlement = Settlement.REQUEUE
        try:
            if not stop.is_set():
                settlement = await handle(_delivery(message))
        except Exception:
            log.exception("delivery.failed", message_id=message.header.properties.message_id)
            await asyncio.sleep(FAULT_PAUSE_S)
        finally:
            if stop.is_set():
                await self._not_consuming.wait()  # or what is put back now would come to us once more
            await _settle(message, settlement)

    async def _drain(self, timeout_s: float) -> None:
        if not self._in_flight:
            return
        log.info("broker.draining", in_flight=len(self._in_flight), timeout_s=timeout_s)
        _, slow = await asyncio.wait(self._in_flight, timeout=timeout_s)
        for task in slow:
            task.cancel()

    async def _consume_over(
        self,
        connection: AbstractConnection,
        *,
        queue: str,
        receive: Callable[[DeliveredMessage], Coroutine[Any, Any, None]],
        prefetch: int,
        stop: asyncio.Event,
    ) -> None:
        if stop.is_set():
            return
        settings = self._settings
        await topology.declare(connection, settings, self._more)
        with topology.translated("cannot consume"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                underlay = await channel.get_underlay_channel()
                end = topology.end_of(underlay)
                await channel.set_qos(prefetch_count=prefetch)
                # Not through aio-pika's queue: its messages raise on a delivery mode of 3, which newer
                # versions of RabbitMQ let pass, and such a delivery would reach nobody, never to be settled.
                consumer = await underlay.basic_consume(queue, receive)
        self._not_consuming.clear()
        log.info("broker.consuming", queue=queue, prefetch=prefetch)
        stopped = asyncio.ensure_future(stop.wait())
        waits: set[asyncio.Future[Any]] = {end, stopped}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                with topology.translated("cannot stop to consume"):
                    async with asyncio.timeout(settings.connect_timeout_s):
                        await underlay.basic_cancel(consumer.consumer_tag or "")
        finally:
            stopped.cancel()
            self._not_consuming.set()
        # After a stop the channel stays open: what is in flight is settled over it.
        raise BrokerUnavailable(await end)


def _delivery(message: DeliveredMessage) -> Delivery:
    properties = message.header.properties
    headers = properties.headers or {}
    redelivered = bool(message.redelivered)
    # RabbitMQ adds its count from the second delivery on; in a first one only the sender can have put it.
    count = headers.get("x-delivery-count", 1) if redelivered else 0
    return Delivery(
        body=message.body,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        type=properties.message_type,
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        priority=properties.priority,
        timestamp=properties.timestamp,
        headers=headers,
        redelivered=redelivered,
        attempt=1 + (count if isinstance(count, int) else 1),
    )


async def _settle(message: DeliveredMessage, settlement: Settlement) -> None:
    channel, tag = message.channel, message.delivery_tag or 0
    try:
        with topology.translated("cannot settle"):
            match settlement:
                case Settlement.ACK:
                    await channel.basic_ack(tag)
                case Settlement.REQUEUE:
                    await channel.basic_reject(tag, requeue=True)
                case Settlement.DEAD_LETTER:
                    await channel.basic_reject(tag, requeue=False)
                case _ as unreachable:
                    assert_never(unreachable)
    except BrokerUnavailable as error:
        # RabbitMQ took the message back when it lost the channel: someone else has it.
        log.info("delivery.taken_back", settlement=settlement, reason=str(error))
