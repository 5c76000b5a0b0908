"""The other end of the queue: publish submissions and wait for what is replied."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import PublishError

from verdictd.amqp.connection import amqp_errors, connect, end_of
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings


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
    replies: asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable] = asyncio.Queue()
    async with connect(settings, "verdictd submit") as connection:
        with amqp_errors("cannot open a reply queue"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                end = end_of(await channel.get_underlay_channel())
                reply_to = f"verdictd.reply.{uuid.uuid4()}"
                queue = await channel.declare_queue(reply_to, exclusive=True, auto_delete=True)
                await queue.consume(replies.put, no_ack=True)
        end.add_done_callback(
            lambda ended: replies.put_nowait(BrokerUnavailable(f"no replies any more: {ended.result()}"))
        )
        publishing = asyncio.create_task(
            _publish(channel, settings, keyed, replies, reply_to=reply_to, priority=priority)
        )
        try:
            missing = set(keyed)
            while missing:
                reply = await _next(replies, deadline_s, missing)
                key = reply.correlation_id
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
    replies: asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable],
    *,
    reply_to: str,
    priority: int | None,
) -> None:
    """Publish all, each with confirm; what prevents it goes to who waits for the replies."""
    queue = settings.submissions_queue
    for key, body in keyed.items():
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=key,
            reply_to=reply_to,
            message_id=str(uuid.uuid4()),
            timestamp=datetime.now(UTC),
            type=SUBMISSION_TYPE,
        )
        message.priority = priority  # given to the constructor, None would be published as 0
        try:
            with amqp_errors(f"cannot publish to {queue!r}"):
                await channel.default_exchange.publish(
                    message, queue, mandatory=True, timeout=settings.publish_timeout_s
                )
        except BrokerUnavailable as error:
            unroutable = isinstance(error.__cause__, PublishError)
            missing = BrokerUnavailable(f"queue {queue!r} does not exist: did the daemon ever run?")
            replies.put_nowait(missing if unroutable else error)
            return


async def _next(
    replies: asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable], deadline_s: float, missing: set[str]
) -> AbstractIncomingMessage:
    try:
        async with asyncio.timeout(deadline_s - time.monotonic()):
            reply = await replies.get()
    except TimeoutError:
        raise TimeoutError(f"{len(missing)} replies have not come") from None
    if isinstance(reply, BrokerUnavailable):
        raise reply
    return reply
