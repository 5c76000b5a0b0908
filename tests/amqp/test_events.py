"""Events on their way to RabbitMQ, and from there to those who follow a submission."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from prometheus_client import REGISTRY

from support.amqp import broker_settings, peer
from support.rabbitmq import PrivateBroker
from support.waiting import wait_until
from verdictd.amqp import topology
from verdictd.amqp.events import EventPublisher, OutgoingEvent
from verdictd.amqp.following import follow
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


def event(number: int) -> OutgoingEvent:
    return OutgoingEvent("s-1", "test", b"%d" % number, "s-1")


def dropped() -> float:
    return REGISTRY.get_sample_value("verdictd_events_total", {"outcome": "dropped"}) or 0


@asynccontextmanager
async def publishing(
    url: str, **changes: Any
) -> AsyncIterator[tuple[EventPublisher, ReconnectingConnection]]:
    """A publisher of events whose exchange is there."""
    settings = broker_settings(url, **changes)
    async with (
        ReconnectingConnection.keep(settings, "verdictd consume", topology.queues(settings)) as consuming,
        EventPublisher.keep(consuming) as publisher,
    ):
        await topology.declare_events(await consuming.opened(), settings)
        yield publisher, consuming


async def bound(client: Any) -> str:
    """A queue of all events, once there is the exchange."""
    queue = await client.channel.declare_queue("all", durable=True)
    await queue.bind("verdictd.events", "#")
    return str(queue.name)


async def test_alarm_drops_the_oldest_and_makes_nobody_wait(rabbitmq: PrivateBroker) -> None:
    """RabbitMQ is short of memory: a million events are taken as fast as ten, and the newest are kept."""
    url = rabbitmq.fresh_vhost()
    before = dropped()
    async with publishing(url, events_waiting=3) as (publisher, _), peer(url) as client:
        queue = await bound(client)
        async with rabbitmq.memory_alarm():
            await until_blocked(publisher)
            began_s = time.monotonic()
            for number in range(1_000):
                publisher.offer(event(number))
            took_s = time.monotonic() - began_s
        kept = [b""]
        while kept[-1] != b"999":
            kept.append((await client.take(queue)).body)

    assert took_s < 1
    assert [b"997", b"998", b"999"] == kept[-3:]
    assert dropped() - before >= 900


async def until_blocked(publisher: EventPublisher) -> None:
    """Publish until an event stays: RabbitMQ blocks a connection when that publishes."""
    async with asyncio.timeout(30):
        while not publisher.waiting:
            publisher.offer(event(-1))
            await asyncio.sleep(0.2)


async def test_what_waits_is_published_before_the_end(amqp_url: str) -> None:
    """A daemon that stops does not keep the last events for itself."""
    async with peer(amqp_url) as client:
        async with publishing(amqp_url) as (publisher, _):
            queue = await bound(client)
            for number in range(100):
                publisher.offer(event(number))
        heard = [int((await client.take(queue)).body) for _ in range(100)]

    assert list(range(100)) == heard


async def test_event_expires_where_nobody_takes_it(amqp_url: str) -> None:
    """A queue that somebody has forgotten does not grow for ever."""
    async with peer(amqp_url) as client:
        async with publishing(amqp_url, events_expire_s=0.05) as (publisher, _):
            queue = await bound(client)
            publisher.offer(event(0))
        await client.until_waiting(queue, 0)
        message = await (await client.channel.get_queue(queue)).get(fail=False)

    assert message is None


async def test_follower_that_is_slow_gets_the_newest(amqp_url: str) -> None:
    """Its queue is bounded, and drops the oldest; it is gone with the follower."""
    async with publishing(amqp_url, events_waiting=10_000) as (publisher, consuming):
        opened = await consuming.opened()
        async with follow(opened, consuming.settings, ["s-1"], queue="slow") as followed:
            for number in range(1_200):
                publisher.offer(event(number))
            await wait_until(lambda: not publisher.waiting)
            heard: list[int] = []
            while heard[-1:] != [1_199] and (got := await followed.next(30)) is not None:
                heard.append(int(got.body))
        async with peer(amqp_url) as client:
            with pytest.raises(ChannelNotFoundEntity):
                await client.count("slow")

    assert sorted(heard) == heard
    assert 1_199 == heard[-1]
    assert len(heard) < 1_200


async def test_missing_exchange_cannot_be_followed(amqp_url: str) -> None:
    """Who wants to follow is told at once."""
    settings = broker_settings(amqp_url)
    async with ReconnectingConnection.keep(settings, "tests", topology.queues(settings)) as connection:
        with pytest.raises(BrokerUnavailable, match=r"no exchange 'verdictd\.events'"):
            async with follow(await connection.opened(), settings, ["s-1"], queue="mine"):
                pass
