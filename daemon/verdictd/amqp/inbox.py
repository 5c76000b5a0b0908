"""Messages of one queue, fetched one at a time, and only where there is capacity for them."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import aiormq.abc
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from pamqp import commands

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, end_of
from verdictd.errors import BrokerUnavailable

# RabbitMQ 3.10 lets a consumer wait for ever whose quorum queue was deleted and at once declared again.
_LONGEST_WAIT_S = 10


class Inbox:
    """One queue over a channel of its own. State: messages that arrived and were not taken yet.

    Messages are fetched, not pushed: a consumer is sent as many as it may hold at once, suspects among them
    (see `Consumer`), and RabbitMQ counts each delivery. While the queue is empty, a consumer waits for the
    next message, for that one alone.

    Set `news` when a condition may have become true that somebody waits for; `end` resolves with the reason
    when no more messages come.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        underlay: aiormq.abc.AbstractChannel,
        queue: str,
        news: asyncio.Event,
        timeout_s: float,
    ) -> None:
        self._channel = channel
        self._underlay = underlay
        self._queue = queue
        self._timeout_s = timeout_s
        self._arrived: deque[DeliveredMessage] = deque()
        self._news = news
        self.end = end_of(underlay)
        self.end.add_done_callback(lambda _: news.set())

    @classmethod
    async def open(
        cls, connection: AbstractConnection, queue: str, news: asyncio.Event, *, timeout_s: float
    ) -> Self:
        """Open a channel. Every method raises BrokerUnavailable, after `timeout_s` at most."""
        with amqp_errors("cannot consume"):
            async with asyncio.timeout(timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                underlay = await channel.get_underlay_channel()
                await channel.set_qos(prefetch_count=1)
        return cls(channel, underlay, queue, news, timeout_s)

    async def close(self) -> None:
        """Close the channel: RabbitMQ takes back what was delivered over it and is not settled."""
        with suppress(BrokerUnavailable), amqp_errors("cannot close a channel"):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._channel.close()

    async def take(self, unless: Callable[[], bool]) -> DeliveredMessage | None:
        """Return the next message, or None if `unless()` becomes true or nothing arrives in time."""
        if not self._arrived:
            with amqp_errors("cannot fetch"):
                async with asyncio.timeout(self._timeout_s):
                    message = await self._underlay.basic_get(self._queue)
            if not isinstance(message.delivery, commands.Basic.GetEmpty):
                return message
            await self._wait_for_one(unless)
        return self._arrived.popleft() if self._arrived else None

    async def until(self, holds: Callable[[], bool], *, limit_s: float | None = None) -> None:
        """Wait until a condition is true, no more messages come, or `limit_s` has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not (holds() or self.end.done()):
                    self._news.clear()
                    await self._news.wait()

    async def _wait_for_one(self, unless: Callable[[], bool]) -> None:
        """Register a consumer until it has brought a message, or has waited for long."""

        async def receive(message: DeliveredMessage) -> None:
            self._arrived.append(message)
            self._news.set()

        # Not through aio-pika's queue: its messages raise on a delivery mode of 3, which newer
        # versions of RabbitMQ let pass, and such a delivery would reach nobody, never to be settled.
        with amqp_errors("cannot consume"):
            async with asyncio.timeout(self._timeout_s):
                consumer: Any = await self._underlay.basic_consume(self._queue, receive)
        await self.until(lambda: bool(self._arrived) or unless(), limit_s=_LONGEST_WAIT_S)
        if self.end.done():
            raise BrokerUnavailable(self.end.result())
        with amqp_errors("cannot stop to consume"):
            async with asyncio.timeout(self._timeout_s):
                await self._underlay.basic_cancel(consumer.consumer_tag or "")
