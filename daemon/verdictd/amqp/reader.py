"""Reader: one queue over a channel of its own: its messages are fetched, and the next one is waited for."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import aiormq.abc
from aiormq.abc import DeliveredMessage
from pamqp import commands

from verdictd.amqp.connection import CLOSE_TIMEOUT_S, amqp_errors, end_of


class Reader:
    """Fetches messages of a queue, or waits for the next one, for that one alone, and again after that.

    All of them come over one channel. RabbitMQ ends the channels of a lost connection one by one: what is
    taken back from the first would be delivered to a consumer over the second, and counted twice.

    RabbitMQ 3.10 may have sent a message to a consumer that is being cancelled: nobody gets it then, as long
    as the channel is open. So a consumer that has brought a message is cancelled before that is settled, and
    one that has brought none ends with its channel, once all is settled that came over it.

    State: the tag of the consumer, since when it waits, whether it has brought a message, how many messages
    are not settled, and whether this is over. `silent` is set once the consumer that was registered last has
    ended; there is a new one for each.
    """

    def __init__(
        self,
        channel: aiormq.abc.AbstractChannel,
        queue: str,
        arrive: Callable[[DeliveredMessage], None],
        timeout_s: float,
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._arrive = arrive
        self._timeout_s = timeout_s
        self._tag = ""
        self._since_s = 0.0
        self._brought = False
        self._unsettled = 0
        self._over = False
        self.silent = asyncio.Event()
        self.silent.set()

    @classmethod
    async def open(
        cls,
        connection: aiormq.abc.AbstractConnection,
        queue: str,
        *,
        arrive: Callable[[DeliveredMessage], None],
        ended: Callable[[str], None],
        timeout_s: float,
    ) -> Self:
        """Open a channel; `ended` gets the reason if RabbitMQ ends it, or its consumer.

        This, `fetch`, `wait` and `withdraw` raise BrokerUnavailable, after `timeout_s` at most.
        """
        with amqp_errors("cannot consume"):
            async with asyncio.timeout(timeout_s):
                channel = await connection.channel(publisher_confirms=False)
                await channel.basic_qos(prefetch_count=1)
        reader = cls(channel, queue, arrive, timeout_s)
        end_of(channel).add_done_callback(lambda end: None if reader._over else ended(end.result()))
        return reader

    @property
    def waiting(self) -> bool:
        """True while it may be sent a message."""
        return not (self.silent.is_set() or self._brought)

    def idle_for(self, seconds: float) -> bool:
        """Return True if it waits for so long, and nothing that came this way is left to be settled."""
        return self.waiting and not self._unsettled and time.monotonic() - self._since_s > seconds

    async def fetch(self) -> DeliveredMessage | None:
        """Return a message that waits in the queue; None if there is none."""
        with amqp_errors("cannot fetch"):
            async with asyncio.timeout(self._timeout_s):
                message = await self._channel.basic_get(self._queue)
        if isinstance(message.delivery, commands.Basic.GetEmpty):
            return None
        self._unsettled += 1
        return message

    async def wait(self) -> None:
        """Register the consumer."""
        self._brought = False
        self.silent = asyncio.Event()
        self._since_s = time.monotonic()
        # Not through aio-pika's queue: its messages raise on a delivery mode of 3, which newer
        # versions of RabbitMQ let pass, and such a delivery would reach nobody, never to be settled.
        with amqp_errors("cannot consume"):
            async with asyncio.timeout(self._timeout_s):
                consumer = await self._channel.basic_consume(self._queue, self._receive)
        self._tag = consumer.consumer_tag or ""

    async def withdraw(self) -> bool:
        """End the consumer if one is registered; return False if the channel is of no more use."""
        if self.silent.is_set():
            return True
        try:
            if self._brought or self._unsettled:
                with amqp_errors("cannot stop to consume"):
                    async with asyncio.timeout(self._timeout_s):
                        await self._channel.basic_cancel(self._tag)
            self._over = not self._brought
            if self._over and not self._unsettled:
                await self.close()
        finally:
            self.silent.set()
        return not self._over

    async def settled(self) -> None:
        """Note that RabbitMQ was told what becomes of a message that came this way."""
        self._unsettled -= 1
        if self._over and not self._unsettled:
            await self.close()

    async def close(self) -> None:
        """Close the channel: RabbitMQ takes back what was sent over it and is not settled."""
        self._over = True
        self.silent.set()
        with suppress(Exception), amqp_errors("cannot close a channel"):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._channel.close()

    async def _receive(self, message: DeliveredMessage) -> None:
        if not self._over:  # otherwise it goes back with the channel
            self._brought = True
            self._unsettled += 1
            self._arrive(message)
