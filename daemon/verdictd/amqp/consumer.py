"""Consumer: hand each message of its queues to a handler, within capacity, and settle it exactly once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import structlog
from aio_pika.abc import AbstractConnection
from cachetools import LRUCache

from verdictd import metrics
from verdictd.amqp.backlog import Backlog
from verdictd.amqp.delivery import TAKEN_BACK, Delivery, Settlement, received
from verdictd.amqp.inbox import Inbox, Taken
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.concurrency import finish
from verdictd.errors import BrokerUnavailable

FAULT_PAUSE_S = 1
_SUSPENDED_LOG_S = 25
_SEEN_MESSAGES = 10_000
_FINGERPRINT_BYTES = 64 * 1024

Handle = Callable[[Delivery], Awaitable[Settlement]]

log = structlog.get_logger()


class Capacity(Protocol):
    """Bound on the deliveries in flight. `changed` is set whenever the limit may have changed."""

    changed: asyncio.Event

    @property
    def limit(self) -> int:
        """Number of deliveries that may be in flight now."""

    @property
    def reserve(self) -> int:
        """Number of further ones that may wait here while many wait in the queue."""


class FixedCapacity:
    """Capacity that never changes."""

    def __init__(self, limit: int, reserve: int = 0) -> None:
        self.limit = limit
        self.reserve = reserve
        self.changed = asyncio.Event()


class Consumer:
    """Consumes queues over a connection that is kept. It exists from the start, connected or not.

    While several of its queues have messages, they are taken in proportion to the weights.

    A submission can kill the daemon that judges it, and RabbitMQ counts that death for every message that was
    in flight. A message that was delivered before, but not to this process, is a suspected poison message:
    unless `isolate_suspects` is false it is in flight alone, so that only its own count grows.

    State: the deliveries in flight, over all connections; whether RabbitMQ delivers; the last reason why it
    did not; fingerprints of messages that were ever in flight, the newest last.
    """

    def __init__(
        self,
        connection: ReconnectingConnection,
        weights: Mapping[str, int],
        *,
        capacity: Capacity,
        isolate_suspects: bool = True,
        fault_pause_s: float = FAULT_PAUSE_S,
    ) -> None:
        self.queues = tuple(weights)
        self.backlog = Backlog(weights)
        self._weights = weights
        self._connection = connection
        self._capacity = capacity
        self._isolate_suspects = isolate_suspects
        self._fault_pause_s = fault_pause_s
        self._news = capacity.changed
        self._liveness = connection.liveness()
        self._stopping = False
        self._resting = asyncio.Event()
        self._resting.set()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._seen: LRUCache[int, None] = LRUCache(_SEEN_MESSAGES)
        self._failure = ""
        for queue in self.queues:
            for settlement in (*Settlement, TAKEN_BACK):
                metrics.DELIVERIES.labels(queue, settlement)  # which begin with 0

    def __repr__(self) -> str:
        connected = "connected" if self.connected else "not connected"
        consuming = "consuming" if self.consuming else "not consuming"
        return f"<Consumer of {self.name}: {connected}, {consuming}, {self.in_flight} in flight>"

    @property
    def name(self) -> str:
        """Names of its queues, for a person."""
        return ", ".join(self.queues)

    @property
    def connected(self) -> bool:
        """True while there is a connection to consume over."""
        return self._connection.connected

    @property
    def consuming(self) -> bool:
        """True while RabbitMQ delivers to us."""
        return not self._resting.is_set()

    @property
    def overdue(self) -> bool:
        """True if it neither consumes nor tries to."""
        return self._liveness.overdue or self._connection.overdue

    @property
    def failure(self) -> str:
        """Reason why nothing is consumed, as far as it is known."""
        return self._connection.failure or self._failure

    @property
    def in_flight(self) -> int:
        """Number of deliveries that are handled now."""
        return len(self._in_flight)

    async def run(self, handle: Handle, *, stop: asyncio.Event, drain_timeout_s: float) -> None:
        """Hand each message to `handle` in a task of its own, and settle it as told, until `stop` is set.

        Then what is in flight has `drain_timeout_s` to end; what does not is cancelled and requeued.
        """
        async with asyncio.TaskGroup() as keepers:
            async with asyncio.TaskGroup() as in_flight:

                async def consume(connection: AbstractConnection) -> None:
                    await self._consume(connection, handle, in_flight)

                keeping = keepers.create_task(
                    self._connection.use(consume, liveness=self._liveness, on_failure=self._failed)
                )
                try:
                    await stop.wait()
                finally:
                    self._stopping = True
                    self._news.set()
                await self._resting.wait()
                await self._drain(drain_timeout_s)
            keeping.cancel()

    async def _consume(
        self, connection: AbstractConnection, handle: Handle, in_flight: asyncio.TaskGroup
    ) -> None:
        if not self._stopping:
            timeout_s = self._connection.settings.connect_timeout_s
            inbox = Inbox(connection, self._weights, self.backlog, self._news, timeout_s=timeout_s)
            self._failure = ""
            self._liveness.rest()
            try:
                await self._take_all(inbox, handle, in_flight)
                self._resting.set()
                # After a stop the channel stays open: what is in flight is settled over it.
                raise BrokerUnavailable(await inbox.end)
            finally:
                self._resting.set()
                await finish(inbox.close())

    async def _take_all(self, inbox: Inbox, handle: Handle, in_flight: asyncio.TaskGroup) -> None:
        """Take messages while there is capacity; return at a stop, or when no more come."""
        self._resting.clear()
        log.info("broker.consuming", queue=self.name, prefetch=self._limit)
        while not self._stopping and not inbox.end.done():
            if not self._limit:
                await self._suspend(inbox)
            elif self._full(inbox):
                await inbox.rest()
                await inbox.until(lambda: not self._limit or not self._full(inbox))
            elif taken := await inbox.take(unless=lambda: not self._limit):
                await self._begin(taken, inbox, handle, in_flight)
        if not inbox.end.done():
            await inbox.rest()

    @property
    def _limit(self) -> int:
        return 0 if self._stopping else self._capacity.limit

    def _full(self, inbox: Inbox) -> bool:
        # One that waits here cannot be taken by another daemon, so none does when others may soon be idle.
        return self.in_flight >= self._limit + (self._capacity.reserve if inbox.plenty else 0)

    async def _begin(self, taken: Taken, inbox: Inbox, handle: Handle, in_flight: asyncio.TaskGroup) -> None:
        """Begin work on a message; return when the next one may be taken."""
        received_at = datetime.now(UTC)
        fingerprint = _fingerprint(taken)
        alone = self._isolate_suspects and bool(taken.message.redelivered) and fingerprint not in self._seen
        if alone:
            log.info("broker.careful", message_id=taken.message.header.properties.message_id)
            await inbox.rest()
            await inbox.until(lambda: not self._limit or not self._in_flight)
        if inbox.end.done():
            return  # RabbitMQ has taken it back
        self._seen[fingerprint] = None
        task = self._start(taken, received_at, handle, in_flight)
        if alone:
            await inbox.until(lambda: not self._limit or task.done())

    def _start(
        self,
        taken: Taken,
        received_at: datetime,
        handle: Handle,
        in_flight: asyncio.TaskGroup,
    ) -> asyncio.Task[None]:
        work = self._work(taken, received_at, handle)
        try:
            task = in_flight.create_task(work, name=taken.message.header.properties.message_id)
        except RuntimeError as error:
            work.close()
            raise BrokerUnavailable(f"no work is begun any more: {error}") from error
        self._in_flight.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._news.set()

    async def _work(self, taken: Taken, received_at: datetime, handle: Handle) -> None:
        """Take one delivery from arrival to settlement; raise nothing, which would end its neighbours."""
        message = taken.message
        settlement = Settlement.REQUEUE
        on_settled: list[Callable[[], None]] = []
        try:
            if not self._stopping:
                delivery = received(message, taken.queue, received_at)
                on_settled = delivery.on_settled
                if not delivery.redelivered:
                    self.backlog.took(taken.queue, delivery.timestamp)
                settlement = await handle(delivery)
        except Exception:
            log.exception("delivery.failed", message_id=message.header.properties.message_id)
            await asyncio.sleep(self._fault_pause_s)
        finally:
            if not self._limit:
                await self._resting.wait()  # or what is requeued now would come to us once more
            timeout_s = self._connection.settings.connect_timeout_s
            try:
                if (
                    await taken.settle(settlement, timeout_s=timeout_s)
                    and settlement is not Settlement.REQUEUE
                ):
                    for note in on_settled:
                        note()
            except Exception:
                log.exception("delivery.not_settled", message_id=message.header.properties.message_id)

    async def _suspend(self, inbox: Inbox) -> None:
        """Take nothing, so that others do, until there is capacity again."""
        await inbox.rest()
        self._resting.set()
        while not (self._stopping or self._limit or inbox.end.done()):
            log.warning("broker.suspended", queue=self.name)
            await inbox.until(lambda: self._stopping or self._limit > 0, limit_s=_SUSPENDED_LOG_S)
        if not inbox.end.done():
            self._resting.clear()
            log.info("broker.consuming", queue=self.name)

    async def _drain(self, timeout_s: float) -> None:
        if not self._in_flight:
            return
        log.info("broker.draining", in_flight=self.in_flight, timeout_s=timeout_s)
        _, slow = await asyncio.wait(self._in_flight, timeout=timeout_s)
        for task in slow:
            task.cancel()

    def _failed(self, reason: str) -> None:
        self._failure = reason


def _fingerprint(taken: Taken) -> int:
    """Return what tells a message from others, at a price that does not grow with its size."""
    body = taken.message.body
    ends = body[:_FINGERPRINT_BYTES], body[-_FINGERPRINT_BYTES:]
    return hash((taken.message.header.properties.message_id, len(body), *ends))
