"""Control channel: what is said to all daemons, also to those that are started later."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn, Self, cast

import aiormq
import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp import common

from verdictd import metrics
from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, connect, end_of
from verdictd.amqp.control_queue import (
    ControlQueue,
    closes_connection,
    declare_control,
    declare_own,
    is_refusal,
)
from verdictd.amqp.publisher import Message, Publisher, json_message, publish_once
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.concurrency import background, finish
from verdictd.contract.control import (
    CONTROL_TYPE,
    ControlMessage,
    InvalidControl,
    decode_control,
    encode_control,
)
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

_PREFETCH = 1_000
_ACKNOWLEDGED_AT_ONCE = 100
# A message costs 0.15 ms of a processor: enough for two hundred thousand.
_CATCH_UP_S = 30
_MARGIN_S = 60
_TRY_S = 0.2
_COMPLAINS_EVERY_S = 60  # of invalid messages: the metric counts all of them

Hear = Callable[[ControlMessage], None]
"""Takes in a message; it may be one that was heard before."""

log = structlog.get_logger()


def control_message(message: ControlMessage) -> Message:
    """Return the message as it is published to the exchange."""
    return json_message(encode_control(message), type=CONTROL_TYPE)


async def tell_all(settings: BrokerSettings, messages: Iterable[ControlMessage]) -> None:
    """Connect, and publish to all daemons until confirmed; raises BrokerUnavailable with the reason."""
    exchange = settings.control_queue
    async with connect(settings, "verdictd control") as connection:
        with amqp_errors("cannot open a channel"):
            async with asyncio.timeout(settings.connect_timeout_s):
                opened = await connection.channel(publisher_confirms=True, on_return_raises=True)
                channel = cast(aiormq.Channel, await opened.get_underlay_channel())
        for message in messages:

            async def make(message: ControlMessage = message) -> Message:
                return control_message(message)

            timeout_s = settings.publish_timeout_s
            if await publish_once(channel, "", make, timeout_s=timeout_s, exchange=exchange) is not None:
                raise BrokerUnavailable(f"no daemon reads from the exchange {exchange!r} now")


class ControlChannel:
    """Reads what is said to all daemons over a connection that is kept, and says something to them.

    Messages go to a fan-out exchange, and from there to a stream, of which each daemon reads all that is not
    older than its age. Where RabbitMQ has no streams, each has a queue for as long as it is connected.

    State: if it reads; if judging may begin; if it has read all that was there when it was connected; until
    when it did; the last reason why it did not; the reason for which RabbitMQ closed the connection when it
    was asked for a stream; when it has complained of an invalid message.
    """

    def __init__(self, consuming: ReconnectingConnection, publisher: Publisher, *, hear: Hear) -> None:
        self._settings = consuming.settings
        self.name = self._settings.control_queue
        self._connection = consuming
        self._publisher = publisher
        self._hear = hear
        self._liveness = consuming.liveness()
        self._failure = ""
        self._no_stream = ""
        self._declaring = False
        self._refused = ""
        self._reading = False
        self._mark = ""
        self._channel: AbstractChannel | None = None
        self._complete = False
        self._caught_up = asyncio.Event()
        self._read_until_s: float | None = None
        self._complained_s = -math.inf

    @classmethod
    @asynccontextmanager
    async def open(
        cls, consuming: ReconnectingConnection, publishing: ReconnectingConnection, *, hear: Hear
    ) -> AsyncIterator[Self]:
        """Read over one connection, over each anew, and publish over the other, until the block ends."""
        async with Publisher.over(publishing) as publisher:
            control = cls(consuming, publisher, hear=hear)
            reading = consuming.use(control._read, liveness=control._liveness, on_failure=control._failed)
            async with background(reading):
                yield control

    @property
    def queues(self) -> tuple[str, ...]:
        """The queue that it reads, as a consumer has them."""
        return (self.name,)

    @property
    def consuming(self) -> bool:
        """True while RabbitMQ delivers to us."""
        return self._reading

    @property
    def overdue(self) -> bool:
        """True if it neither reads nor tries to."""
        return self._liveness.overdue

    async def caught_up(self) -> None:
        """Wait until all is known that was said before we were connected, for half a minute at most."""
        await self._caught_up.wait()

    async def tell(self, message: ControlMessage) -> None:
        """Publish to all daemons; raises BrokerUnavailable, after which it may be published or not."""
        if not self._reading:
            raise BrokerUnavailable(self._failure or "not connected to RabbitMQ")
        await self._publisher.publish_now("", control_message(message), exchange=self.name)

    async def _read(self, connection: AbstractConnection) -> NoReturn:
        self._caught_up.clear()
        self._complete = False
        self._declaring = True
        refused, self._refused = self._refused, ""  # another RabbitMQ may allow it, after the next connection
        queue = await declare_control(connection, self._settings, no_stream=refused)
        self._declaring = False
        try:
            channel = await self._consume(connection, queue)
        except BrokerUnavailable as error:  # it is not a stream, or this node has no replica of it
            if queue.no_stream or not is_refusal(error):
                raise
            queue = await declare_own(connection, self._settings, str(error))
            channel = await self._consume(connection, queue)
        self._report(queue)
        self._liveness.rest()
        self._failure = ""
        self._reading = True
        try:
            async with background(self._catch_up(queue)):
                raise BrokerUnavailable(await end_of(channel))
        finally:
            self._reading = False
            if self._complete:
                self._read_until_s = time.monotonic()
            self._channel = None
            await finish(_close(channel))

    async def _consume(self, connection: AbstractConnection, queue: ControlQueue) -> AbstractChannel:
        """Begin to read; return the channel."""
        since: common.FieldTable = {} if queue.no_stream else {"x-stream-offset": self._since()}
        with amqp_errors("cannot read control messages"):
            async with asyncio.timeout(self._settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                await channel.set_qos(prefetch_count=_PREFETCH)
                underlay = self._channel = await channel.get_underlay_channel()
                await underlay.basic_consume(queue.name, self._receive, arguments=since)
                return underlay

    def _report(self, queue: ControlQueue) -> None:
        """Log that there is no stream, once for each reason."""
        if queue.no_stream and queue.no_stream != self._no_stream:
            effect = "daemons that start later do not know what was said before"
            log.warning("control.no_stream", reason=queue.no_stream, effect=effect)
        self._no_stream = queue.no_stream
        if queue.no_stream:
            self._read_until_s = None

    def _since(self) -> str:
        """Return how far back to read: by RabbitMQ's clock, in its notation."""
        since_s: float = self._settings.control_age_s
        if self._read_until_s is not None:
            # A connection that stalls is left after two heartbeats.
            unheard_s = time.monotonic() - self._read_until_s + 4 * self._settings.heartbeat_s + _MARGIN_S
            since_s = min(since_s, unheard_s)
        return f"{max(1, math.ceil(since_s))}s"

    async def _catch_up(self, queue: ControlQueue) -> None:
        """Wait for a message of our own: all before it is read then. Judging waits for that, but not long."""
        if not queue.no_stream:
            self._mark = str(uuid.uuid4())
            try:
                async with asyncio.timeout(_CATCH_UP_S):
                    await self._publish_mark()
                    await self._caught_up.wait()
            except (TimeoutError, BrokerUnavailable) as error:
                effect = "submissions are judged that may have been cancelled"
                log.warning("control.behind", reason=str(error) or "it takes too long", effect=effect)
        self._caught_up.set()

    async def _publish_mark(self) -> None:
        """Publish until confirmed; raises BrokerUnavailable if that is not allowed."""
        while True:
            try:
                return await self.tell(ControlMessage(mark=self._mark))
            except BrokerUnavailable as error:
                if is_refusal(error):
                    raise
                await asyncio.sleep(_TRY_S)  # the other connection comes up by itself

    async def _receive(self, message: DeliveredMessage) -> None:
        """Hear a message, whatever it is, and acknowledge some at once: otherwise RabbitMQ sends no more."""
        try:
            self._take(decode_control(message.body))
        except InvalidControl as error:
            metrics.CONTROL_MESSAGES.labels(metrics.ControlKind.INVALID).inc()
            if time.monotonic() - self._complained_s > _COMPLAINS_EVERY_S:
                self._complained_s = time.monotonic()
                log.warning("control.invalid", reason=str(error))
        tag = message.delivery_tag or 0
        # What is sent over a channel after its end closes the connection.
        if tag % _ACKNOWLEDGED_AT_ONCE == 0 and message.channel is self._channel:
            with suppress(BrokerUnavailable), amqp_errors("cannot acknowledge"):
                await message.channel.basic_ack(tag, multiple=True)

    def _take(self, message: ControlMessage) -> None:
        if message.mark is not None:
            if message.mark == self._mark:
                self._complete = True
                self._caught_up.set()
            return
        kind = metrics.ControlKind.SUPERSEDE if message.cancel is None else metrics.ControlKind.CANCEL
        metrics.CONTROL_MESSAGES.labels(kind).inc()
        self._hear(message)

    def _failed(self, reason: str) -> None:
        self._failure = reason
        self._caught_up.set()
        if self._declaring and closes_connection(reason):
            self._refused = reason


async def _close(channel: AbstractChannel) -> None:
    with suppress(BrokerUnavailable), amqp_errors("cannot close a channel"):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await channel.close()
