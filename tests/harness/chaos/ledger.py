"""A client that publishes with confirms and keeps every answer, whatever becomes of the broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import FieldTable

from harness.chaos.account import Account, Entry, settle
from harness.chaos.mixture import Case
from support.amqp import SUBMISSIONS, broker_settings
from support.waiting import wait_until
from verdictd.amqp import topology
from verdictd.amqp.connection import amqp_errors, connect, end_of
from verdictd.amqp.delivery import TIMESTAMP_IN_MS
from verdictd.contract.result import Result
from verdictd.errors import BrokerUnavailable

PUBLISH_LIMIT_S: Final = 120
AT_ONCE: Final = 20
DURABLE: Final[FieldTable] = {"x-queue-type": "quorum"}


class Ledger:
    """What was sent, and what was answered to it.

    State: the entries, the message ids of the answers that are in them, and the channel to publish over.
    """

    def __init__(self, url: str) -> None:
        self._settings = broker_settings(url)
        self.queue = f"verdictd.reply.chaos.{uuid.uuid4()}"
        self.entries: dict[str, Entry] = {}
        self.strangers: list[bytes] = []
        """Answers to what was never sent."""
        self.answered = 0
        """Entries that have an answer."""
        self._seen: set[str] = set()
        self._channel: asyncio.Future[AbstractChannel] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        """A ledger with its reply queue; until the block ends it follows the broker through restarts."""
        ledger = cls(url)
        async with connect(ledger._settings, "chaos ledger") as connection:
            await topology.declare(
                connection, ledger._settings, topology.queues(ledger._settings)
            )  # some publish before there is a daemon
        # Two connections: a broker that is short of memory blocks the one that publishes.
        keeping = [asyncio.create_task(ledger._keep(use)) for use in (ledger._consume, ledger._offer)]
        try:
            async with asyncio.timeout(PUBLISH_LIMIT_S):
                await asyncio.shield(ledger._channel)
            yield ledger
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping)

    async def publish(self, case: Case, *, published_ms: int | None = None) -> None:
        """Publish until it is confirmed; each try may have arrived."""
        entry = self.entries[case.id] = Entry(case)
        async with asyncio.timeout(PUBLISH_LIMIT_S):
            while True:
                channel = await asyncio.shield(self._channel)
                entry.published += 1
                with suppress(BrokerUnavailable), amqp_errors("cannot publish"):
                    message = aio_pika.Message(
                        case.body,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        message_id=str(uuid.uuid4()),
                        correlation_id=case.id,
                        reply_to=self.queue,
                        headers={} if published_ms is None else {TIMESTAMP_IN_MS: published_ms},
                    )
                    await channel.default_exchange.publish(message, SUBMISSIONS, timeout=10)
                    return
                await asyncio.sleep(0.2)

    async def publish_all(self, cases: Iterable[Case], *, pause_s: float = 0) -> None:
        """Publish a few at a time, with a pause after each few."""
        left = list(cases)
        while left:
            now, left = left[:AT_ONCE], left[AT_ONCE:]
            await asyncio.gather(*map(self.publish, now))
            await asyncio.sleep(pause_s)

    @property
    def missing(self) -> int:
        """Entries without an answer."""
        return len(self.entries) - self.answered

    async def complete(self, within_s: float) -> None:
        """Wait until all is answered, and a moment longer for what is answered twice."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.missing:
                    await asyncio.sleep(0.02)
        await asyncio.sleep(1)

    async def more_answers(self, count: int, within_s: float) -> float:
        """Wait until so many more submissions are answered, or all are; the seconds that it took."""
        wanted = self.answered + count
        return await wait_until(lambda: self.answered >= wanted or not self.missing, within_s)

    def account(self, starts: dict[str, int]) -> Account:
        """Balance the books."""
        return settle(self.entries.values(), starts)

    def boxes(self) -> set[int | None]:
        """The boxes that the answers come from."""
        return {answer.worker.box for entry in self.entries.values() for answer in entry.answers}

    def forget(self) -> None:
        """Begin anew: what was sent so far was taken out of the queue again."""
        self.entries.clear()
        self.answered = 0

    async def _keep(self, use: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        """Open a channel for one use, and another one whenever it is lost."""
        while True:
            with suppress(BrokerUnavailable):
                async with connect(self._settings, "chaos ledger") as connection:
                    with amqp_errors("the ledger"):
                        channel = await connection.channel(on_return_raises=True)
                        lost = end_of(await channel.get_underlay_channel())
                        await channel.declare_queue(self.queue, durable=True, arguments=DURABLE, timeout=10)
                        await use(channel)
                        await lost
            await asyncio.sleep(0.2)

    async def _offer(self, channel: AbstractChannel) -> None:
        self._channel.set_result(channel)
        try:
            await end_of(await channel.get_underlay_channel())
        finally:
            self._channel = asyncio.get_running_loop().create_future()

    async def _consume(self, channel: AbstractChannel) -> None:
        await (await channel.get_queue(self.queue, ensure=False)).consume(self._take, timeout=10)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        """Keep an answer; one that RabbitMQ delivers again, as our acknowledgement was lost, is the same."""
        name = message.message_id or ""
        if name not in self._seen:
            self._seen.add(name)
            self._enter(message)
        with suppress(BrokerUnavailable), amqp_errors("cannot acknowledge"):
            await message.ack()

    def _enter(self, message: AbstractIncomingMessage) -> None:
        entry = self.entries.get(message.correlation_id or "")
        if entry is None:
            self.strangers.append(message.body)
            return
        self.answered += not entry.answers
        entry.answers.append(Result.model_validate_json(message.body))
