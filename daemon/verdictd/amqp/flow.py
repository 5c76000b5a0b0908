"""How much is in work at once: as many messages as there is room for, but a suspect alone."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage

from verdictd.amqp.inbox import Inbox
from verdictd.errors import BrokerUnavailable

_SUSPENDED_LOG_S = 25
_SEEN_MESSAGES = 10_000
_FINGERPRINT_BYTES = 64 * 1024

log = structlog.get_logger()


class Flow:
    """Takes messages while there is room for them.

    A submission can kill the daemon that judges it, and RabbitMQ counts that for all that the daemon had. A
    message that somebody else had before, and did not settle, is a suspect: it is in work alone, and only its
    own count grows if it kills again. What this process has had itself did not kill it, and is no suspect.

    State: what is in work, over all connections; fingerprints of what ever was, the newest last.
    """

    def __init__(self) -> None:
        self.in_work: set[asyncio.Task[None]] = set()
        self.resting = asyncio.Event()
        """Set while nothing is taken."""
        self.resting.set()
        self.news = asyncio.Event()
        """To be set when there may be a reason to take more, or to stop."""
        self._seen: OrderedDict[int, None] = OrderedDict()

    def begin(self, work: Coroutine[Any, Any, None], tasks: asyncio.TaskGroup) -> asyncio.Task[None]:
        """Do work that counts until it ends; raises BrokerUnavailable where the group has ended."""
        try:
            task = tasks.create_task(work)
        except RuntimeError as error:
            work.close()
            raise BrokerUnavailable(f"nothing is begun any more: {error}") from error
        self.in_work.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(
        self,
        source: Inbox,
        start: Callable[[DeliveredMessage], asyncio.Task[None]],
        *,
        room: Callable[[], int],
        stop: asyncio.Event,
        careful: bool,
    ) -> None:
        """Take from a source as much at once as there is `room` for, which is none when `stop` is set.

        Returns then, or when nothing comes any more.
        """
        self.resting.clear()
        log.info("broker.consuming", queue=source.queue, prefetch=room())
        try:
            while not stop.is_set() and not source.end.done():
                if not room():
                    await self._suspend(source, lambda: stop.is_set() or room() > 0)
                elif len(self.in_work) >= room():
                    await source.until(lambda: not room() or len(self.in_work) < room())
                elif message := await source.take(unless=lambda: not room()):
                    alone = careful and self._is_suspect(message)
                    await self._begin(message, source, start, room, alone=alone)
        finally:
            self.resting.set()

    async def _begin(
        self,
        message: DeliveredMessage,
        source: Inbox,
        start: Callable[[DeliveredMessage], asyncio.Task[None]],
        room: Callable[[], int],
        *,
        alone: bool,
    ) -> None:
        """Start work on a message; return when the next one may be taken."""
        if alone:
            log.info("broker.careful", message_id=message.header.properties.message_id)
            await source.until(lambda: not room() or not self.in_work)
        if source.end.done():
            return  # RabbitMQ has taken it back
        self._remember(message)
        task = start(message)
        if alone:
            await source.until(lambda: not room() or task.done())

    async def _suspend(self, source: Inbox, over: Callable[[], bool]) -> None:
        """Take nothing, so that others do, until that is over."""
        self.resting.set()
        while not over() and not source.end.done():
            log.warning("broker.suspended", queue=source.queue)
            again_s = time.monotonic() + _SUSPENDED_LOG_S
            await source.until(lambda: over() or time.monotonic() > again_s)  # noqa: B023
        if not source.end.done():
            self.resting.clear()
            log.info("broker.consuming", queue=source.queue)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.in_work.discard(task)
        self.news.set()

    def _is_suspect(self, message: DeliveredMessage) -> bool:
        return bool(message.redelivered) and _fingerprint(message) not in self._seen

    def _remember(self, message: DeliveredMessage) -> None:
        fingerprint = _fingerprint(message)
        self._seen[fingerprint] = None
        self._seen.move_to_end(fingerprint)
        if len(self._seen) > _SEEN_MESSAGES:
            self._seen.popitem(last=False)


def _fingerprint(message: DeliveredMessage) -> int:
    """What tells a message from others, at a price that does not grow with its size."""
    body = message.body
    ends = body[:_FINGERPRINT_BYTES], body[-_FINGERPRINT_BYTES:]
    return hash((message.header.properties.message_id, len(body), *ends))
