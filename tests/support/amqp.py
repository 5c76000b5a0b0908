"""Both sides of the queues: the daemon's broker at work, and another program that publishes and reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from support.waiting import LIMIT_S, pause, wait_until
from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.amqp.consumer import Consumer, FixedCapacity, Handle
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.amqp.replies import ReplyRouter
from verdictd.settings import BrokerSettings

SUBMISSIONS, RESULTS, DEAD = "verdictd.submissions", "verdictd.results", "verdictd.dead"
UNANSWERED = "verdictd.unanswered"


class Peer:
    """Another program, with a connection of its own to one virtual host."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel

    async def publish(self, queue: str, body: bytes = b"{}", **properties: Any) -> None:
        """Publish with confirm; a queue that does not exist is an error."""
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties)
        await self.channel.default_exchange.publish(message, queue, timeout=LIMIT_S)

    async def publish_all(self, queue: str, bodies: Iterable[bytes], **properties: Any) -> None:
        """Publish in this order, and wait for all confirms together: a slow disk needs long for each."""
        await asyncio.gather(*(self.publish(queue, body, **properties) for body in bodies))

    async def take(self, queue: str, limit_s: float = LIMIT_S) -> AbstractIncomingMessage:
        """The next message of a queue, acknowledged; waits for it."""
        reader = await self.channel.get_queue(queue, ensure=False)
        began_s = time.monotonic()
        async with asyncio.timeout(limit_s):
            while (message := await reader.get(fail=False)) is None:
                await pause(began_s)
        await message.ack()
        return message

    async def count(self, queue: str) -> int:
        """How many messages of a queue wait, those in somebody's hands not counted."""
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def until_consumed(self, queue: str) -> None:
        """Wait until a consumer is registered."""
        began_s = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            while not (
                await self.channel.declare_queue(queue, passive=True)
            ).declaration_result.consumer_count:
                await pause(began_s)

    async def until_waiting(self, queue: str, count: int) -> None:
        """Wait until so many messages of a queue wait: what was put back is counted when it is on disk."""
        began_s = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            while await self.count(queue) != count:
                await pause(began_s)


@asynccontextmanager
async def peer(url: str) -> AsyncIterator[Peer]:
    async with await aio_pika.connect(url, timeout=LIMIT_S) as connection:
        yield Peer(await connection.channel(on_return_raises=True))


def broker_settings(url: str, **changes: Any) -> BrokerSettings:
    """Settings that reconnect fast."""
    return BrokerSettings.model_validate({"url": url, "reconnect_max_s": 1} | changes)


async def declare(url: str) -> None:
    """Make the queues of a daemon: for a test with short timeouts, as a slow disk needs long for new ones."""
    await connect_once(broker_settings(url))


async def connect_once(settings: BrokerSettings) -> None:
    """Connect and declare the queues; raises BrokerUnavailable at once."""
    async with connect(settings, "tests") as opened:
        await topology.declare(opened, settings, topology.queues(settings))


class DaemonSide:
    """The daemon's side of the queues: a publisher, its replies, and a consumer while one runs."""

    def __init__(self, consuming: ReconnectingConnection, publisher: Publisher, replies: ReplyRouter) -> None:
        self.connection = consuming
        self.publisher = publisher
        self.reply = replies.reply
        self.consumer = self.consumer_of(10)

    def consumer_of(self, prefetch: int, reserve: int = 0) -> Consumer:
        """A consumer of submissions, with so many in flight at most."""
        weights = {queue.name: queue.weight for queue in self.connection.settings.submission_queues}
        self.consumer = Consumer(self.connection, weights, capacity=FixedCapacity(prefetch, reserve))
        return self.consumer

    def unanswered(self) -> Consumer:
        """A consumer of dead letters on their way."""
        weights = {queue.unanswered: 1 for queue in self.connection.settings.submission_queues}
        return Consumer(self.connection, weights, capacity=FixedCapacity(2), isolate_suspects=False)

    @property
    def connected(self) -> bool:
        return self.connection.connected and self.publisher.connected

    @property
    def consuming(self) -> bool:
        return self.consumer.consuming


@asynccontextmanager
async def connected(settings: BrokerSettings, *, reply_timeout_s: float = 60) -> AsyncIterator[DaemonSide]:
    queues = topology.queues(settings)
    async with (
        ReconnectingConnection.keep(settings, "verdictd consume", queues) as consuming,
        Publisher.keep(settings, queues, limit_s=reply_timeout_s) as publisher,
    ):
        side = DaemonSide(consuming, publisher, ReplyRouter(publisher, settings))
        await wait_until(lambda: side.connected)
        yield side


@asynccontextmanager
async def consuming(
    side: DaemonSide,
    handle: Handle,
    *,
    prefetch: int = 10,
    reserve: int = 0,
    drain_timeout_s: float = 10,
) -> AsyncIterator[asyncio.Event]:
    """Consume until the block ends, or the event is set that it gets; leaving waits for what is in flight."""
    stop = asyncio.Event()
    consumer, unanswered = side.consumer_of(prefetch, reserve), side.unanswered()
    tasks = [
        asyncio.create_task(consumer.run(handle, stop=stop, drain_timeout_s=drain_timeout_s)),
        asyncio.create_task(unanswered.run(move_on, stop=stop, drain_timeout_s=LIMIT_S)),
    ]
    await wait_until(lambda: consumer.consuming and unanswered.consuming)
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), drain_timeout_s + LIMIT_S)


async def move_on(_: Delivery) -> Settlement:
    """Take a dead letter as one that has been answered."""
    return Settlement.DEAD_LETTER


@asynccontextmanager
async def handled(
    url: str, handle: Handle, *, prefetch: int = 10, **changes: Any
) -> AsyncIterator[tuple[Peer, list[Delivery]]]:
    """A sender, and the deliveries that came to `handle`."""
    seen: list[Delivery] = []

    async def record(delivery: Delivery) -> Settlement:
        seen.append(delivery)
        return await handle(delivery)

    async with (
        connected(broker_settings(url, **changes)) as side,
        peer(url) as sender,
        consuming(side, record, prefetch=prefetch),
    ):
        yield sender, seen


async def accept(_: Delivery) -> Settlement:
    return Settlement.ACK


def make_delivery(**changes: Any) -> Delivery:
    """A delivery without properties but those given."""
    fields: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__)
    fields |= {"queue": SUBMISSIONS, "body": b"{}", "headers": {}, "redelivered": False, "attempt": 1}
    fields["on_settled"] = []
    return Delivery(**fields | changes)
