"""HTTP's way to the queue: publish a submission with confirm, and wait for its result."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, Self
from weakref import WeakValueDictionary

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import PublishError

from verdictd.amqp import topology
from verdictd.amqp.connection import amqp_errors, end_of, reconnecting
from verdictd.concurrency import background
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.errors import BrokerUnavailable
from verdictd.settings import HTTP_REPLIES, BrokerSettings

_LENGTH_KEPT_S = 1
_AT_ONCE_S = 0.1
_REPLY_QUEUE_EXPIRES_S = 60


@dataclass(frozen=True, slots=True)
class Expected:
    """A result that somebody waits for: its correlation id, and the result as JSON once it has come."""

    key: str
    result: asyncio.Future[bytes]


class Submitter:
    """Publishes over a connection of its own, and holds a queue for the results that somebody waits for.

    A result that nobody waits for any more goes from there to the results queue, and so do those that come
    while we are away: the queue keeps nothing (a TTL of 0) that it cannot deliver at once.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._reply_to = f"{HTTP_REPLIES}{uuid.uuid4()}"
        self.failure = ""
        """Why nothing can be published, as far as that is known."""
        # State: the connection and its channel while they are open; who waits, by correlation id; the ids
        # that are being published; the length of the submissions queue, and when it was looked up.
        self._opened: tuple[AbstractConnection, AbstractChannel] | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._publishing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._looking = asyncio.Lock()
        self._length = 0
        self._looked_s = float("-inf")

    @property
    def connected(self) -> bool:
        """Whether a submission can be published now."""
        return self._opened is not None

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: BrokerSettings) -> AsyncIterator[Self]:
        """A submitter that connects as soon as it can, and again whenever it has to."""
        submitter = cls(settings)
        keeping = reconnecting(settings, "verdictd http", submitter._use, on_lost=submitter._lost)
        async with background(keeping):
            try:
                yield submitter
            finally:
                submitter.stop_waiting()

    def expect(self) -> Expected:
        """Wait for the result of what is published next; to be cancelled when it is not wanted any more.

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
        """Publish until it is confirmed; raises BrokerUnavailable, after which it may be published or not."""
        _, channel = self._now_open()
        queue = self._settings.submissions_queue
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=expected.key if expected else submission_id,
            reply_to=self._reply_to if expected else None,
            message_id=submission_id,
            timestamp=datetime.now(UTC),
            type=SUBMISSION_TYPE,
            headers=dict(headers or {}),
        )
        # Two messages of an id in flight at once confuse returns and confirms.
        alone = self._publishing.setdefault(submission_id, asyncio.Lock())
        with amqp_errors(f"cannot publish to {queue!r}"):
            async with asyncio.timeout(self._settings.publish_timeout_s), alone:
                # While the broker blocks us, tries would only pile up copies; aio-pika itself cannot tell.
                await (await channel.get_underlay_channel()).connection.ready()
                try:
                    await channel.default_exchange.publish(message, queue, mandatory=True)
                except PublishError as error:
                    raise BrokerUnavailable(f"queue {queue!r} does not exist") from error
        self._length += 1

    def stop_waiting(self) -> None:
        """Tell all who wait that they need not."""
        for result in self._waiting.values():
            result.cancel()

    async def queue_length(self) -> int:
        """How many submissions wait in the queue, to a second; raises BrokerUnavailable."""
        async with self._looking:
            connection, channel = self._now_open()
            if time.monotonic() - self._looked_s > _LENGTH_KEPT_S:
                with amqp_errors("cannot look at the submissions queue"):
                    async with asyncio.timeout(_AT_ONCE_S):  # while it blocks us, it reads no question either
                        await (await channel.get_underlay_channel()).connection.ready()
                    # A channel for one operation: one that fails or times out closes its channel.
                    async with (
                        asyncio.timeout(self._settings.connect_timeout_s),
                        connection.channel() as channel,
                    ):
                        queue = await channel.declare_queue(self._settings.submissions_queue, passive=True)
                self._length = queue.declaration_result.message_count or 0
                self._looked_s = time.monotonic()
            return self._length

    def _now_open(self) -> tuple[AbstractConnection, AbstractChannel]:
        if self._opened is None:
            raise BrokerUnavailable("not connected to RabbitMQ")
        return self._opened

    async def _use(self, connection: AbstractConnection) -> NoReturn:
        settings = self._settings
        await topology.declare(connection, settings)
        with amqp_errors("cannot open a reply queue"):
            async with asyncio.timeout(settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
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
        self._opened = (connection, channel)
        self.failure = ""
        try:
            raise BrokerUnavailable(await end)
        finally:
            self._opened = None

    def _lost(self, reason: str) -> None:
        self.failure = reason

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        with suppress(BrokerUnavailable), amqp_errors("cannot settle"):
            if waiting is None or waiting.done():
                await message.reject()  # on to the results queue
            else:
                waiting.set_result(message.body)
                await message.ack()
