"""Messages of one queue or several, fetched one at a time, and only where there is capacity for them."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from verdictd.amqp.backlog import Backlog
from verdictd.amqp.connection import end_of, underlay
from verdictd.amqp.delivery import Settlement, settle
from verdictd.amqp.reader import Reader
from verdictd.amqp.turns import Turns
from verdictd.errors import BrokerUnavailable

# RabbitMQ 3.10 lets a consumer wait for ever whose quorum queue was deleted and at once declared again.
_LONGEST_WAIT_S = 10
_PLENTY = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """A message, its queue and its reader; if it was waited for, what is set once that consumer ended."""

    queue: str
    message: DeliveredMessage
    reader: Reader
    silent: asyncio.Event | None = None

    async def settle(self, settlement: Settlement, *, timeout_s: float) -> bool:
        """Settle the message; return False if RabbitMQ has taken it back meanwhile."""
        if self.silent is not None:
            await self.silent.wait()  # or that consumer would be sent the next one
        told = await settle(self.message, settlement, self.queue, timeout_s=timeout_s)
        await self.reader.settled()
        return told


class Inbox:
    """Queues with their weights, each over a channel of its own.

    Messages are fetched, not pushed: a consumer is sent as many as it may hold at once, suspects among them
    (see `Consumer`), and RabbitMQ counts each delivery. While all queues are empty, a consumer of each waits
    for its next message, for that one alone.

    State: messages that arrived and were not taken yet, and who waits. Set `news` when a condition may have
    become true that somebody waits for; `end` resolves with the reason when no more messages come.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        weights: Mapping[str, int],
        backlog: Backlog,
        news: asyncio.Event,
        *,
        timeout_s: float,
    ) -> None:
        """Every method raises BrokerUnavailable, after `timeout_s` at most, and so does this."""
        self._connection = underlay(connection)
        self._turns = Turns(weights)
        self._backlog = backlog
        self._timeout_s = timeout_s
        self._arrived: deque[Taken] = deque()
        self._readers: dict[str, Reader] = {}
        self.plenty = False
        """True while many messages are left in the queue that was fetched from."""
        self._news = news
        self.end = end_of(self._connection)
        self.end.add_done_callback(lambda _: news.set())

    async def close(self) -> None:
        """Close the channels: RabbitMQ takes back what was delivered over them and is not settled."""
        await asyncio.gather(*(reader.close() for reader in self._readers.values()))

    async def take(self, unless: Callable[[], bool]) -> Taken | None:
        """Return the next message, or None if `unless()` becomes true or nothing arrives in time.

        More may arrive until `rest` is called: one from each queue that is empty.
        """
        if not self._arrived:
            await self._withdraw(lambda reader: not reader.waiting or reader.idle_for(_LONGEST_WAIT_S))
        if not self._arrived and not await self._fetch():
            await self._wait_for_one(unless)
        if not self._arrived:
            return None
        taken = self._arrived.popleft()
        self._turns.took(taken.queue)
        return taken

    async def rest(self) -> None:
        """Let no more messages arrive, and put those back that arrived beside the one that was taken."""
        await self._withdraw(lambda _: True)
        while self._arrived:
            await self._arrived.popleft().settle(Settlement.REQUEUE, timeout_s=self._timeout_s)

    async def until(self, holds: Callable[[], bool], *, limit_s: float | None = None) -> None:
        """Wait until a condition is true, no more messages come, or `limit_s` has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not (holds() or self.end.done()):
                    self._news.clear()
                    await self._news.wait()

    async def _fetch(self) -> bool:
        """Ask one queue after the other; return False if all are empty."""
        for queue in self._idle():
            reader = await self._reader(queue)
            message = await reader.fetch()
            if message:
                self.plenty = (message.message_count or 0) >= _PLENTY
                self._arrived.append(Taken(queue, message, reader))
                return True
            self.plenty = False
            self._backlog.emptied(queue)
        return False

    async def _wait_for_one(self, unless: Callable[[], bool]) -> None:
        """Wait on all queues until one has brought a message, or nothing came for long.

        Its consumer is withdrawn later, so that work on the message begins at once.
        """
        for queue in self._idle():
            if self._arrived:
                return
            await (await self._reader(queue)).wait()
        await self.until(lambda: bool(self._arrived) or unless(), limit_s=_LONGEST_WAIT_S)
        if self.end.done():
            raise BrokerUnavailable(self.end.result())

    async def _reader(self, queue: str) -> Reader:
        """Return the reader of a queue, or a new one."""
        if queue in self._readers:
            return self._readers[queue]

        def arrive(message: DeliveredMessage) -> None:
            self._backlog.emptied(queue)
            self._arrived.append(Taken(queue, message, reader, reader.silent))
            self._news.set()

        def ended(reason: str) -> None:
            if not self.end.done():
                self.end.set_result(reason)

        reader = await Reader.open(
            self._connection, queue, arrive=arrive, ended=ended, timeout_s=self._timeout_s
        )
        self._readers[queue] = reader
        return reader

    def _idle(self) -> list[str]:
        """Return the queues without a consumer; the others were empty, or have just brought a message."""
        return [
            queue
            for queue in self._turns
            if queue not in self._readers or self._readers[queue].silent.is_set()
        ]

    async def _withdraw(self, which: Callable[[Reader], bool]) -> None:
        for queue, reader in list(self._readers.items()):
            if which(reader) and not await reader.withdraw():
                del self._readers[queue]
