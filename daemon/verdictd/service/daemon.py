"""Service: builds every part once, starts, drains, stops."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from verdictd import metrics
from verdictd.amqp.consumer import Consumer, FixedCapacity
from verdictd.amqp.control import ControlChannel
from verdictd.amqp.events import EventPublisher
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.amqp.replies import ReplyRouter
from verdictd.amqp.requests import Requests
from verdictd.amqp.topology import queues
from verdictd.callbacks.jobs import Jobs
from verdictd.concurrency import background, on_signals
from verdictd.contract.result import Status
from verdictd.contract.submission import submission_model
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.monitoring import systemd
from verdictd.monitoring.history import History
from verdictd.monitoring.status import StatusReporter
from verdictd.sandbox.pool import BoxPool
from verdictd.service.control import Control
from verdictd.service.in_progress import Recent
from verdictd.service.progress import EventFeed
from verdictd.service.worker import Worker
from verdictd.settings import Settings

# Beyond the limit of a delivery: one that is cancelled while it is put off would be there twice.
_SETTLE_S = 5
_UNANSWERED_AT_ONCE = 2
_WAITING_AT_MOST = 32

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Judge submissions until SIGTERM, SIGINT or SIGHUP, then finish those in a box and return.

    A second signal ends the programs in the boxes, requeues their submissions, and returns at once.
    Raises LanguagesError, BoxTaken and NoSandbox if it cannot start.
    """
    stop = asyncio.Event()
    serving = asyncio.create_task(_serve(settings, stop), name="serve")

    signals = itertools.count(1)

    def receive() -> None:
        if next(signals) == 2:  # more of them change nothing
            serving.cancel()
        stop.set()

    with on_signals(receive):
        try:
            await serving
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
            log.warning("service.hurried", effect="what was in work is back in the queue")
    log.info("service.stopped")


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    metrics.SUBMISSIONS.labels("", Status.INTERNAL_ERROR)  # begins with 0; nothing was judged: no language
    for queue in settings.broker.submission_queues:
        metrics.REDELIVERIES.labels(queue.name)
        metrics.QUEUE_TIME.labels(queue.name)
    needed = queues(settings.broker, settings.callbacks)
    async with (
        open_judgehost(settings) as host,
        ReconnectingConnection.keep(settings.broker, "verdictd consume", needed) as consuming,
        Publisher.keep(settings.broker, needed) as publisher,
        EventPublisher.keep(consuming) as event_publisher,
        _requests(settings, consuming, publisher) as requests,
        Control.open(consuming, publisher.connection) as control,
    ):
        history = History()
        events = EventFeed(event_publisher)
        worker = _worker(settings, host, publisher, history, control=control, events=events)
        submissions = Consumer(
            consuming,
            {queue.name: queue.weight for queue in settings.broker.submission_queues},
            capacity=_PoolCapacity(host.pool, settings.broker.prefetch_reserve, worker),
        )
        dead_letters = [queue.unanswered for queue in settings.broker.submission_queues]
        unanswered = _own_consumer(consuming, dead_letters, _UNANSWERED_AT_ONCE)
        callbacks = _callbacks_consumer(settings, consuming)
        reporter = StatusReporter(
            host,
            history,
            stop,
            publisher=publisher,
            consumers=[submissions, unanswered, *callbacks],
            control=control.channel,
            requests=requests,
        )
        async with (
            systemd.informed(reporter, submission_timeout_s=settings.judge.submission_timeout_s),
            _http(settings, host, requests, control=control.channel, reporter=reporter, events=events),
            asyncio.TaskGroup() as tasks,
        ):
            for consumer in callbacks:
                tasks.create_task(_deliver(settings, host, publisher, consumer, stop), name="callbacks")
            tasks.create_task(
                unanswered.run(worker.answer_given_up, stop=stop, drain_timeout_s=_SETTLE_S),
                name="unanswered",
            )
            tasks.create_task(_drain(host.pool, stop), name="drain")
            sandbox = host.sandbox
            boxes = settings.sandbox.box_count
            log.info("service.started", boxes=boxes, sandbox=sandbox.name, version=sandbox.version)
            drain_timeout_s = settings.service.drain_timeout_s
            await submissions.run(worker.handle, stop=stop, drain_timeout_s=drain_timeout_s)


class _PoolCapacity:
    """As many deliveries as there are usable boxes, and a reserve that is ready for the next free one.

    Those that wait for an equal one need no box, so they take no place: some of them, as each has a body.
    The same holds for those whose results are being published, up to one for each box.
    """

    def __init__(self, pool: BoxPool, reserve: int, worker: Worker) -> None:
        self._pool = pool
        self._most_ready = reserve
        self._worker = worker
        self.changed = pool.changed

    @property
    def limit(self) -> int:
        usable = self._pool.usable
        copies = min(self._worker.waiting, _WAITING_AT_MOST)
        answering = min(self._worker.answering, usable)
        return usable and usable + copies + answering

    @property
    def reserve(self) -> int:
        return min(self._most_ready, self._pool.usable)  # or one could wait for two others, and longer


def _worker(
    settings: Settings,
    host: Judgehost,
    publisher: Publisher,
    history: History,
    *,
    control: Control,
    events: EventFeed,
) -> Worker:
    return Worker(
        admission=host.admission,
        judge=host.judge,
        replies=ReplyRouter(publisher, settings.broker),
        model=submission_model(settings.limits),
        settings=settings.judge,
        history=history,
        callbacks=Jobs(publisher, settings.callbacks),
        control=control,
        events=events,
        changed=host.pool.changed,
        # It is answered before RabbitMQ gives it up by itself.
        ack_timeout_s=settings.broker.ack_timeout_s,
        excuses=settings.broker.delivery_limit - settings.judge.max_attempts,
        recent=Recent(
            size_bytes=settings.service.remembered_bytes,
            most_unsettled=2 * settings.sandbox.box_count + settings.broker.prefetch_reserve,
        ),
    )


@asynccontextmanager
async def _requests(
    settings: Settings, consuming: ReconnectingConnection, publisher: Publisher
) -> AsyncIterator[Requests | None]:
    """Open the way from HTTP to the queue, where HTTP is enabled."""
    if not settings.http.enabled:
        yield None
        return
    async with Requests.open(consuming, publisher) as requests:
        yield requests


@asynccontextmanager
async def _http(
    settings: Settings,
    host: Judgehost,
    requests: Requests | None,
    *,
    control: ControlChannel,
    reporter: StatusReporter,
    events: EventFeed,
) -> AsyncIterator[None]:
    """Listen to HTTP, where it is enabled, until everything is judged."""
    if requests is None:
        yield
        return
    from verdictd.web.app import application
    from verdictd.web.server import listen

    app = application(
        settings=settings,
        host=host,
        requests=requests,
        control=control,
        reporter=reporter,
        finished=events.finished,
    )
    async with listen(app, settings.http), background(metrics.observe_lag()):
        try:
            yield
        finally:
            requests.stop_waiting()


def _callbacks_consumer(settings: Settings, consuming: ReconnectingConnection) -> list[Consumer]:
    if not settings.callbacks.enabled:
        return []
    return [_own_consumer(consuming, [settings.callbacks.queue], settings.callbacks.max_deliveries)]


def _own_consumer(consuming: ReconnectingConnection, queues: Sequence[str], limit: int) -> Consumer:
    """Return a consumer of messages that run no program, so that none of them is a suspect."""
    return Consumer(
        consuming, dict.fromkeys(queues, 1), capacity=FixedCapacity(limit), isolate_suspects=False
    )


async def _deliver(
    settings: Settings, host: Judgehost, publisher: Publisher, consumer: Consumer, stop: asyncio.Event
) -> None:
    """Deliver callbacks until `stop` is set, and then those in flight."""
    if host.egress is None:
        return
    from verdictd.callbacks.deliverer import Deliverer

    callbacks = settings.callbacks
    drain_timeout_s = min(callbacks.timeout_s + _SETTLE_S, settings.service.drain_timeout_s)
    async with Deliverer.open(callbacks, publisher, host.egress) as deliverer:
        await consumer.run(deliverer.handle, stop=stop, drain_timeout_s=drain_timeout_s)


async def _drain(pool: BoxPool, stop: asyncio.Event) -> None:
    await stop.wait()
    log.info("service.draining")
    await pool.drain()
