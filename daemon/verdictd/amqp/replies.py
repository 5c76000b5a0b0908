"""Replies: where they may go, and published until RabbitMQ has them."""

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError, PublishError

from verdictd.amqp import topology
from verdictd.amqp.connection import amqp_errors, end_of, reconnecting
from verdictd.concurrency import backoff
from verdictd.contract.result import RESULT_TYPE
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

DIRECT_REPLY_TO = "amq.rabbitmq.reply-to."
_TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE_MAX_LENGTH = 512
_SHORT_STRING_BYTES = 255
_HELD_S = 5

Make = Callable[[], Awaitable[aio_pika.Message]]
"""Makes the message of each try."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """A result, and the properties of its submission that decide where it goes and what it carries."""

    body: bytes
    again: Callable[[], Awaitable[bytes]] | None
    """Makes the body of every try but the first: an earlier one may have arrived."""
    submission_id: str
    reply_to: str | None
    correlation_id: str | None
    priority: int | None
    headers: Mapping[str, object]


class Replies:
    """Publishes over a connection of its own, which RabbitMQ blocks while it is short of memory or disk."""

    def __init__(
        self, settings: BrokerSettings, *, timeout_s: float, more: topology.Queues = topology.NO_QUEUES
    ) -> None:
        self._settings = settings
        self._more = more
        self._timeout_s = timeout_s
        self._reply_to_pattern = re.compile(settings.reply_to_pattern)
        self.failure = ""
        """Why there is no connection, as far as that is known."""
        # State: the connection and its channel while they are open; since when replies wait, oldest first.
        self._opened: asyncio.Future[tuple[AbstractConnection, AbstractChannel]]
        self._opened = asyncio.get_running_loop().create_future()
        self._waiting: dict[object, float] = {}

    @property
    def connected(self) -> bool:
        """Whether there is a connection to publish over."""
        return self._opened.done()

    @property
    def held(self) -> bool:
        """Whether a reply has waited for a confirm for long, as when RabbitMQ is short of memory or disk."""
        oldest_s = next(iter(self._waiting.values()), None)
        return oldest_s is not None and time.monotonic() - oldest_s > _HELD_S

    async def keep_connected(self) -> None:
        """Hold the connection, and a new one whenever it is lost, until cancelled."""

        def lost(reason: str) -> None:
            self.failure = reason

        await reconnecting(self._settings, "verdictd publish", self._publish_over, on_lost=lost)

    async def publish(self, reply: Reply) -> None:
        """Publish to where the submission asked for its result, else to the results queue, until confirmed.

        Waits for that if it is missing too. Raises BrokerUnavailable after `timeout_s` in all.
        """
        headers = _headers(reply)
        make = _tries(reply, headers)
        waiting = object()
        self._waiting[waiting] = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                problem = self.problem(reply.reply_to)
                if reply.reply_to and not problem:
                    problem = await self._publish(reply.reply_to, make)
                    if problem is None:
                        return
                if problem:
                    log.warning("reply.undelivered", reply_to=reply.reply_to, reason=problem)
                    headers["undelivered_reply_to"] = reply.reply_to or ""
                    headers["undelivered_reason"] = problem
                    make = _tries(reply, headers)
                await self._publish_to_own(self._settings.results_queue, make)
        except TimeoutError as error:
            raise BrokerUnavailable(f"no confirm for a reply in {self._timeout_s:g} s") from error
        finally:
            del self._waiting[waiting]

    async def publish_to_own(self, queue: str, make: Make) -> None:
        """Publish to a queue that the daemon declares, until confirmed; `make` makes the message of each try.

        Waits for it if it is missing and cannot be declared. Raises BrokerUnavailable after `timeout_s`.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._publish_to_own(queue, make)
        except TimeoutError as error:
            raise BrokerUnavailable(f"no confirm from {queue!r} in {self._timeout_s:g} s") from error

    async def _publish_to_own(self, queue: str, make: Make) -> None:
        # There is no other queue for it: a queue that is missing, and that we may not declare, is waited for.
        for pause_s in backoff(self._settings.reconnect_max_s):
            problem = await self._publish(queue, make)
            if problem is None:
                return
            try:
                connection, _ = await self._connection()
                await topology.declare(connection, self._settings, self._more)
            except BrokerUnavailable as error:
                log.warning("reply.delayed", reason=str(error))
                await asyncio.sleep(pause_s)

    def problem(self, reply_to: str | None) -> str | None:
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

    async def _publish(self, queue: str, make: Make) -> str | None:
        """Publish until it is confirmed, however long that takes; else why this queue will not get it."""
        pauses_s = backoff(self._settings.reconnect_max_s)
        while True:
            _, channel = await self._connection()
            try:
                with amqp_errors(f"cannot publish to {queue!r}"):
                    async with asyncio.timeout(self._settings.publish_timeout_s):
                        return await self._try_publish(channel, queue, make)
            except BrokerUnavailable as error:
                log.warning("reply.delayed", reason=str(error))
            await asyncio.sleep(next(pauses_s))

    async def _try_publish(self, channel: AbstractChannel, queue: str, make: Make) -> str | None:
        # While the broker blocks us, tries would only pile up copies; aio-pika itself cannot tell.
        underlay = await channel.get_underlay_channel()
        await underlay.connection.ready()
        # RabbitMQ returns each mandatory message to a direct reply address, even those that it delivers.
        direct = queue.startswith(DIRECT_REPLY_TO)
        if direct and not await topology.has_queue(underlay.connection, queue):
            return "nobody waits there"
        try:
            await channel.default_exchange.publish(await make(), queue, mandatory=not direct)
        except PublishError:
            return "no such queue"
        except DeliveryError:
            if queue in {self._settings.results_queue, *self._more}:  # full perhaps, but there is no other
                raise
            return "the queue takes no more"
        return None

    async def _connection(self) -> tuple[AbstractConnection, AbstractChannel]:
        return await asyncio.shield(self._opened)  # several wait for it, and one may be cancelled

    async def _publish_over(self, connection: AbstractConnection) -> NoReturn:
        with amqp_errors("cannot open a channel"):
            async with asyncio.timeout(self._settings.connect_timeout_s):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                end = end_of(await channel.get_underlay_channel())
        self._opened.set_result((connection, channel))
        self.failure = ""
        log.info("broker.connected")
        try:
            raise BrokerUnavailable(await end)
        finally:
            self._opened = asyncio.get_running_loop().create_future()


def _headers(reply: Reply) -> dict[str, str]:
    return {"submission_id": reply.submission_id, **trace_headers(reply.headers)}


def trace_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """Those that are passed on, to follow a submission through several programs (W3C Trace Context)."""
    found = {name: headers.get(name) for name in _TRACE_HEADERS}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and len(value) <= _TRACE_MAX_LENGTH
    }


def _tries(reply: Reply, headers: dict[str, str]) -> Make:
    """Makes the message of each try."""
    tries = itertools.count()

    async def make() -> aio_pika.Message:
        again = reply.again if next(tries) else None
        return _message(reply, headers, await again() if again else reply.body)

    return make


def _message(reply: Reply, headers: dict[str, str], body: bytes) -> aio_pika.Message:
    correlation_id = reply.correlation_id or ""
    if not 0 < len(correlation_id.encode()) <= _SHORT_STRING_BYTES:
        correlation_id = reply.submission_id
    message = aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        correlation_id=correlation_id,
        message_id=str(uuid.uuid4()),  # fresh for each try: two of a name confuse returns and confirms
        timestamp=datetime.now(UTC),
        type=RESULT_TYPE,
        headers=dict(headers),
    )
    message.priority = reply.priority  # given to the constructor, None would be published as 0
    return message
