"""Connection that is opened again whenever it is lost, for all who work over it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import structlog
from aio_pika.abc import AbstractConnection

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, connect, end_of
from verdictd.amqp.topology import Queues, declare, try_limit_s
from verdictd.concurrency import background, backoff
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

Work = Callable[[AbstractConnection], Coroutine[Any, Any, None]]
"""Work over one connection; it raises BrokerUnavailable when it has to begin anew."""

_LOSS_NOTICED_S = 0.1

log = structlog.get_logger()


class Liveness:
    """Progress of a task that nobody waits for. State: when its next sign is due; None while it rests."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._due_s: float | None = None

    def beat(self) -> None:
        """Show progress; the next sign is due within the limit."""
        self._due_s = time.monotonic() + self._limit_s

    def rest(self) -> None:
        """Owe no sign until the next beat: the task waits for others, who may take any time."""
        self._due_s = None

    @property
    def overdue(self) -> bool:
        """True if a sign is missing."""
        return self._due_s is not None and time.monotonic() > self._due_s


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection, and the reason for its loss once it is lost."""

    connection: AbstractConnection
    lost: "asyncio.Future[str]"


class ReconnectingConnection:
    """One connection to RabbitMQ on which the queues are there, made by `keep`.

    State: the connection while it is open.
    """

    def __init__(self, settings: BrokerSettings, name: str, queues: Queues) -> None:
        self.settings = settings
        self.queues = queues
        self.failure = ""
        """Reason why there is no connection, as far as it is known; empty while there is one."""
        self._name = name
        self._liveness = Liveness(try_limit_s(settings, queues))
        self._opened: asyncio.Future[_Opened] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def keep(cls, settings: BrokerSettings, name: str, queues: Queues) -> AsyncIterator[Self]:
        """Open a connection as soon as possible, and again whenever it is lost, until the block ends."""
        kept = cls(settings, name, queues)
        async with background(kept._keep_open()):
            yield kept

    @property
    def connected(self) -> bool:
        """True while there is a connection."""
        return self._opened.done()

    @property
    def overdue(self) -> bool:
        """True if there is no connection, and the tries to open one have stopped."""
        return self._liveness.overdue

    def liveness(self) -> Liveness:
        """Return the liveness of one who works over this connection: as patient as a try to open it."""
        return Liveness(try_limit_s(self.settings, self.queues))

    async def opened(self) -> AbstractConnection:
        """Wait for the connection."""
        return (await self._wait()).connection

    async def use(self, work: Work, *, liveness: Liveness, on_failure: Callable[[str], None]) -> None:
        """Run `work` over the connection, and again over the present one whenever it fails, until it returns.

        `on_failure` gets the reason. `liveness` beats when work begins; `work` rests it once it runs well.
        """
        failed: _Opened | None = None
        pauses = _Pauses(self.settings.reconnect_max_s, self._name)
        while True:
            opened = await self._wait()
            liveness.beat()
            pauses.begin()
            try:
                if opened is failed:  # perhaps for a queue that is gone
                    await declare(opened.connection, self.settings, self.queues)
                return await _unless(opened.lost, work(opened.connection))
            except BrokerUnavailable as error:
                reason = str(error)
            except Exception:  # must not end in a daemon that looks well and does nothing
                log.exception("broker.fault", connection=self._name)
                reason = "a fault of the daemon"
            finally:
                liveness.rest()
            on_failure(reason)
            failed = opened
            # A connection that is lost closes its channels first; `_keep_open` logs that loss, and pauses.
            await asyncio.wait({opened.lost}, timeout=_LOSS_NOTICED_S)
            if not opened.lost.done():
                await pauses.pause(reason)

    async def _wait(self) -> _Opened:
        return await asyncio.shield(self._opened)  # several wait for it, and one may be cancelled

    async def _keep_open(self) -> NoReturn:
        pauses = _Pauses(self.settings.reconnect_max_s, self._name)
        had_one = False
        while True:
            self._liveness.beat()
            pauses.begin()
            try:
                async with connect(self.settings, self._name) as connection:
                    await declare(connection, self.settings, self.queues)
                    had_one = True
                    await self._share(connection)
            except BrokerUnavailable as error:
                self.failure = str(error)
            except Exception:  # must not end in a daemon that looks well and does nothing
                log.exception("broker.fault", connection=self._name)
                self.failure = "a fault of the daemon"
            await pauses.pause(self.failure, lost=had_one)

    async def _share(self, connection: AbstractConnection) -> NoReturn:
        """Let others work over the connection; raise BrokerUnavailable when RabbitMQ stops answering."""
        loop = asyncio.get_running_loop()
        opened = _Opened(connection, loop.create_future())
        self._opened.set_result(opened)
        self.failure = ""
        self._liveness.rest()
        log.info("broker.connected", connection=self._name)
        reason = "the daemon closes it"
        try:
            await _ask(connection, self.settings.heartbeat_s)
        except BrokerUnavailable as error:
            reason = str(error)
            raise
        finally:
            self._opened = loop.create_future()
            opened.lost.set_result(reason)


class _Pauses:
    """Pauses between tries, longer each time until a try has lasted. State: the next pause, and the try."""

    def __init__(self, longest_s: float, name: str) -> None:
        self._longest_s = longest_s
        self._name = name
        self._pauses_s = backoff(longest_s)
        self._began_s = time.monotonic()

    def begin(self) -> None:
        """Begin a try."""
        self._began_s = time.monotonic()

    async def pause(self, reason: str, *, lost: bool = True) -> None:
        """Wait before the next try; `lost` tells that one has succeeded before."""
        if time.monotonic() - self._began_s > self._longest_s:
            self._pauses_s = backoff(self._longest_s)
        pause_s = next(self._pauses_s)
        event = {"connection": self._name, "reason": reason, "retry_s": round(pause_s, 1)}
        if lost:
            log.warning("broker.lost", **event)
        else:
            log.error("broker.unavailable", **event)
        await asyncio.sleep(pause_s)


async def _ask(connection: AbstractConnection, every_s: float) -> NoReturn:
    """Ask for an answer again and again; raise BrokerUnavailable when none comes.

    Heartbeats alone tell late, and do not tell that what we send arrives.
    """
    with amqp_errors("RabbitMQ does not answer"):
        async with asyncio.timeout(every_s):
            channel = await connection.channel(publisher_confirms=False)
            underlay = await channel.get_underlay_channel()
    end = end_of(underlay)

    async def question() -> None:
        await asyncio.sleep(every_s)
        with amqp_errors("RabbitMQ does not answer"):
            await underlay.connection.ready()  # it reads nothing while it blocks us, and says so
            async with asyncio.timeout(every_s):
                await channel.set_qos(prefetch_count=1)

    while True:
        await _unless(end, question())


async def _unless(end: "asyncio.Future[str]", work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; if `end` comes first, cancel it and raise BrokerUnavailable with that reason."""
    working: asyncio.Future[None] = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {working, end}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise BrokerUnavailable(end.result())
        working.result()
    finally:
        working.cancel()
        await asyncio.wait({working}, timeout=CLOSE_TIMEOUT_S)
