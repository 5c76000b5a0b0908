"""AMQP: take submissions, reply with confirm, settle each delivery exactly once."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Self, assert_never

import structlog
from aio_pika import Message
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage

from verdictd import metrics, topology
from verdictd.errors import BrokerUnavailable
from verdictd.pulse import Pulse
from verdictd.replies import Replies, Reply
from verdictd.settings import BrokerSettings
from verdictd.source import Source
from verdictd.tasks import beside

# What is given up goes back to the queue, perhaps to be judged again by others, which helps nobody while
# RabbitMQ takes no results. What waits is bounded by the prefetch count: nothing is taken in its place.
REPLY_TIMEOUT_S = 86_400
FAULT_PAUSE_S = 1
_TAKEN_BACK = "taken_back"
_SUSPENDED_LOG_S = 25
_SEEN_MESSAGES = 10_000
_FINGERPRINT_BYTES = 64 * 1024

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
    """RabbitMQ over two connections: a shortage of memory or disk there blocks the one that publishes.

    A submission can kill the daemon that judges it, and RabbitMQ counts that for all that the daemon had. A
    message that somebody else had before, and did not settle, is a suspect: it is in work alone, and only its
    own count grows if it kills again. What this process has had itself did not kill it, and is no suspect.
    """

    def __init__(
        self, settings: BrokerSettings, *, reply_timeout_s: float, more: topology.Queues | None = None
    ) -> None:
        self._settings = settings
        self._more = more or {}
        self._replies = Replies(settings, timeout_s=reply_timeout_s, more=more)
        self.pulse = Pulse(topology.try_limit_s(settings, more))
        """Of the task that consumes: it rests while RabbitMQ delivers to us."""
        # State: nothing is taken now; deliveries not settled yet; what was delivered so far, newest last.
        self._not_consuming = asyncio.Event()
        self._not_consuming.set()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._news = asyncio.Event()

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
        async with beside(broker._replies.keep_connected()):
            yield broker

    async def consume(
        self,
        handle: Handle,
        *,
        prefetch: Callable[[], int],
        stop: asyncio.Event,
        drain_timeout_s: float,
        queue: str | None = None,
        careful: bool = True,
    ) -> None:
        """Hand each submission to `handle` in a task of its own and settle it as told, until `stop` is set.

        They come from the submissions queue, unless another one is given: as many at once as `prefetch` says
        at the time, those of lost connections included. Suspects come alone, unless it is not `careful`.

        Then what is in flight has `drain_timeout_s` to end; what does not is cancelled and put back.
        """
        queue = queue or self._settings.submissions_queue
        for settlement in (*Settlement, _TAKEN_BACK):
            metrics.DELIVERIES.labels(queue, settlement)  # which begin with 0

        def unwanted() -> bool:
            return stop.is_set() or not prefetch()

        async with asyncio.TaskGroup() as connections:
            async with asyncio.TaskGroup() as in_flight:

                def start(message: DeliveredMessage) -> asyncio.Task[None]:
                    task = in_flight.create_task(self._work(message, handle, stop, unwanted, queue))
                    self._in_flight.add(task)
                    task.add_done_callback(self._ended)
                    return task

                use = partial(
                    self._consume_over,
                    queue=queue,
                    start=start,
                    prefetch=prefetch,
                    stop=stop,
                    unwanted=unwanted,
                    careful=careful,
                )
                keeping = connections.create_task(
                    topology.keep(self._settings, "verdictd consume", use, self.pulse)
                )
                await stop.wait()
                self._news.set()
                await self._not_consuming.wait()
                await self._drain(drain_timeout_s)
            keeping.cancel()

    async def reply(self, body: bytes, *, delivery: Delivery, submission_id: str) -> None:
        """Publish a result until RabbitMQ confirms it, across reconnects; a lost confirm makes a duplicate.

        Where its `reply_to` is refused or nobody is there, the results queue gets it, with headers that say
        so. Waits for that if it is missing too. Raises BrokerUnavailable after `reply_timeout_s` in all.
        """
        await self._replies.publish(
            Reply(
                body=body,
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

    async def _work(
        self,
        message: DeliveredMessage,
        handle: Handle,
        stop: asyncio.Event,
        unwanted: Callable[[], bool],
        queue: str,
    ) -> None:
        """One delivery from its arrival to its settlement; nothing it raises may reach its neighbours."""
        settlement = Settlement.REQUEUE
        try:
            if not stop.is_set():
                settlement = await handle(_delivery(message))
        except Exception:
            log.exception("delivery.failed", message_id=message.header.properties.message_id)
            await asyncio.sleep(FAULT_PAUSE_S)
        finally:
            if unwanted():
                await self._not_consuming.wait()  # or what is put back now would come to us once more
            await _settle(message, settlement, queue, timeout_s=self._settings.connect_timeout_s)

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
        start: Callable[[DeliveredMessage], asyncio.Task[None]],
        prefetch: Callable[[], int],
        stop: asyncio.Event,
        unwanted: Callable[[], bool],
        careful: bool,
    ) -> None:
        if stop.is_set():
            self.pulse.rest()
            return
        settings = self._settings
        await topology.declare(connection, settings, self._more)
        source = await Source.open(connection, queue, self._news, timeout_s=settings.connect_timeout_s)
        self._not_consuming.clear()
        self.pulse.rest()
        log.info("broker.consuming", queue=queue, prefetch=prefetch())
        try:
            while not stop.is_set() and not source.end.done():
                if not prefetch():
                    await self._suspend(source, queue, lambda: stop.is_set() or prefetch() > 0)
                elif len(self._in_flight) >= prefetch():
                    await source.until(lambda: unwanted() or len(self._in_flight) < prefetch())
                elif message := await source.take(unless=unwanted):
                    await self._begin(message, source, start, unwanted, careful=careful)
        finally:
            self._not_consuming.set()
        # After a stop the channel stays open: what is in flight is settled over it.
        raise BrokerUnavailable(await source.end)

    async def _begin(
        self,
        message: DeliveredMessage,
        source: Source,
        start: Callable[[DeliveredMessage], asyncio.Task[None]],
        unwanted: Callable[[], bool],
        *,
        careful: bool,
    ) -> None:
        """Start work on a message; return when the next one may be taken."""
        suspect = not self._familiar(message) and bool(message.redelivered) and careful
        if suspect:
            log.info("broker.careful", message_id=message.header.properties.message_id)
            await source.until(lambda: unwanted() or not self._in_flight)
        if source.end.done():
            return  # RabbitMQ has taken it back
        task = start(message)
        if suspect:
            await source.until(lambda: unwanted() or task.done())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._news.set()

    def _familiar(self, message: DeliveredMessage) -> bool:
        """Whether it was delivered to this process before; from now on it was."""
        fingerprint = hash((len(message.body), message.body[-_FINGERPRINT_BYTES:]))
        familiar = fingerprint in self._seen
        self._seen[fingerprint] = None
        self._seen.move_to_end(fingerprint)
        if len(self._seen) > _SEEN_MESSAGES:
            self._seen.popitem(last=False)
        return familiar

    async def _suspend(self, source: Source, queue: str, over: Callable[[], bool]) -> None:
        """Take nothing, so that others do, until that is over."""
        self._not_consuming.set()
        while not over() and not source.end.done():
            log.warning("broker.suspended", queue=queue)
            again_s = time.monotonic() + _SUSPENDED_LOG_S
            await source.until(lambda: over() or time.monotonic() > again_s)  # noqa: B023
        if not source.end.done():
            self._not_consuming.clear()
            log.info("broker.consuming", queue=queue)


def _delivery(message: DeliveredMessage) -> Delivery:
    properties = message.header.properties
    headers = dict(properties.headers or {})
    redelivered = bool(message.redelivered)
    # RabbitMQ's count from the second delivery on; in a first one the sender can have put it.
    count = headers.pop("x-delivery-count", 1)
    count = count if redelivered else 0
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


async def _settle(message: DeliveredMessage, settlement: Settlement, queue: str, *, timeout_s: float) -> None:
    channel, tag = message.channel, message.delivery_tag or 0
    try:
        with topology.translated("cannot settle"):
            async with asyncio.timeout(timeout_s):
                await _tell(channel, tag, settlement)
    except BrokerUnavailable as error:
        # RabbitMQ took the message back when it lost the channel: someone else has it.
        log.info("delivery.taken_back", settlement=settlement, reason=str(error))
        metrics.DELIVERIES.labels(queue, _TAKEN_BACK).inc()
    else:
        metrics.DELIVERIES.labels(queue, settlement).inc()


async def _tell(channel: AbstractChannel, tag: int, settlement: Settlement) -> None:
    match settlement:
        case Settlement.ACK:
            await channel.basic_ack(tag)
        case Settlement.REQUEUE:
            await channel.basic_reject(tag, requeue=True)
        case Settlement.DEAD_LETTER:
            await channel.basic_reject(tag, requeue=False)
        case _ as unreachable:
            assert_never(unreachable)
