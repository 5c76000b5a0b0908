"""AMQP: take submissions, reply with confirm, settle each delivery exactly once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from verdictd import metrics
from verdictd.amqp import topology
from verdictd.amqp.connection import connect, reconnecting
from verdictd.amqp.delivery import TAKEN_BACK, Delivery, Settlement, received, settle
from verdictd.amqp.flow import Flow
from verdictd.amqp.inbox import Inbox
from verdictd.amqp.liveness import Liveness
from verdictd.amqp.replies import Make, Replies, Reply
from verdictd.concurrency import background
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

# What is given up goes back to the queue, perhaps to be judged again by others, which helps nobody while
# RabbitMQ takes no results. What waits is bounded by the prefetch count: nothing is taken in its place.
REPLY_TIMEOUT_S = 86_400
FAULT_PAUSE_S = 1

log = structlog.get_logger()

Handle = Callable[[Delivery], Awaitable[Settlement]]


class Broker:
    """RabbitMQ over two connections: a shortage of memory or disk there blocks the one that publishes."""

    def __init__(
        self, settings: BrokerSettings, *, reply_timeout_s: float, more: topology.Queues = topology.NO_QUEUES
    ) -> None:
        self._settings = settings
        self._more = more
        self._replies = Replies(settings, timeout_s=reply_timeout_s, more=more)
        self.liveness = Liveness(topology.try_limit_s(settings, more))
        """Of the task that consumes: it rests while RabbitMQ delivers to us."""
        self._flow = Flow()
        self._failure = ""

    def __repr__(self) -> str:
        connected = "connected" if self.connected else "not connected"
        consuming = "consuming" if self.consuming else "not consuming"
        return f"<Broker {connected}, {consuming}, {len(self._flow.in_work)} in flight>"

    @property
    def connected(self) -> bool:
        """Whether there is a connection for replies."""
        return self._replies.connected

    @property
    def taking(self) -> bool:
        """Whether RabbitMQ takes replies; without memory or disk it confirms none."""
        return self.connected and not self._replies.held

    @property
    def failures(self) -> tuple[str, str]:
        """Why there is no connection for replies, and why nothing is consumed, as far as that is known."""
        return self._replies.failure, self._failure

    @property
    def consuming(self) -> bool:
        """Whether RabbitMQ delivers submissions to us now."""
        return not self._flow.resting.is_set()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        settings: BrokerSettings,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        more: topology.Queues = topology.NO_QUEUES,
    ) -> AsyncIterator[Self]:
        """A broker whose queues are there, and `more` of them where these are given.

        Raises BrokerUnavailable at once, but reconnects from then on.
        """
        async with connect(settings, "verdictd start") as connection:
            await topology.declare(connection, settings, more)
        broker = cls(settings, reply_timeout_s=reply_timeout_s, more=more)
        async with background(broker._replies.keep_connected()):
            yield broker

    async def consume(
        self,
        handle: Handle,
        *,
        prefetch: Callable[[], int],
        stop: asyncio.Event,
        drain_timeout_s: float,
        queue: str | None = None,
        careful: bool = True,
    ) -> None:
        """Hand each submission to `handle` in a task of its own and settle it as told, until `stop` is set.

        They come from the submissions queue, unless another one is given: as many at once as `prefetch` says
        at the time, those of lost connections included. Suspects come alone, unless it is not `careful`.

        Then what is in flight has `drain_timeout_s` to end; what does not is cancelled and put back.
        """
        queue = queue or self._settings.submissions_queue
        for settlement in (*Settlement, TAKEN_BACK):
            metrics.DELIVERIES.labels(queue, settlement)  # which begin with 0

        def room() -> int:
            return 0 if stop.is_set() else prefetch()

        async with asyncio.TaskGroup() as keepers:
            async with asyncio.TaskGroup() as in_flight:

                def start(message: DeliveredMessage) -> asyncio.Task[None]:
                    work = self._work(message, handle, stop, room, queue)
                    return self._flow.begin(work, in_flight)

                use = partial(
                    self._consume_over,
                    queue=queue,
                    start=start,
                    room=room,
                    stop=stop,
                    careful=careful,
                )
                keeping = keepers.create_task(
                    reconnecting(self._settings, "verdictd consume", use, self.liveness, on_lost=self._lost)
                )
                await stop.wait()
                self._flow.news.set()
                await self._flow.resting.wait()
                await self._drain(drain_timeout_s)
            keeping.cancel()

    async def reply(
        self,
        body: bytes,
        *,
        delivery: Delivery,
        submission_id: str,
        again: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        """Publish a result until RabbitMQ confirms it, across reconnects; a lost confirm makes a duplicate.

        `again` makes the body of such a duplicate, which says what it is.

        Where its `reply_to` is refused or nobody is there, the results queue gets it, with headers that say
        so. Waits for that if it is missing too. Raises BrokerUnavailable after `reply_timeout_s` in all.
        """
        await self._replies.publish(
            Reply(
                body=body,
                again=again,
                submission_id=submission_id,
                reply_to=delivery.reply_to,
                correlation_id=delivery.correlation_id,
                priority=delivery.priority,
                headers=delivery.headers,
            )
        )

    async def publish(self, queue: str, make: Make) -> None:
        """Publish to a queue that the daemon declares until RabbitMQ confirms it; `make` makes each try.

        Raises BrokerUnavailable as `reply` does.
        """
        await self._replies.publish_to_own(queue, make)

    def reply_to_problem(self, reply_to: str | None) -> str | None:
        """Why a submission may not ask for its result there; None if it may."""
        return self._replies.problem(reply_to)

    async def _work(
        self,
        message: DeliveredMessage,
        handle: Handle,
        stop: asyncio.Event,
        room: Callable[[], int],
        queue: str,
    ) -> None:
        """One delivery from its arrival to its settlement; nothing it raises may reach its neighbours."""
        settlement = Settlement.REQUEUE
        try:
            if not stop.is_set():
                settlement = await handle(received(message))
        except Exception:
            log.exception("delivery.failed", message_id=message.header.properties.message_id)
            await asyncio.sleep(FAULT_PAUSE_S)
        finally:
            if not room():
                await self._flow.resting.wait()  # or what is put back now would come to us once more
            try:
                await settle(message, settlement, queue, timeout_s=self._settings.connect_timeout_s)
            except Exception:
                log.exception("delivery.not_settled", message_id=message.header.properties.message_id)

    def _lost(self, reason: str) -> None:
        self._failure = reason

    async def _drain(self, timeout_s: float) -> None:
        in_work = self._flow.in_work
        if not in_work:
            return
        log.info("broker.draining", in_flight=len(in_work), timeout_s=timeout_s)
        _, slow = await asyncio.wait(in_work, timeout=timeout_s)
        for task in slow:
            task.cancel()

    async def _consume_over(
        self,
        connection: AbstractConnection,
        *,
        queue: str,
        start: Callable[[DeliveredMessage], asyncio.Task[None]],
        room: Callable[[], int],
        stop: asyncio.Event,
        careful: bool,
    ) -> None:
        if stop.is_set():
            self.liveness.rest()
            return
        settings = self._settings
        await topology.declare(connection, settings, self._more)
        source = await Inbox.open(connection, queue, self._flow.news, timeout_s=settings.connect_timeout_s)
        self.liveness.rest()
        self._failure = ""
        await self._flow.run(source, start, room=room, stop=stop, careful=careful)
        # After a stop the channel stays open: what is in flight is settled over it.
        raise BrokerUnavailable(await source.end)
