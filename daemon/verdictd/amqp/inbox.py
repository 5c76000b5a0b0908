"""Messages of one queue or several, fetched one at a time, and only where there is capacity for them."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import aiormq.abc
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from pamqp import commands

from verdictd.amqp.backlog import Backlog
from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, end_of
from verdictd.amqp.delivery import Settlement, settle
from verdictd.amqp.turns import Turns
from verdictd.amqp.waiter import Waiter
from verdictd.errors import BrokerUnavailable

# RabbitMQ 3.10 lets a consumer wait for ever whose quorum queue was deleted and at once declared again.
_LONGEST_WAIT_S = 10
_PLENTY = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """A message and its queue; if it was waited for, by whom, and what is set once that consumer ended."""

    queue: str
    message: DeliveredMessage
    waiter: Waiter | None = None
    silent: asyncio.Event | None = None

    async def settle(self, settlement: Settlement, *, timeout_s: float) -> bool:
        """Settle the message; return False if RabbitMQ has taken it back meanwhile."""
        if self.silent is not None:
            await self.silent.wait()  # or that consumer would be sent the next one
        told = await settle(self.message, settlement, self.queue, timeout_s=timeout_s)
        if self.waiter is not None:
            await self.waiter.settled()
        return told


class Inbox:
    """Queues with their weights, over a channel of their own.

    Messages are fetched, not pushed: a consumer is sent as many as it may hold at once, suspects among them
    (see `Consumer`), and RabbitMQ counts each delivery. While all queues are empty, a consumer of each waits
    for its next message, for that one alone.

    State: messages that arrived and were not taken yet, and who waits. Set `news` when a condition may have
    become true that somebody waits for; `end` resolves with the reason when no more messages come.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        underlay: aiormq.abc.AbstractChannel,
        weights: Mapping[str, int],
        backlog: Backlog,
        news: asyncio.Event,
        *,
        timeout_s: float,
    ) -> None:
        self._channel = channel
        self._underlay = underlay
        self._turns = Turns(weights)
        self._backlog = backlog
        self._timeout_s = timeout_s
        self._arrived: deque[Taken] = deque()
        self._waiters: dict[str, Waiter] = {}
        self.plenty = False
        """True while many messages are left in the queue that was fetched from."""
        self._news = news
        self.end = end_of(underlay)
        self.end.add_done_callback(lambda _: news.set())

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        weights: Mapping[str, int],
        backlog: Backlog,
        news: asyncio.Event,
        *,
        timeout_s: float,
    ) -> Self:
        """Open a channel. Every method raises BrokerUnavailable, after `timeout_s` at most."""
        with amqp_errors("cannot consume"):
            async with asyncio.timeout(timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                underlay = await channel.get_underlay_channel()
        return cls(channel, underlay, weights, backlog, news, timeout_s=timeout_s)

    async def close(self) -> None:
        """Close the channels: RabbitMQ takes back what was delivered over them and is not settled."""
        await asyncio.gather(*(waiter.close() for waiter in self._waiters.values()))
        with suppress(BrokerUnavailable), amqp_errors("cannot close a channel"):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._channel.close()

    async def take(self, unless: Callable[[], bool]) -> Taken | None:
        """Return the next message, or None if `unless()` becomes true or nothing arrives in time.

        More may arrive until `rest` is called: one from each queue that is empty.
        """
        if not self._arrived:
            await self._withdraw(lambda waiter: not waiter.waiting or waiter.waited_s > _LONGEST_WAIT_S)
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
            with amqp_errors("cannot fetch"):
                async with asyncio.timeout(self._timeout_s):
                    message = await self._underlay.basic_get(queue)
            self.plenty = (message.message_count or 0) >= _PLENTY
            if not isinstance(message.delivery, commands.Basic.GetEmpty):
                self._arrived.append(Taken(queue, message))
                return True
            self._backlog.emptied(queue)
        return False

    async def _wait_for_one(self, unless: Callable[[], bool]) -> None:
        """Wait on all queues until one has brought a message, or nothing came for long.

        Its consumer is withdrawn later, so that work on the message begins at once.
        """
        for queue in self._idle():
            if self._arrived:
                return
            await (self._waiters.get(queue) or await self._open_waiter(queue)).wait()
        await self.until(lambda: bool(self._arrived) or unless(), limit_s=_LONGEST_WAIT_S)
        if self.end.done():
            raise BrokerUnavailable(self.end.result())

    async def _open_waiter(self, queue: str) -> Waiter:
        def arrive(message: DeliveredMessage) -> None:
            self._backlog.emptied(queue)
            self._arrived.append(Taken(queue, message, waiter, waiter.silent))
            self._news.set()

        def ended(reason: str) -> None:
            if not self.end.done():
                self.end.set_result(reason)

        waiter = await Waiter.open(
            self._underlay.connection, queue, arrive=arrive, ended=ended, timeout_s=self._timeout_s
        )
        self._waiters[queue] = waiter
        return waiter

    def _idle(self) -> list[str]:
        """Return the queues without a consumer; the others were empty, or have just brought a message."""
        return [
            queue
            for queue in self._turns
            if queue not in self._waiters or self._waiters[queue].silent.is_set()
        ]

    async def _withdraw(self, which: Callable[[Waiter], bool]) -> None:
        for queue, waiter in list(self._waiters.items()):
            if which(waiter) and not await waiter.withdraw():
                del self._waiters[queue]
