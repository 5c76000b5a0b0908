"""AMQP: take submissions, reply with confirm, settle each delivery exactly once."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, NoReturn, Self, assert_never

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from verdictd import topology
from verdictd.errors import BrokerUnavailable
from verdictd.messages import RESULT_TYPE
from verdictd.settings import BrokerSettings

REPLY_TIMEOUT_S = 600
FAULT_PAUSE_S = 1
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
_TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE_MAX_LENGTH = 512
_PERSISTENT = 2
_SHORT_STRING_BYTES = 255

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

    def __init__(self, settings: BrokerSettings, *, reply_timeout_s: float) -> None:
        self._settings = settings
        self._reply_timeout_s = reply_timeout_s
        self._reply_to_pattern = re.compile(settings.reply_to_pattern)
        # State: the channel for replies, once it is open; no consumer registered; deliveries not settled yet.
        self._publisher: asyncio.Future[AbstractChannel] = asyncio.get_running_loop().create_future()
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
        return self._publisher.done()

    @property
    def consuming(self) -> bool:
        """Whether RabbitMQ delivers submissions to us now."""
        return not self._not_consuming.is_set()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, settings: BrokerSettings, *, reply_timeout_s: float = REPLY_TIMEOUT_S
    ) -> AsyncIterator[Self]:
        """A broker whose queues are there; raises BrokerUnavailable at once, but reconnects from then on."""
        async with topology.connection(settings, "verdictd start") as connection:
            await topology.declare(connection, settings)
        broker = cls(settings, reply_timeout_s=reply_timeout_s)
        keeping = asyncio.create_task(topology.keep(settings, "verdictd publish", broker._publish_over))
        try:
            yield broker
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def consume(
        self, handle: Handle, *, prefetch: int, stop: asyncio.Event, drain_timeout_s: float
    ) -> None:
        """Hand each submission to `handle` in a task of its own and settle it as told, until `stop` is set.

        Then what is in flight has `drain_timeout_s` to end; what does not is cancelled and put back.
        """
        async with asyncio.TaskGroup() as connections:
            async with asyncio.TaskGroup() as in_flight:

                async def receive(message: DeliveredMessage) -> None:
                    # aiormq cancels this callback when the connection is lost; the work goes on.
                    task = in_flight.create_task(self._work(message, handle, stop))
                    self._in_flight.add(task)
                    task.add_done_callback(self._in_flight.discard)

                use = partial(self._consume_over, receive=receive, prefetch=prefetch, stop=stop)
                keeping = connections.create_task(topology.keep(self._settings, "verdictd consume", use))
                await stop.wait()
                await self._not_consuming.wait()
                await self._drain(drain_timeout_s)
            keeping.cancel()

    async def reply(self, body: bytes, *, delivery: Delivery, submission_id: str) -> None:
        """Publish a result until RabbitMQ confirms it, across reconnects; a lost confirm makes a duplicate.

        Where its `reply_to` is refused or nobody is there, the results queue gets it, with headers that say
        so. Raises BrokerUnavailable if that is missing too, or after `reply_timeout_s` in all.
        """
        results = self._settings.results_queue
        headers = _reply_headers(delivery, submission_id)
        publish = partial(self._publish, body=body, delivery=delivery, headers=headers)
        try:
            async with asyncio.timeout(self._reply_timeout_s):
                problem = self.reply_to_problem(delivery.reply_to)
                if delivery.reply_to and not problem:
                    problem = await publish(delivery.reply_to)
                    if problem is None:
                        return
                if problem:
                    log.warning("reply.undelivered", reply_to=delivery.reply_to, reason=problem)
                    headers["undelivered_reply_to"] = delivery.reply_to or ""
                    headers["undelivered_reason"] = problem
                if await publish(results):
                    await topology.declare((await self._channel()).connection, self._settings)
                    if problem := await publish(results):
                        raise BrokerUnavailable(f"{results!r}: {problem}")
        except TimeoutError as error:
            raise BrokerUnavailable(f"no confirm for a reply in {self._reply_timeout_s:g} s") from error

    def reply_to_problem(self, reply_to: str | None) -> str | None:
        """Why a submission may not ask for its result there; None if it may."""
        settings = self._settings
        if not reply_to or reply_to == settings.results_queue:
            return None
        if len(reply_to.encode()) > _SHORT_STRING_BYTES:
            return f"longer than {_SHORT_STRING_BYTES} bytes"
        if reply_to in {settings.submissions_queue, settings.dead_queue}:
            return "a queue of the daemon itself"
        if reply_to.startswith(DIRECT_REPLY_TO) or self._reply_to_pattern.fullmatch(reply_to):
            return None
        return f"does not match {settings.reply_to_pattern}"

    async def _publish(
        self, queue: str, *, body: bytes, delivery: Delivery, headers: dict[str, str]
    ) -> str | None:
        """Publish until it is confirmed, however long that takes; else why this queue will not get it."""
        pauses_s = topology.pauses(self._settings.reconnect_max_s)
        while True:
            channel = await self._channel()
            try:
                with topology.translated(f"cannot publish to {queue!r}"):
                    async with asyncio.timeout(self._settings.publish_timeout_s):
                        return await self._try_publish(channel, queue, body, _properties(delivery, headers))
            except BrokerUnavailable as error:
                log.warning("reply.delayed", reason=str(error))
            await asyncio.sleep(next(pauses_s))

    async def _try_publish(
        self, channel: AbstractChannel, queue: str, body: bytes, properties: aiormq.spec.Basic.Properties
    ) -> str | None:
        await channel.connection.ready()  # while the broker blocks us, tries would only pile up copies
        # RabbitMQ returns each mandatory message to a direct reply address, even those that it delivers.
        direct = queue.startswith(DIRECT_REPLY_TO)
        if direct and not await topology.has_queue(channel.connection, queue):
            return "nobody waits there"
        try:
            await channel.basic_publish(body, routing_key=queue, properties=properties, mandatory=not direct)
        except aiormq.PublishError:
            return "no such queue"
        except aiormq.DeliveryError:
            if queue == self._settings.results_queue:  # full perhaps, but there is no other
                raise
            return "the queue takes no more"
        return None

    async def _channel(self) -> AbstractChannel:
        return await asyncio.shield(self._publisher)  # several wait for it, and one may be cancelled

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

    async def _publish_over(self, connection: AbstractConnection) -> NoReturn:
        with topology.translated("cannot open a channel"):
            async with asyncio.timeout(self._settings.connect_timeout_s):
                channel = await connection.channel(on_return_raises=True)
        self._publisher.set_result(channel)
        log.info("broker.connected")
        try:
            raise BrokerUnavailable(await topology.end_of(channel))
        finally:
            self._publisher = asyncio.get_running_loop().create_future()

    async def _consume_over(
        self,
        connection: AbstractConnection,
        *,
        receive: Callable[[DeliveredMessage], Coroutine[Any, Any, None]],
        prefetch: int,
        stop: asyncio.Event,
    ) -> None:
        if stop.is_set():
            return
        settings = self._settings
        await topology.declare(connection, settings)
        with topology.translated("cannot consume"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                end = topology.end_of(channel)
                await channel.basic_qos(prefetch_count=prefetch)
                consumer = await channel.basic_consume(settings.submissions_queue, receive)
        self._not_consuming.clear()
        log.info("broker.consuming", queue=settings.submissions_queue, prefetch=prefetch)
        stopped = asyncio.ensure_future(stop.wait())
        waits: set[asyncio.Future[Any]] = {end, stopped}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                with topology.translated("cannot stop to consume"):
                    async with asyncio.timeout(settings.connect_timeout_s):
                        await channel.basic_cancel(consumer.consumer_tag or "")
        finally:
            stopped.cancel()
            self._not_consuming.set()
        # After a stop the channel stays open: what is in flight is settled over it.
        raise BrokerUnavailable(await end)


def _properties(delivery: Delivery, headers: dict[str, str]) -> aiormq.spec.Basic.Properties:
    correlation_id = delivery.correlation_id or ""
    if not 0 < len(correlation_id.encode()) <= _SHORT_STRING_BYTES:
        correlation_id = headers["submission_id"]
    return aiormq.spec.Basic.Properties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        priority=delivery.priority,
        correlation_id=correlation_id,
        message_id=str(uuid.uuid4()),  # fresh for each try: two of a name confuse returns and confirms
        timestamp=datetime.now(UTC),
        message_type=RESULT_TYPE,
        headers=dict(headers),
    )


def _reply_headers(delivery: Delivery, submission_id: str) -> dict[str, str]:
    headers = {"submission_id": submission_id}
    for name in _TRACE_HEADERS:
        value = delivery.headers.get(name)
        if isinstance(value, str) and len(value) <= _TRACE_MAX_LENGTH:
            headers[name] = value
    return headers


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
