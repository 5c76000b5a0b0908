"""Several queues with weights: shares, loans, suspects and dead letters, on a real RabbitMQ."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from support.amqp import (
    SUBMISSIONS,
    DaemonSide,
    accept,
    broker_settings,
    connect_once,
    connected,
    consuming,
    handled,
    peer,
)
from support.waiting import wait_until
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.settings import BrokerSettings

pytestmark = pytest.mark.anyio

CONTEST = "verdictd.contest"


def two_queues(contest_weight: int = 1) -> dict[str, Any]:
    """Settings of a heavy and a light queue."""
    return {"queues": [{"name": CONTEST, "weight": contest_weight}, {"name": SUBMISSIONS}]}


class Gate:
    """Handler that keeps each delivery until it is let through. State: those that have begun, in order."""

    def __init__(self) -> None:
        self.begun: list[Delivery] = []
        self._may_end = asyncio.Semaphore(0)

    async def handle(self, delivery: Delivery) -> Settlement:
        self.begun.append(delivery)
        await self._may_end.acquire()
        return Settlement.ACK

    async def until_begun(self, count: int) -> None:
        """Wait until so many have begun."""
        await wait_until(lambda: len(self.begun) == count)

    def let(self, count: int) -> None:
        """Let so many deliveries end."""
        for _ in range(count):
            self._may_end.release()


@asynccontextmanager
async def daemons(url: str, count: int, gate: Gate, prefetch: int) -> AsyncIterator[list[DaemonSide]]:
    """So many daemons on the two queues, which are idle when the block begins."""
    async with AsyncExitStack() as until:
        settings = broker_settings(url, **two_queues())
        sides = [await until.enter_async_context(connected(settings)) for _ in range(count)]
        for side in sides:
            await until.enter_async_context(consuming(side, gate.handle, prefetch=prefetch))
        until.callback(gate.let, 1_000)
        yield sides


async def declared(url: str, **changes: Any) -> BrokerSettings:
    settings = broker_settings(url, **changes)
    await connect_once(settings)
    return settings


@pytest.mark.parametrize("weight", [8, 3])
async def test_queues_that_never_run_empty_are_taken_by_weight(amqp_url: str, weight: int) -> None:
    """Within a tenth of the proportion of their weights, whatever the number in flight."""
    settings = await declared(amqp_url, **two_queues(weight))
    gate, each = Gate(), 60
    async with connected(settings) as side, peer(amqp_url) as client:
        for queue in (CONTEST, SUBMISSIONS):
            await client.publish_all(queue, [b"{}"] * each)
        async with consuming(side, gate.handle, prefetch=3) as stop:
            gate.let(51)
            await gate.until_begun(54)
            stop.set()
            gate.let(3)
    taken = Counter(delivery.queue for delivery in gate.begun)

    assert weight == pytest.approx(taken[CONTEST] / taken[SUBMISSIONS], rel=0.1)


async def test_idle_queue_lends_its_share_and_has_the_next_turn(amqp_url: str) -> None:
    """The light queue has all places while the heavy one is empty, whose first message is the next one."""
    settings = await declared(amqp_url, **two_queues(8))
    gate = Gate()
    async with connected(settings) as side, peer(amqp_url) as client:
        await client.publish_all(SUBMISSIONS, [b"{}"] * 20)
        async with consuming(side, gate.handle, prefetch=2):
            gate.let(5)
            await gate.until_begun(7)
            await client.publish(CONTEST)
            gate.let(1)
            await gate.until_begun(8)
            queues = [delivery.queue for delivery in gate.begun]
            gate.let(20)
            await gate.until_begun(21)

    assert [SUBMISSIONS] * 7 + [CONTEST] == queues


async def test_idle_daemon_takes_what_arrives_on_any_queue(amqp_url: str) -> None:
    """It waits on all of them at once, again and again."""
    async with handled(amqp_url, accept, **two_queues(8)) as (sender, seen):
        for number in range(6):
            await sender.publish((CONTEST, SUBMISSIONS)[number % 2], b"%d" % number)
            await sender.until_waiting(CONTEST, 0)
            await sender.until_waiting(SUBMISSIONS, 0)
        await wait_until(lambda: len(seen) == 6)

    assert [(b"%d" % number, 1) for number in range(6)] == [(one.body, one.attempt) for one in seen]


async def test_no_message_waits_in_a_daemon_while_another_is_idle(amqp_url: str) -> None:
    """Two idle daemons of one place each, and a message on each queue at the same moment, many times."""
    gate = Gate()
    async with daemons(amqp_url, 2, gate, prefetch=1), peer(amqp_url) as client:
        for times in range(1, 11):
            await asyncio.gather(client.publish(CONTEST), client.publish(SUBMISSIONS))
            await gate.until_begun(2 * times)
            gate.let(2)

    assert {1, 2} >= {delivery.attempt for delivery in gate.begun}


async def test_suspects_of_all_queues_are_in_work_alone(amqp_url: str) -> None:
    """What a dead neighbour held is in work alone, from whichever queue it comes."""
    settings = await declared(amqp_url, **two_queues())
    together: dict[bytes, int] = {}
    in_work: set[bytes] = set()

    async def handle(delivery: Delivery) -> Settlement:
        in_work.add(delivery.body)
        await asyncio.sleep(0.05)
        together[delivery.body] = len(in_work)
        in_work.discard(delivery.body)
        return Settlement.ACK

    bodies = {CONTEST: [b"c-1", b"c-2"], SUBMISSIONS: [b"s-1", b"s-2"]}
    async with connected(settings) as side, peer(amqp_url) as client, peer(amqp_url) as dies:
        for queue, own in bodies.items():
            await client.publish_all(queue, own)
            reader = await dies.channel.get_queue(queue, ensure=False)
            for _ in own:
                await reader.get()
        async with consuming(side, handle, prefetch=4):
            await asyncio.sleep(0.2)  # until it waits for a message of each queue
            await dies.channel.close()
            await wait_until(lambda: len(together) == 4)

    assert [1] * 4 == [*together.values()]


async def test_each_queue_has_dead_letters_of_its_own(amqp_url: str) -> None:
    """Of the queue that the settings name first of all, where the settings say; else beside it."""

    async def give_up(_: Delivery) -> Settlement:
        return Settlement.DEAD_LETTER

    async with handled(amqp_url, give_up, **two_queues()) as (sender, seen):
        await asyncio.gather(sender.publish(CONTEST, b"c"), sender.publish(SUBMISSIONS, b"s"))
        dead = [(await sender.take(queue)).body for queue in ("verdictd.contest.dead", "verdictd.dead")]

    assert [b"c", b"s"] == dead
    assert {CONTEST, SUBMISSIONS} == {delivery.queue for delivery in seen}


@pytest.mark.parametrize(("waiting", "held"), [(10, 1), (150, 3)])
async def test_reserve_is_held_only_while_many_wait(amqp_url: str, waiting: int, held: int) -> None:
    """With few in the queue, each is left for the daemon that is idle next."""
    settings = await declared(amqp_url)
    gate = Gate()
    async with connected(settings) as side, peer(amqp_url) as client:
        await client.publish_all(SUBMISSIONS, [b"{}"] * waiting)
        async with consuming(side, gate.handle, prefetch=1, reserve=2) as stop:
            await client.until_waiting(SUBMISSIONS, waiting - held)
            await asyncio.sleep(0.1)
            left = await client.count(SUBMISSIONS)
            stop.set()
            gate.let(held)

    assert waiting - held == left


async def test_message_that_was_waited_for_is_settled_while_the_next_is_waited_for(amqp_url: str) -> None:
    """At once, and not when the next one comes: it would be delivered again after a death meanwhile."""
    gate = Gate()
    async with daemons(amqp_url, 1, gate, prefetch=2) as (side,), peer(amqp_url) as client:
        await client.publish(SUBMISSIONS)
        await gate.until_begun(1)
        await asyncio.sleep(0.2)  # until it waits for the next one
        gate.let(1)
        took_s = await wait_until(lambda: not side.consumer.in_flight)

    assert took_s < 5


async def test_messages_that_come_on_all_queues_at_once_are_settled_at_once(amqp_url: str) -> None:
    """Or at nearly the same moment: one may arrive while the other queue is asked for what is there."""
    gate = Gate()
    gate.let(1_000)
    async with daemons(amqp_url, 1, gate, prefetch=4) as (side,), peer(amqp_url) as client:
        for times in range(1, 31):
            first = asyncio.create_task(client.publish(CONTEST))
            await asyncio.sleep(times * 0.000_3)
            await asyncio.gather(first, client.publish(SUBMISSIONS))
            await gate.until_begun(2 * times)
            await wait_until(lambda: not side.consumer.in_flight)
