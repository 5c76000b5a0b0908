"""A network that stalls: it is noticed, said, and left behind; nothing waits for it for ever."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from support.amqp import RESULTS, SUBMISSIONS, broker_settings, connected, consuming, peer
from support.proxy import HEADER, Proxy, method
from support.waiting import wait_until
from verdictd.broker import Broker
from verdictd.deliveries import Delivery, Settlement

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

HEARTBEAT_S = 2
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


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    async with Proxy.open(amqp_url) as proxy:
        yield proxy


def settings_over(proxy: Proxy) -> Any:
    return broker_settings(proxy.url, heartbeat_s=HEARTBEAT_S, connect_timeout_s=2, publish_timeout_s=2)


def answering(broker: Broker) -> Any:
    async def answer(delivery: Delivery) -> Settlement:
        await broker.reply(delivery.body, delivery=delivery, submission_id=delivery.body.decode())
        return Settlement.ACK

    return answer


@pytest.mark.parametrize(
    ("to_broker", "to_client"),
    [(True, True), (True, False), (False, True)],
    ids=["both ways", "what we send", "what we get"],
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_stall_is_noticed_within_three_heartbeats(
    amqp_url: str, proxy: Proxy, *, to_broker: bool, to_client: bool, busy: bool
) -> None:
    """Whichever way the network fails the connections are given up, and opened again when it is back."""
    async with connected(settings_over(proxy)) as broker, consuming(broker, answering(broker)):
        proxy.stall(to_broker=to_broker, to_client=to_client)
        async with peer(amqp_url) as client:
            if busy:
                await client.publish(SUBMISSIONS, b"s-1")
            noticed_s = await wait_until(lambda: not broker.consuming and not broker.connected)
            proxy.heal()
            back_s = await wait_until(lambda: broker.consuming and broker.connected)
            if not busy:
                await client.publish(SUBMISSIONS, b"s-1")
            reply = await client.take(RESULTS)

    assert b"s-1" == reply.body
    assert noticed_s <= 3 * HEARTBEAT_S + 1.5
    assert back_s < 10


@pytest.mark.parametrize("moment", MOMENTS)
async def test_stall_in_the_middle_of_anything_ends(amqp_url: str, proxy: Proxy, moment: str) -> None:
    """Every question has a limit: after the stall all submissions are answered, and a stop is not held up."""
    bodies = {b"s-%d" % number for number in range(20)}
    answered: set[bytes] = set()

    async def collect(message: AbstractIncomingMessage) -> None:
        answered.add(message.body)

    async with connected(settings_over(proxy)) as broker, consuming(broker, answering(broker)):
        async with peer(amqp_url) as client:
            results = await client.channel.get_queue(RESULTS, ensure=False)
            await results.consume(collect, no_ack=True)
            proxy.stall_at(MOMENTS[moment])
            for body in bodies:
                await client.publish(SUBMISSIONS, body)
                await asyncio.sleep(0.02)
            if not proxy.stalled:  # it belongs to the opening of a connection
                await client.channel.queue_delete(SUBMISSIONS)
                await wait_until(lambda: proxy.stalled)
            await asyncio.sleep(HEARTBEAT_S)
            proxy.heal()
            back_s = await wait_until(lambda: broker.consuming and broker.connected, within_s=45)
            for body in bodies:
                await client.publish(SUBMISSIONS, body)
            await wait_until(lambda: answered == bodies)
        stopped_s = time.monotonic()
    stopped_s = time.monotonic() - stopped_s

    assert back_s < 15
    assert stopped_s < 10


async def test_stop_during_a_stall_is_bounded(proxy: Proxy) -> None:
    """A daemon can be stopped though its broker neither answers nor goes away."""
    async with connected(settings_over(proxy)) as broker:
        async with consuming(broker, answering(broker)):
            proxy.stall()
            began_s = time.monotonic()
        took_s = time.monotonic() - began_s
        state = repr(broker)

    assert "not consuming, 0 in flight" in state
    assert took_s < 10
