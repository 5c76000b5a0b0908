"""Requests: publish a submission, and wait for its result."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn, Self, cast

import aiormq
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from verdictd.amqp.connection import amqp_errors, connect, end_of
from verdictd.amqp.delivery import TIMESTAMP_IN_MS
from verdictd.amqp.following import Followed, Watch, follow, watching
from verdictd.amqp.publisher import Message, Publisher, json_message, publish_once
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.concurrency import KeyedLock, background
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.errors import BrokerUnavailable
from verdictd.settings import HTTP_REPLIES, BrokerSettings

_LENGTH_KEPT_S = 1
_REPLY_QUEUE_EXPIRES_S = 60


@dataclass(frozen=True, slots=True)
class Expected:
    """A result that somebody waits for: its correlation id, and the result as JSON once it has come."""

    key: str
    result: "asyncio.Future[bytes]"


class Requests:
    """Publishes submissions for HTTP, and holds a queue for the results that somebody waits for.

    A result that nobody waits for any more goes from there to the results queue, and so do those that come
    while we are away: the queue keeps nothing (a TTL of 0) that it cannot deliver at once.

    State: the consuming connection while the reply queue is open; who waits, by correlation id; who follows
    events; the lengths of the queues of submissions, and when they were looked up.
    """

    def __init__(self, consuming: ReconnectingConnection, publisher: Publisher) -> None:
        self._consuming = consuming
        self._publisher = publisher
        self._settings = consuming.settings
        self._queues = [queue.name for queue in consuming.settings.submission_queues]
        self._reply_to = f"{HTTP_REPLIES}{uuid.uuid4()}"
        self._failure = ""
        self._opened: AbstractConnection | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._followed: set[Followed] = set()
        self._publishing: KeyedLock = KeyedLock()
        self._looking = asyncio.Lock()
        self._lengths: Counter[str] = Counter()
        self._looked_s = float("-inf")

    @classmethod
    @asynccontextmanager
    async def open(cls, consuming: ReconnectingConnection, publisher: Publisher) -> AsyncIterator[Self]:
        """Hold the reply queue, over each connection anew, until the block ends."""
        requests = cls(consuming, publisher)
        work = consuming.use(
            requests._receive_all, liveness=consuming.liveness(), on_failure=requests._failed
        )
        async with background(work):
            try:
                yield requests
            finally:
                requests.stop_waiting()

    @property
    def connected(self) -> bool:
        """True while a submission can be published and its result received."""
        return self._opened is not None and self._publisher.connected

    @property
    def failure(self) -> str:
        """Reason why it is not connected, as far as it is known."""
        return self._publisher.failure or self._consuming.failure or self._failure

    def expect(self) -> Expected:
        """Wait for the result of what is published next; cancel it when the result is not wanted any more.

        The results queue gets a result that comes after that.
        """
        expected = Expected(str(uuid.uuid4()), asyncio.get_running_loop().create_future())
        self._waiting[expected.key] = expected.result
        expected.result.add_done_callback(lambda _: self._waiting.pop(expected.key))
        return expected

    async def publish(
        self,
        body: bytes,
        submission_id: str,
        expected: Expected | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish to the first queue until confirmed.

        Raises BrokerUnavailable, after which it may be published or not.
        """
        self._now_open()
        message = json_message(
            body,
            type=SUBMISSION_TYPE,
            correlation_id=expected.key if expected else submission_id,
            reply_to=self._reply_to if expected else None,
            message_id=submission_id,
            headers={**(headers or {}), **_timestamp()},
        )
        try:
            async with (
                asyncio.timeout(self._settings.publish_timeout_s),
                self._publishing.hold(submission_id),
            ):
                await self._publisher.publish_now(self._queues[0], message)
        except TimeoutError as error:
            raise BrokerUnavailable("cannot publish: no answer in time") from error
        self._lengths[self._queues[0]] += 1

    def stop_waiting(self) -> None:
        """Tell all who wait that they need not."""
        for result in self._waiting.values():
            result.cancel()
        for followed in self._followed:
            followed.stop()

    @asynccontextmanager
    async def follow(self, submission_id: str) -> AsyncIterator[Followed]:
        """Follow the events of a submission until the block ends; raises BrokerUnavailable."""
        queue = f"{HTTP_REPLIES}events.{uuid.uuid4()}"
        async with follow(self._now_open(), self._settings, [submission_id], queue=queue) as followed:
            self._followed.add(followed)
            try:
                yield followed
            finally:
                self._followed.discard(followed)

    async def queue_length(self) -> int:
        """Return the number of submissions in the first queue, as `queue_lengths` does."""
        return (await self.queue_lengths())[self._queues[0]]

    async def queue_lengths(self) -> Mapping[str, int]:
        """Return the number of submissions in each queue, a second old at most; raises BrokerUnavailable."""
        async with self._looking:
            connection = self._now_open()
            if time.monotonic() - self._looked_s > _LENGTH_KEPT_S:
                with amqp_errors("cannot look at the queues of submissions"):
                    # A channel for one look: an operation that fails or times out closes its channel.
                    async with (
                        asyncio.timeout(self._settings.connect_timeout_s),
                        connection.channel() as channel,
                    ):
                        found = [await channel.declare_queue(name, passive=True) for name in self._queues]
                counts = (queue.declaration_result.message_count or 0 for queue in found)
                self._lengths = Counter(dict(zip(self._queues, counts, strict=True)))
                self._looked_s = time.monotonic()
            return self._lengths

    def _now_open(self) -> AbstractConnection:
        if self._opened is None:
            raise BrokerUnavailable("not connected to RabbitMQ")
        return self._opened

    async def _receive_all(self, connection: AbstractConnection) -> NoReturn:
        settings = self._settings
        with amqp_errors("cannot open a reply queue"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                end = end_of(await channel.get_underlay_channel())
                queue = await channel.declare_queue(
                    self._reply_to,
                    durable=True,
                    arguments={
                        "x-expires": _REPLY_QUEUE_EXPIRES_S * 1000,
                        "x-message-ttl": 0,
                        "x-dead-letter-exchange": "",
                        "x-dead-letter-routing-key": settings.results_queue,
                    },
                )
                await queue.consume(self._receive, exclusive=True)
        self._opened = connection
        try:
            raise BrokerUnavailable(await end)
        finally:
            self._opened = None

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        with suppress(BrokerUnavailable), amqp_errors("cannot settle"):
            if waiting is None or waiting.done():
                await message.reject()  # on to the results queue
            else:
                waiting.set_result(message.body)
                await message.ack()

    def _failed(self, reason: str) -> None:
        self._failure = reason


def _timestamp() -> dict[str, int]:
    """Return the header with the time of publication; the property has whole seconds."""
    return {TIMESTAMP_IN_MS: time.time_ns() // 1_000_000}


async def submit_all(
    settings: BrokerSettings,
    bodies: Iterable[tuple[str | None, bytes]],
    *,
    timeout_s: float,
    priority: int | None = None,
    queue: str | None = None,
    watch: Watch | None = None,
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Publish each body, and yield each reply as it comes, with the key that its body was given with.

    Without a `queue` the first one of the settings gets them, and a body without a key gets a new one. There
    are no events where they cannot be followed. Raises TimeoutError when replies are missing after
    `timeout_s`, and BrokerUnavailable when the queue does not exist or the connection is lost.
    """
    keyed = {key or str(uuid.uuid4()): body for key, body in bodies}
    deadline_s = time.monotonic() + timeout_s
    replies: asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable] = asyncio.Queue()
    async with connect(settings, "verdictd submit") as connection:
        with amqp_errors("cannot open a reply queue"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                underlay = cast(aiormq.Channel, await channel.get_underlay_channel())
                end = end_of(underlay)
                reply_to = f"verdictd.reply.{uuid.uuid4()}"
                reply_queue = await channel.declare_queue(reply_to, exclusive=True, auto_delete=True)
                await reply_queue.consume(replies.put, no_ack=True)
        end.add_done_callback(
            lambda ended: replies.put_nowait(BrokerUnavailable(f"no replies any more: {ended.result()}"))
        )
        publishing = _publish_all(
            underlay,
            settings,
            keyed,
            replies,
            queue=queue or settings.submission_queues[0].name,
            reply_to=reply_to,
            priority=priority,
        )
        async with watching(connection, settings, watch), background(publishing):
            missing = set(keyed)
            while missing:
                reply = await _next(replies, deadline_s, missing)
                key = reply.correlation_id
                if key in missing:  # a submission may be answered twice
                    missing.remove(key)
                    yield key, reply.body


async def _publish_all(
    channel: aiormq.Channel,
    settings: BrokerSettings,
    keyed: dict[str, bytes],
    replies: asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable],
    *,
    queue: str,
    reply_to: str,
    priority: int | None,
) -> None:
    """Publish all, each with confirm; what prevents it goes to who waits for the replies."""
    for key, body in keyed.items():

        async def make(key: str = key, body: bytes = body) -> Message:
            return json_message(
                body,
                type=SUBMISSION_TYPE,
                correlation_id=key,
                reply_to=reply_to,
                priority=priority,
                headers=_timestamp(),
            )

        try:
            problem = await publish_once(channel, queue, make, timeout_s=settings.publish_timeout_s)
        except BrokerUnavailable as error:
            replies.put_nowait(error)
            return
        if problem is not None:
            missing = f"queue {queue!r} does not exist: did the daemon ever run?"
            replies.put_nowait(BrokerUnavailable(missing))
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
