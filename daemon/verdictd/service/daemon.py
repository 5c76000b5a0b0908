"""Builds everything once, starts, drains, stops."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from verdictd import metrics
from verdictd.amqp import topology
from verdictd.amqp.consumer import Broker
from verdictd.amqp.requests import Submitter
from verdictd.callbacks.deliverer import Deliverer
from verdictd.callbacks.jobs import Jobs
from verdictd.concurrency import background, on_signals
from verdictd.contract.result import Status
from verdictd.contract.submission import submission_model
from verdictd.errors import BrokerUnavailable
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.monitoring import systemd
from verdictd.monitoring.history import History
from verdictd.monitoring.status import Consumer, StatusReporter
from verdictd.sandbox.pool import BoxPool
from verdictd.service.in_progress import Recent
from verdictd.service.worker import Worker
from verdictd.settings import Settings
from verdictd.web.app import application
from verdictd.web.server import listen

# Beyond the limit of a delivery: one that is cancelled while it is put off would be there twice.
_SETTLE_S = 5

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Judge what the queue brings until SIGTERM or SIGINT, then finish what is in a box and return.

    A second signal ends the programs in the boxes, puts their submissions back, and returns at once.
    Raises LanguagesError, BoxTaken and NoSandbox where it cannot start.
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
    async with open_judgehost(settings) as host:
        history = History()
        submissions = Consumer(settings.broker.submissions_queue)
        callbacks = Consumer(settings.callbacks.queue) if settings.callbacks.enabled else None
        reporter = StatusReporter(host, history, stop, submissions=submissions, callbacks=callbacks)
        async with (
            systemd.informed(reporter, submission_timeout_s=settings.judge.submission_timeout_s),
            _http(settings, host, reporter),
            _connection(settings, stop, submissions) as broker,
            asyncio.TaskGroup() as tasks,
        ):
            if callbacks is not None:
                tasks.create_task(_deliver(settings, host, stop, callbacks), name="callbacks")
            if broker is not None:
                await _consume(settings, host, broker, history, stop)


@asynccontextmanager
async def _http(settings: Settings, host: Judgehost, reporter: StatusReporter) -> AsyncIterator[None]:
    """What listens to HTTP, where it is wanted, from before there is a broker until all is judged."""
    if not settings.http.enabled:
        yield
        return
    async with Submitter.connect(settings.broker) as submitter:
        reporter.submitter = submitter
        app = application(settings=settings, host=host, submitter=submitter, reporter=reporter)
        async with listen(app, settings.http), background(metrics.observe_lag()):
            try:
                yield
            finally:
                submitter.stop_waiting()


async def _consume(
    settings: Settings, host: Judgehost, broker: Broker, history: History, stop: asyncio.Event
) -> None:
    boxes, sandbox = settings.sandbox.box_count, host.sandbox
    worker = Worker(
        admission=host.admission,
        judge=host.judge,
        replies=broker,
        model=submission_model(settings.limits),
        settings=settings.judge,
        history=history,
        callbacks=Jobs(broker, settings.callbacks),
        # It is answered before RabbitMQ gives it up by itself.
        excuses=settings.broker.delivery_limit - settings.judge.max_attempts,
        recent=Recent(
            count=settings.service.remembered_results,
            size_bytes=settings.service.remembered_bytes,
            at_least=boxes + settings.broker.prefetch_reserve,
        ),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_drain(host.pool, stop), name="drain")
        log.info("service.started", boxes=boxes, sandbox=sandbox.name, version=sandbox.version)
        await broker.consume(
            worker.handle,
            prefetch=lambda: _prefetch(host.pool.usable, settings.broker.prefetch_reserve),
            stop=stop,
            drain_timeout_s=settings.service.drain_timeout_s,
        )


def _prefetch(usable_boxes: int, reserve: int) -> int:
    return usable_boxes + min(reserve, usable_boxes)  # or what waits could wait for two others, and longer


async def _deliver(settings: Settings, host: Judgehost, stop: asyncio.Event, consumer: Consumer) -> None:
    """Deliver callbacks, where they are enabled, over connections that replies do not share."""
    callbacks = settings.callbacks
    if host.egress is None:
        return
    async with _connection(settings, stop, consumer) as broker:
        if broker is None:
            return
        async with Deliverer.open(callbacks, broker, host.egress) as deliverer:
            await broker.consume(
                deliverer.handle,
                queue=callbacks.queue,
                prefetch=lambda: callbacks.max_deliveries,
                stop=stop,
                drain_timeout_s=min(callbacks.timeout_s + _SETTLE_S, settings.service.drain_timeout_s),
                careful=False,
            )


@asynccontextmanager
async def _connection(
    settings: Settings, stop: asyncio.Event, consumer: Consumer
) -> AsyncIterator[Broker | None]:
    """The broker for a consumer, tried until it is there; None when asked to stop before that."""
    more = topology.callback_queues(settings.callbacks, settings.broker)
    pause_s = 0.5
    while not stop.is_set():
        try:
            async with contextlib.AsyncExitStack() as stack:
                broker = await stack.enter_async_context(Broker.connect(settings.broker, more=more))
                connected = stack.pop_all()
        except BrokerUnavailable as error:
            consumer.unavailable = str(error)
            log.error("broker.unavailable", error=str(error), again_in_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            pause_s = min(2 * pause_s, settings.broker.reconnect_max_s)
        else:
            async with connected:
                consumer.broker = broker
                yield broker
            return
    yield None


async def _drain(pool: BoxPool, stop: asyncio.Event) -> None:
    await stop.wait()
    log.info("service.draining")
    await pool.drain()
