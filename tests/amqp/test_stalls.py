"""A network that stalls: it is noticed, said, and left behind; nothing waits for it for ever."""

import asyncio
import time
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from support.amqp import (
    RESULTS,
    SUBMISSIONS,
    DaemonSide,
    broker_settings,
    connected,
    consuming,
    declare,
    peer,
)
from support.broker import Broker
from support.proxy import HEADER, Proxy, method
from support.waiting import wait_until
from verdictd.amqp.delivery import Delivery, Settlement

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

HEARTBEAT_S = 2
NOTICED_S = 3 * HEARTBEAT_S + 2  # the rest is for a busy machine
WAYS = {
    "both ways": {"to_broker": True, "to_client": True},
    "what we send": {"to_broker": True, "to_client": False},
    "what we get": {"to_broker": False, "to_client": True},
}
MOMENTS = {
    "the greeting": HEADER,
    "connection.open": method(10, 40),
    "channel.open": method(20, 10),
    "queue.declare": method(50, 10),
    "basic.qos": method(60, 10),
    "basic.get": method(60, 70),
    "basic.consume": method(60, 20),
    "basic.cancel": method(60, 30),
    "basic.publish": method(60, 40),
    "basic.ack": method(60, 80),
}


def settings_over(proxy: Proxy) -> Any:
    return broker_settings(proxy.url, heartbeat_s=HEARTBEAT_S, connect_timeout_s=2, publish_timeout_s=2)


def answering(broker: DaemonSide) -> Any:
    async def answer(delivery: Delivery) -> Settlement:
        await broker.reply(delivery.body, delivery=delivery, submission_id=delivery.body.decode())
        return Settlement.ACK

    return answer


@pytest.mark.slow
async def test_stall_is_noticed_within_three_heartbeats(broker: Broker) -> None:
    """Whichever way the network fails the connections are given up, and opened again when it is back."""
    async with asyncio.TaskGroup() as tasks:
        stalls = {
            f"{way}, {'busy' if busy else 'idle'}": tasks.create_task(
                stalled(broker.fresh_vhost(), busy=busy, **ways)
            )
            for way, ways in WAYS.items()
            for busy in (False, True)
        }
    took_s = {name: stall.result() for name, stall in stalls.items()}

    assert {} == {name: noticed_s for name, (noticed_s, _) in took_s.items() if noticed_s > NOTICED_S}
    assert {} == {name: back_s for name, (_, back_s) in took_s.items() if back_s > 20}


async def stalled(url: str, *, busy: bool, to_broker: bool, to_client: bool) -> tuple[float, float]:
    """The seconds until a stall is noticed, and those from its end until all is well."""
    await declare(url)
    async with (
        Proxy.open(url) as proxy,
        connected(settings_over(proxy)) as broker,
        consuming(broker, answering(broker)),
    ):
        proxy.stall(to_broker=to_broker, to_client=to_client)
        async with peer(url) as client:
            publishing = asyncio.create_task(client.publish(SUBMISSIONS, b"s-1")) if busy else None
            noticed_s = await wait_until(lambda: not broker.consuming and not broker.connected)
            proxy.heal()
            back_s = await wait_until(lambda: broker.consuming and broker.connected)
            await (publishing or client.publish(SUBMISSIONS, b"s-1"))
            reply = await client.take(RESULTS)

    assert b"s-1" == reply.body
    return noticed_s, back_s


@pytest.mark.slow
async def test_stall_in_the_middle_of_anything_ends(broker: Broker) -> None:
    """Every question has a limit: after the stall all submissions are answered, and a stop is not held up."""
    async with asyncio.TaskGroup() as tasks:
        stalls = {
            moment: tasks.create_task(stalled_at(pattern, broker.fresh_vhost()), name=moment)
            for moment, pattern in MOMENTS.items()
        }
    took_s = {moment: stall.result() for moment, stall in stalls.items()}

    assert {} == {moment: back_s for moment, (back_s, _) in took_s.items() if back_s > 30}
    assert {} == {moment: stopped_s for moment, (_, stopped_s) in took_s.items() if stopped_s > 20}


async def stalled_at(pattern: bytes, url: str) -> tuple[float, float]:
    """The seconds from the end of a stall until all is well, and those of a stop then."""
    bodies = {b"s-%d" % number for number in range(20)}
    answered: set[bytes] = set()

    async def collect(message: AbstractIncomingMessage) -> None:
        answered.add(message.body)

    await declare(url)
    async with Proxy.open(url) as proxy:
        async with (
            connected(settings_over(proxy)) as broker,
            consuming(broker, answering(broker), drain_timeout_s=60),
        ):
            async with peer(url) as client:
                results = await client.channel.get_queue(RESULTS, ensure=False)
                await results.consume(collect, no_ack=True)
                proxy.stall_at(pattern)
                async with asyncio.TaskGroup() as publishing:
                    for body in bodies:
                        publishing.create_task(client.publish(SUBMISSIONS, body))
                        await asyncio.sleep(0.02)
                if not proxy.stalled:  # it belongs to the opening of a connection
                    await (await broker.connection.opened()).close()
                    await wait_until(lambda: proxy.stalled)
                await asyncio.sleep(HEARTBEAT_S)
                proxy.heal()
                back_s = await wait_until(lambda: broker.consuming and broker.connected)
                await client.publish_all(SUBMISSIONS, bodies)
                await wait_until(lambda: answered == bodies)
            began_s = time.monotonic()
        stopped_s = time.monotonic() - began_s
    return back_s, stopped_s


async def test_stop_during_a_stall_is_bounded(amqp_url: str) -> None:
    """A daemon can be stopped though its broker neither answers nor goes away."""
    await declare(amqp_url)
    async with Proxy.open(amqp_url) as proxy, connected(settings_over(proxy)) as broker:
        async with consuming(broker, answering(broker), drain_timeout_s=60):
            proxy.stall()
            began_s = time.monotonic()
        took_s = time.monotonic() - began_s
        state = repr(broker.consumer)

    assert "not consuming, 0 in flight" in state
    assert took_s < 20
