"""Builds everything once, starts, drains, stops."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog

from verdictd import systemd
from verdictd.broker import Broker
from verdictd.errors import BrokerUnavailable
from verdictd.host import Host, open_host
from verdictd.messages import submission_model
from verdictd.sandbox.pool import BoxPool
from verdictd.settings import Settings
from verdictd.worker import Recent, Worker

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Judge what the queue brings until SIGTERM or SIGINT, then finish what is in a box and return.

    Raises LanguagesError, BoxTaken and NoSandbox where it cannot start.
    """
    stop = asyncio.Event()
    with _signals(stop.set):
        async with open_host(settings) as host, _connection(settings, stop) as broker:
            if broker is not None:
                await _consume(settings, host, broker, stop)
    log.info("service.stopped")


async def _consume(settings: Settings, host: Host, broker: Broker, stop: asyncio.Event) -> None:
    worker = Worker(
        judge=host.judge,
        replies=broker,
        model=submission_model(settings.limits),
        settings=settings.judge,
        recent=Recent(
            count=settings.service.remembered_results, size_bytes=settings.service.remembered_bytes
        ),
    )
    boxes, sandbox = settings.sandbox.box_count, host.sandbox
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_drain(host.pool, stop), name="drain")
        systemd.notify("READY=1", f"STATUS=judging in {boxes} boxes of {sandbox.name} {sandbox.version}")
        log.info("service.started", boxes=boxes, sandbox=sandbox.name, version=sandbox.version)
        await broker.consume(
            worker.handle,
            prefetch=boxes + settings.broker.prefetch_reserve,
            stop=stop,
            drain_timeout_s=settings.service.drain_timeout_s,
        )


@asynccontextmanager
async def _connection(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Broker | None]:
    """The broker, tried until it is there; None when asked to stop before that."""
    pause_s = 0.5
    while not stop.is_set():
        try:
            async with contextlib.AsyncExitStack() as stack:
                broker = await stack.enter_async_context(Broker.connect(settings.broker))
                connected = stack.pop_all()
        except BrokerUnavailable as error:
            log.error("broker.unavailable", error=str(error), again_in_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            pause_s = min(2 * pause_s, settings.broker.reconnect_max_s)
        else:
            async with connected:
                yield broker
            return
    yield None


async def _drain(pool: BoxPool, stop: asyncio.Event) -> None:
    await stop.wait()
    systemd.notify("STOPPING=1", "STATUS=finishing what is in a box")
    log.info("service.draining")
    await pool.drain()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
