"""Events of submissions, received by those who follow them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, end_of
from verdictd.concurrency import background
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

_FOLLOWED = 1_000  # events that wait for a slow follower
_UNSETTLED = 64  # of these, those that are on their way to it


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as it came; its body is not checked."""

    kind: str
    body: bytes
    correlation_id: str | None


class Followed:
    """Events of submissions that somebody watches, made by `follow`. State: those that have come."""

    def __init__(self, end: "asyncio.Future[str]") -> None:
        self._end = end
        self._received: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        end.add_done_callback(lambda _: self.stop())

    async def receive(self, message: AbstractIncomingMessage) -> None:
        """Take a message of RabbitMQ."""
        self._received.put_nowait(message)

    def stop(self) -> None:
        """Let no more events come."""
        self._received.put_nowait(None)

    async def next(self, timeout_s: float | None = None) -> ReceivedEvent | None:
        """Return the next event, or None if none comes in time; raises BrokerUnavailable at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._received.get()
        except TimeoutError:
            return None
        if message is None:
            raise BrokerUnavailable(self._end.result() if self._end.done() else "no more events are followed")
        with amqp_errors("cannot acknowledge an event"):
            await message.ack()
        kind = (message.routing_key or "").rpartition(".")[2]
        return ReceivedEvent(kind, message.body, message.correlation_id)


def binding_of(submission_id: str) -> str:
    """Return the key that binds a queue to the events of one submission, and of no other."""
    return f"{submission_id}.*"


@asynccontextmanager
async def follow(
    connection: AbstractConnection, settings: BrokerSettings, ids: Iterable[str], *, queue: str
) -> AsyncIterator[Followed]:
    """Follow submissions until the block ends: from its beginning on, no event is missed.

    The queue is exclusive and bounded: it drops the oldest events of a follower that is slow, and ends with
    it. The exchange must exist. Raises BrokerUnavailable.
    """
    with amqp_errors("events cannot be followed"):
        async with asyncio.timeout(settings.connect_timeout_s):
            channel = await connection.channel(publisher_confirms=False)
    try:
        with amqp_errors("events cannot be followed"):
            async with asyncio.timeout(settings.connect_timeout_s):
                followed = Followed(end_of(await channel.get_underlay_channel()))
                await channel.set_qos(prefetch_count=_UNSETTLED)
                declared = await channel.declare_queue(
                    queue, exclusive=True, auto_delete=True, arguments={"x-max-length": _FOLLOWED}
                )
                for submission_id in ids:
                    await declared.bind(settings.events_exchange, binding_of(submission_id))
                await declared.consume(followed.receive)
        yield followed
    finally:
        with suppress(BrokerUnavailable), amqp_errors("cannot close a channel"):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await channel.close()


@dataclass(frozen=True, slots=True)
class Watch:
    """Submissions whose events are wanted: `tell` gets the key of one, and its event as JSON."""

    ids: Collection[str]
    tell: Callable[[str, bytes], None]


@asynccontextmanager
async def watching(
    connection: AbstractConnection, settings: BrokerSettings, watch: Watch | None
) -> AsyncIterator[None]:
    """Tell of events as long as the block lasts, if that is wanted and possible."""
    async with AsyncExitStack() as stack:
        if watch is not None:
            with suppress(BrokerUnavailable):  # no exchange, or no right to it
                queue = f"verdictd.reply.events.{uuid.uuid4()}"
                followed = await stack.enter_async_context(
                    follow(connection, settings, watch.ids, queue=queue)
                )
                await stack.enter_async_context(background(_tell_all(followed, watch)))
        yield


async def _tell_all(followed: Followed, watch: Watch) -> None:
    with suppress(BrokerUnavailable):
        while (event := await followed.next()) is not None:
            watch.tell(event.correlation_id or "", event.body)
