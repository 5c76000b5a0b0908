"""The other end of the queue: publish submissions and wait for what is replied."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from verdictd import topology
from verdictd.errors import BrokerUnavailable
from verdictd.messages import SUBMISSION_TYPE
from verdictd.settings import BrokerSettings

_PERSISTENT = 2


async def submit(
    settings: BrokerSettings,
    bodies: Iterable[tuple[str | None, bytes]],
    *,
    timeout_s: float,
    priority: int | None = None,
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Publish each body, and yield each reply as it comes, with the key that its body was given with.

    A body without a key gets a new one. Raises TimeoutError when replies are missing after `timeout_s`, and
    BrokerUnavailable when the submissions queue does not exist or the connection is lost.
    """
    keyed = {key or str(uuid.uuid4()): body for key, body in bodies}
    deadline_s = time.monotonic() + timeout_s
    replies: asyncio.Queue[DeliveredMessage | BrokerUnavailable] = asyncio.Queue()
    async with topology.connection(settings, "verdictd submit") as connection:
        with topology.translated("cannot open a reply queue"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(on_return_raises=True)
                reply_to = f"verdictd.reply.{uuid.uuid4()}"
                await channel.queue_declare(reply_to, exclusive=True, auto_delete=True)
                await channel.basic_consume(reply_to, replies.put, no_ack=True)
        topology.end_of(channel).add_done_callback(
            lambda end: replies.put_nowait(BrokerUnavailable(f"no replies any more: {end.result()}"))
        )
        publishing = asyncio.create_task(
            _publish(channel, settings, keyed, replies, reply_to=reply_to, priority=priority)
        )
        try:
            missing = set(keyed)
            while missing:
                reply = await _next(replies, deadline_s, missing)
                key = reply.header.properties.correlation_id
                if key in missing:  # a submission may be answered twice
                    missing.remove(key)
                    yield key, reply.body
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])


async def _publish(
    channel: AbstractChannel,
    settings: BrokerSettings,
    keyed: dict[str, bytes],
    replies: asyncio.Queue[DeliveredMessage | BrokerUnavailable],
    *,
    reply_to: str,
    priority: int | None,
) -> None:
    """Publish all, each with confirm; what prevents it goes to who waits for the replies."""
    queue = settings.submissions_queue
    for key, body in keyed.items():
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            priority=priority,
            correlation_id=key,
            reply_to=reply_to,
            message_id=str(uuid.uuid4()),
            timestamp=datetime.now(UTC),
            message_type=SUBMISSION_TYPE,
        )
        try:
            with topology.translated(f"cannot publish to {queue!r}"):
                async with asyncio.timeout(settings.publish_timeout_s):
                    await channel.basic_publish(
                        body, routing_key=queue, properties=properties, mandatory=True
                    )
        except BrokerUnavailable as error:
            unroutable = isinstance(error.__cause__, aiormq.PublishError)
            missing = BrokerUnavailable(f"queue {queue!r} does not exist: did the daemon ever run?")
            replies.put_nowait(missing if unroutable else error)
            return


async def _next(
    replies: asyncio.Queue[DeliveredMessage | BrokerUnavailable], deadline_s: float, missing: set[str]
) -> DeliveredMessage:
    try:
        async with asyncio.timeout(deadline_s - time.monotonic()):
            reply = await replies.get()
    except TimeoutError:
        raise TimeoutError(f"{len(missing)} replies have not come") from None
    if isinstance(reply, BrokerUnavailable):
        raise reply
    return reply
