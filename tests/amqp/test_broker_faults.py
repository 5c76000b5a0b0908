"""The broker when RabbitMQ goes away, freezes or runs out of memory: late perhaps, but nothing is lost."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from support.amqp import (
    RESULTS,
    SUBMISSIONS,
    accept,
    broker_settings,
    connected,
    consuming,
    declare,
    make_delivery,
    peer,
)
from support.broker import vhost
from support.manual import Operator
from support.proxy import Proxy
from support.rabbitmq import PrivateBroker
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp import topology
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


async def test_lost_connection_cancels_no_work_and_its_reply_arrives(
    shared_broker: Operator, amqp_url: str
) -> None:
    """Work goes on without a connection, its reply goes out over the next; RabbitMQ delivers it once more."""
    seen: list[Delivery] = []
    release = asyncio.Event()
    async with connected(broker_settings(amqp_url)) as broker:

        async def answer(delivery: Delivery) -> Settlement:
            seen.append(delivery)
            if not delivery.redelivered:
                await release.wait()
                await broker.reply(b"late", delivery=delivery, submission_id="s-1")
            return Settlement.ACK

        async with consuming(broker, answer):
            async with peer(amqp_url) as sender:
                await sender.publish(SUBMISSIONS)
                await wait_until(lambda: len(seen) == 1)
            shared_broker.broker.close_connections(vhost(amqp_url))
            await wait_until(lambda: not broker.connected or len(seen) == 2)
            release.set()
            async with peer(amqp_url) as reader:
                reply = await reader.take(RESULTS)
            await wait_until(lambda: len(seen) == 2)

    assert b"late" == reply.body
    assert [(1, False), (2, True)] == [(delivery.attempt, delivery.redelivered) for delivery in seen]


async def test_lost_publishing_connection_redelivers_nothing(shared_broker: Operator, amqp_url: str) -> None:
    """What is consumed and what is published fail apart."""
    seen: list[Delivery] = []
    release = asyncio.Event()
    async with connected(broker_settings(amqp_url)) as broker:

        async def answer(delivery: Delivery) -> Settlement:
            seen.append(delivery)
            await release.wait()
            await broker.reply(b"late", delivery=delivery, submission_id="s-1")
            return Settlement.ACK

        async with consuming(broker, answer), peer(amqp_url) as client:
            await client.publish(SUBMISSIONS)
            await wait_until(lambda: len(seen) == 1)
            shared_broker.broker.close_connections(vhost(amqp_url), "verdictd publish")
            release.set()
            reply = await client.take(RESULTS)

    assert b"late" == reply.body
    assert [1] == [delivery.attempt for delivery in seen]


async def test_deleted_queue_is_consumed_again_within_15_s(amqp_url: str) -> None:
    """A consumer that RabbitMQ cancels is noticed; the queue is declared again, as it was."""
    seen: list[bytes] = []

    async def see(delivery: Delivery) -> Settlement:
        seen.append(delivery.body)
        return Settlement.ACK

    async with (
        connected(broker_settings(amqp_url)) as broker,
        consuming(broker, see),
        peer(amqp_url) as operator,
    ):
        await operator.channel.queue_delete(SUBMISSIONS)
        await wait_until(lambda: not broker.consuming)
        await wait_until(lambda: broker.consuming, within_s=15)
        await operator.publish(SUBMISSIONS, b"s-1")
        await wait_until(lambda: seen)
        await operator.until_waiting(SUBMISSIONS, 0)

    assert [b"s-1"] == seen


@pytest.mark.parametrize("times", [2, 3])
async def test_replaced_queue_is_consumed_again_within_15_s(amqp_url: str, times: int) -> None:
    """RabbitMQ mostly does not tell a consumer that its queue went, where others take its place at once."""
    arguments = dict(topology.queues(broker_settings(amqp_url))[SUBMISSIONS])
    async with (
        connected(broker_settings(amqp_url)) as broker,
        consuming(broker, accept),
        peer(amqp_url) as operator,
    ):
        await asyncio.sleep(0.5)  # until it waits for the next message
        for _ in range(times):
            await operator.channel.queue_delete(SUBMISSIONS)
            await operator.channel.declare_queue(SUBMISSIONS, durable=True, arguments=arguments)
        await operator.publish(SUBMISSIONS)
        async with asyncio.timeout(15):
            await operator.until_waiting(SUBMISSIONS, 0)


async def test_frozen_broker_is_left_by_heartbeat_and_found_again(rabbitmq: PrivateBroker) -> None:
    """A connection that hangs ends by its heartbeat; a reply whose confirm it swallowed is sent again."""
    url = rabbitmq.fresh_vhost()
    pid = int(rabbitmq.evaluate("os:getpid()").strip('"'))
    await declare(url)
    settings = broker_settings(url, heartbeat_s=1, connect_timeout_s=2)
    async with connected(settings) as broker, consuming(broker, accept):
        async with frozen(pid):
            reply = asyncio.create_task(broker.reply(b"kept", delivery=make_delivery(), submission_id="s-1"))
            await wait_until(lambda: not broker.connected and not broker.consuming, within_s=15)
            waits = not reply.done()
        await asyncio.wait_for(reply, LIMIT_S)
        await wait_until(lambda: broker.consuming, within_s=20)
        async with peer(url) as reader:
            body = (await reader.take(RESULTS)).body

    assert (True, b"kept") == (waits, body)


async def test_reply_whose_confirm_was_lost_is_sent_again_and_says_so(amqp_url: str) -> None:
    """RabbitMQ has the result, but the connection ends before it can say so: the second one is marked."""
    async with (
        Proxy.open(amqp_url) as proxy,
        connected(broker_settings(proxy.url)) as broker,
        peer(amqp_url) as reader,
    ):
        proxy.stall(to_broker=False)

        async def again() -> bytes:
            return b"again"

        reply = asyncio.create_task(
            broker.reply(b"first", delivery=make_delivery(), submission_id="s-1", again=again)
        )
        await reader.until_waiting(RESULTS, 1)
        proxy.cut()
        proxy.heal()
        await asyncio.wait_for(reply, LIMIT_S)
        bodies = [(await reader.take(RESULTS)).body for _ in range(2)]

    assert [b"first", b"again"] == bodies


async def test_memory_alarm_delays_replies_and_no_settlement(rabbitmq: PrivateBroker) -> None:
    """RabbitMQ blocks who publishes while it is short of memory; acknowledgements go their own way."""
    url = rabbitmq.fresh_vhost()
    async with connected(broker_settings(url)) as broker, peer(url) as client:
        await client.publish_all(SUBMISSIONS, [b"{}"] * 5)
        async with rabbitmq.memory_alarm():
            reply = asyncio.create_task(broker.reply(b"kept", delivery=make_delivery(), submission_id="s-1"))
            async with consuming(broker, accept):
                await client.until_waiting(SUBMISSIONS, 0)
            waits = not reply.done()
        await asyncio.wait_for(reply, LIMIT_S)
        bodies = [(await client.take(RESULTS)).body]
        copies = await client.count(RESULTS)

    assert (True, [b"kept"], 0) == (waits, bodies, copies)


@pytest.mark.parametrize("reply_to", [RESULTS, "verdictd.reply.a"])
async def test_reply_is_given_up_after_its_timeout_in_all(amqp_url: str, reply_to: str) -> None:
    """A broker that does not come back holds no submission for ever."""
    async with (
        reachable(amqp_url) as (url, go_away),
        connected(broker_settings(url), reply_timeout_s=0.5) as broker,
    ):
        await go_away()
        with pytest.raises(BrokerUnavailable) as failure:
            await broker.reply(b"{}", delivery=make_delivery(reply_to=reply_to), submission_id="s-1")

    assert f"no confirm from {reply_to!r} in 0.5 s" == str(failure.value)


async def test_stop_without_a_connection_ends_at_once(amqp_url: str) -> None:
    """A daemon can be stopped while its broker is away."""
    async with reachable(amqp_url) as (url, go_away), connected(broker_settings(url)) as broker:
        async with consuming(broker, accept) as stop:
            await go_away()
            await wait_until(lambda: not broker.consuming and not broker.connected)
            stop.set()
        state = repr(broker.consumer)

    assert f"<Consumer of {SUBMISSIONS}: not connected, not consuming, 0 in flight>" == state


@asynccontextmanager
async def reachable(url: str) -> AsyncIterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """A URL of the broker, and what makes the broker go away for whoever uses that."""
    async with AsyncExitStack() as until:
        proxy = await until.enter_async_context(Proxy.open(url))
        yield proxy.url, until.aclose


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
