"""Both sides of the queues: the daemon's broker at work, and another program that publishes and reads."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from support.waiting import LIMIT_S, wait_until
from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.amqp.consumer import Broker, Handle
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.settings import BrokerSettings

SUBMISSIONS, RESULTS, DEAD = "verdictd.submissions", "verdictd.results", "verdictd.dead"


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
        async with asyncio.timeout(limit_s):
            while (message := await reader.get(fail=False)) is None:
                await asyncio.sleep(0.02)
        await message.ack()
        return message

    async def count(self, queue: str) -> int:
        """How many messages of a queue wait, those in somebody's hands not counted."""
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def until_waiting(self, queue: str, count: int) -> None:
        """Wait until so many messages of a queue wait: what was put back is counted when it is on disk."""
        async with asyncio.timeout(LIMIT_S):
            while await self.count(queue) != count:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def peer(url: str) -> AsyncIterator[Peer]:
    async with await aio_pika.connect(url, timeout=LIMIT_S) as connection:
        yield Peer(await connection.channel(on_return_raises=True))


def broker_settings(url: str, **changes: Any) -> BrokerSettings:
    """Settings that reconnect fast."""
    return BrokerSettings.model_validate({"url": url, "reconnect_max_s": 1} | changes)


def vhost(url: str) -> str:
    return urlsplit(url).path.removeprefix("/") or "/"


async def declare(url: str) -> None:
    """Make the queues of a daemon: for a test with short timeouts, as a slow disk needs long for new ones."""
    settings = broker_settings(url)
    async with connect(settings, "tests") as opened:
        await topology.declare(opened, settings)


@asynccontextmanager
async def connected(settings: BrokerSettings, *, reply_timeout_s: float = 60) -> AsyncIterator[Broker]:
    async with Broker.connect(settings, reply_timeout_s=reply_timeout_s) as broker:
        await wait_until(lambda: broker.connected)
        yield broker


@asynccontextmanager
async def consuming(
    broker: Broker, handle: Handle, *, prefetch: int = 10, drain_timeout_s: float = 10
) -> AsyncIterator[asyncio.Event]:
    """A broker that consumes, and what stops it; leaving does, and waits for its end."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        broker.consume(handle, prefetch=lambda: prefetch, stop=stop, drain_timeout_s=drain_timeout_s)
    )
    await wait_until(lambda: broker.consuming)
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, drain_timeout_s + LIMIT_S)


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
        connected(broker_settings(url, **changes)) as broker,
        peer(url) as sender,
        consuming(broker, record, prefetch=prefetch),
    ):
        yield sender, seen


async def accept(_: Delivery) -> Settlement:
    return Settlement.ACK


def make_delivery(**changes: Any) -> Delivery:
    """A delivery without properties but those given."""
    fields: dict[str, Any] = dict.fromkeys(Delivery.__dataclass_fields__)
    fields |= {"body": b"{}", "headers": {}, "redelivered": False, "attempt": 1}
    return Delivery(**fields | changes)
