"""`submit`, on a real RabbitMQ: what it publishes, and which replies it hands on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from support.amqp import (
    SUBMISSIONS,
    broker_settings,
    connected,
    consuming,
    handled,
    peer,
)
from support.broker import Broker, vhost
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp import requests
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.requests import submit_all
from verdictd.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


async def test_each_reply_comes_with_its_key_as_soon_as_it_is_there(amqp_url: str) -> None:
    """Replies are told apart by their key, in the order in which they come; one sent twice comes once."""
    sooner = {b"between": b"fast", b"slow": b"between"}
    answered = {body: asyncio.Event() for body in (b"slow", b"fast", b"between")}
    async with connected(broker_settings(amqp_url)) as broker:

        async def answer(delivery: Delivery) -> Settlement:
            if delivery.body in sooner:
                await answered[sooner[delivery.body]].wait()
            for _ in range(2):
                await broker.reply(delivery.body.upper(), delivery=delivery, submission_id="s-1")
            answered[delivery.body].set()
            return Settlement.ACK

        async with consuming(broker, answer):
            replies = await submitted(amqp_url, [("1", b"slow"), ("2", b"fast"), ("3", b"between")])

    assert [("2", b"FAST"), ("3", b"BETWEEN"), ("1", b"SLOW")] == replies


async def test_submission_carries_the_properties_of_the_contract(amqp_url: str) -> None:
    """What is published is persistent, typed, and asks for its reply on a queue that is allowed."""
    async with answering(amqp_url) as seen:
        await submitted(amqp_url, [("1", b"a"), (None, b"b")], priority=3)
    first, second = seen

    assert ("verdictd.submission.v1", "application/json", 3) == (
        first.type,
        first.content_type,
        first.priority,
    )
    assert (first.reply_to or "").startswith("verdictd.reply.")
    assert first.timestamp is not None
    assert "1" == first.correlation_id
    assert second.correlation_id not in {None, "", "1"}
    assert first.message_id != second.message_id


async def test_submission_without_priority_is_published_without_one(amqp_url: str) -> None:
    """None is not the lowest: how it compares to others is the broker's business."""
    async with answering(amqp_url) as seen:
        await submitted(amqp_url, [("1", b"{}")])

    assert [None] == [delivery.priority for delivery in seen]


async def test_missing_submissions_queue_is_broker_unavailable(amqp_url: str) -> None:
    """Where no daemon ever declared its queues, nobody waits for a reply in vain."""
    with pytest.raises(BrokerUnavailable) as failure:
        await submitted(amqp_url, [("1", b"{}")])

    assert "queue 'verdictd.submissions' does not exist" in str(failure.value)


async def test_missing_replies_are_a_timeout_that_counts_them(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits learns how many replies have not come."""
    now_s = 0
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: now_s, time_ns=time.time_ns))
    async with connected(broker_settings(amqp_url)), peer(amqp_url) as daemon:
        bodies: list[tuple[str | None, bytes]] = [(key, b"{}") for key in ("1", "2", "3")]
        waiting = asyncio.create_task(submitted(amqp_url, bodies, timeout_s=600))
        kept = [await daemon.take(SUBMISSIONS) for _ in range(3)]
        now_s = 601
        await daemon.publish(kept[1].reply_to or "", correlation_id=kept[1].correlation_id)
        with pytest.raises(TimeoutError) as failure:
            await waiting

    assert "2 replies have not come" == str(failure.value)
    assert ["1", "2", "3"] == [message.correlation_id for message in kept]


async def test_lost_connection_ends_the_wait(broker: Broker, amqp_url: str) -> None:
    """The reply queue goes with its connection, so there is nothing to wait for."""
    async with connected(broker_settings(amqp_url)) as daemon:
        waiting = asyncio.create_task(submitted(amqp_url, [("1", b"{}")], timeout_s=60))
        async with peer(amqp_url) as reader:
            await reader.take(SUBMISSIONS)
        broker.close_connections(vhost(amqp_url))
        with pytest.raises(BrokerUnavailable) as failure:
            await asyncio.wait_for(waiting, LIMIT_S)
        await wait_until(lambda: daemon.connected)

    assert "no replies any more: CONNECTION_FORCED - test" == str(failure.value)


@asynccontextmanager
async def answering(url: str) -> AsyncIterator[list[Delivery]]:
    """What comes to a daemon that answers everything."""

    async def answer(delivery: Delivery) -> Settlement:
        await broker.reply(b"{}", delivery=delivery, submission_id="s-1")
        return Settlement.ACK

    async with connected(broker_settings(url)) as broker, handled(url, answer) as (_, seen):
        yield seen


async def submitted(
    url: str, bodies: list[tuple[str | None, bytes]], *, timeout_s: float = LIMIT_S, **options: Any
) -> list[tuple[str, bytes]]:
    replies = submit_all(broker_settings(url), bodies, timeout_s=timeout_s, **options)
    async with aclosing(replies):
        return [reply async for reply in replies]
