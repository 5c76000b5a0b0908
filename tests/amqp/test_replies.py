"""Where replies go, and what they carry, on a real RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiormq
import pytest

from support.amqp import (
    DEAD,
    RESULTS,
    SUBMISSIONS,
    UNANSWERED,
    broker_settings,
    connected,
    make_delivery,
    peer,
)
from support.waiting import LIMIT_S
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.amqp.replies import ReplyRouter
from verdictd.settings import BrokerSettings

pytestmark = pytest.mark.anyio

REPLIES = "verdictd.reply.test"


async def test_reply_carries_every_property_of_the_contract(amqp_url: str) -> None:
    """A result is persistent, typed, and carries the id, the correlation and the trace of its submission."""
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1"}
    delivery = make_delivery(
        correlation_id="ticket 7", reply_to=REPLIES, priority=4, headers=trace | {"other": "stays"}
    )
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        await reader.channel.declare_queue(REPLIES, exclusive=True)
        before = datetime.now(UTC).replace(microsecond=0)
        await broker.reply(b'{"id":"s-1"}', delivery=delivery, submission_id="s-1")
        await broker.reply(b'{"id":"s-1"}', delivery=delivery, submission_id="s-1")
        replies = [await reader.take(REPLIES), await reader.take(REPLIES)]

    reply = replies[0]
    assert b'{"id":"s-1"}' == reply.body
    assert "verdictd.result.v1" == reply.type
    assert "application/json" == reply.content_type
    assert 2 == reply.delivery_mode
    assert 4 == reply.priority
    assert "ticket 7" == reply.correlation_id
    assert trace | {"submission_id": "s-1"} == without_count(reply.headers)
    assert reply.timestamp is not None
    assert before <= reply.timestamp <= datetime.now(UTC)
    assert 2 == len({reply.message_id for reply in replies})


async def test_reply_has_no_priority_where_its_submission_had_none(amqp_url: str) -> None:
    """None is not the lowest: how it compares to others is the broker's business."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        await broker.reply(b"{}", delivery=make_delivery(), submission_id="s-1")
        underlay = await reader.channel.get_underlay_channel()
        reply = await underlay.basic_get(RESULTS, no_ack=True)

    assert (b"{}", None) == (reply.body, reply.header.properties.priority)


@pytest.mark.parametrize("correlation_id", [None, "\N{REPLACEMENT CHARACTER}" * 86])
async def test_reply_without_usable_correlation_id_gets_the_id(
    amqp_url: str, correlation_id: str | None
) -> None:
    """Where the submission had no correlation_id, or one that does not fit, the result has its id."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        delivery = make_delivery(correlation_id=correlation_id)
        await broker.reply(b"{}", delivery=delivery, submission_id="s-1")
        reply = await reader.take(RESULTS)

    assert "s-1" == reply.correlation_id


async def test_reply_to_a_missing_queue_goes_to_the_results_and_says_so(amqp_url: str) -> None:
    """A result that nobody waits for is kept on the results queue."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        await broker.reply(b"{}", delivery=make_delivery(reply_to=REPLIES), submission_id="s-1")
        reply = await reader.take(RESULTS)

    undelivered = {"undelivered_reply_to": REPLIES, "undelivered_reason": "no such queue"}
    assert {"submission_id": "s-1"} | undelivered == without_count(reply.headers)


async def test_reply_to_a_refused_queue_goes_to_the_results_and_says_so(amqp_url: str) -> None:
    """No sender can make the daemon write to a queue of its own."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        await broker.reply(b"{}", delivery=make_delivery(reply_to=SUBMISSIONS), submission_id="s-1")
        reply = await reader.take(RESULTS)
        submissions = await reader.count(SUBMISSIONS)

    assert "a queue of the daemon itself" == reply.headers["undelivered_reason"]
    assert 0 == submissions


async def test_reply_to_a_full_queue_goes_to_the_results_and_says_so(amqp_url: str) -> None:
    """A queue that takes no more holds up nobody but its owner."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await reader.channel.declare_queue(REPLIES, exclusive=True, arguments=full)
        for body in (b"first", b"second"):
            await broker.reply(body, delivery=make_delivery(reply_to=REPLIES), submission_id="s-1")
        first, second = await reader.take(REPLIES), await reader.take(RESULTS)

    assert (b"first", b"second") == (first.body, second.body)
    assert "the queue takes no more" == second.headers["undelivered_reason"]


async def test_direct_reply_reaches_its_client_once(amqp_url: str) -> None:
    """A client that waits on amq.rabbitmq.reply-to gets its result, and the results queue no copy."""
    async with (
        connected(broker_settings(amqp_url)) as broker,
        peer(amqp_url) as client,
        direct_replies(amqp_url) as (
            address,
            replies,
        ),
    ):
        await broker.reply(b"direct", delivery=make_delivery(reply_to=address), submission_id="s-1")
        await broker.reply(b"second", delivery=make_delivery(reply_to=address), submission_id="s-1")
        bodies = [(await asyncio.wait_for(replies.get(), LIMIT_S)).body for _ in range(2)]
        copies = await client.count(RESULTS)

    assert ([b"direct", b"second"], 0) == (bodies, copies)


async def test_direct_reply_to_a_client_that_left_goes_to_the_results(amqp_url: str) -> None:
    """RabbitMQ drops a direct reply silently when its client is gone, so the daemon looks first."""
    async with direct_replies(amqp_url) as (address, _):
        pass
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as reader:
        await broker.reply(b"{}", delivery=make_delivery(reply_to=address), submission_id="s-1")
        reply = await reader.take(RESULTS)

    assert address == reply.headers["undelivered_reply_to"]


async def test_deleted_results_queue_is_declared_again_for_a_reply(amqp_url: str) -> None:
    """Where the daemon declares, a queue that somebody deleted costs no result."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as operator:
        await operator.channel.queue_delete(RESULTS)
        await broker.reply(b"kept", delivery=make_delivery(), submission_id="s-1")
        reply = await operator.take(RESULTS)

    assert b"kept" == reply.body


async def test_reply_waits_for_a_queue_that_only_the_operator_may_declare(amqp_url: str) -> None:
    """Where the results queue is missing and we may not declare it, a result waits, and is not given up."""
    async with connected(broker_settings(amqp_url)), peer(amqp_url) as operator:
        await operator.channel.queue_delete(RESULTS)
    async with peer(amqp_url) as operator:
        await operator.channel.declare_queue(RESULTS, durable=True)
        async with connected(broker_settings(amqp_url, declare=False)) as broker:
            await operator.channel.queue_delete(RESULTS)
            reply = asyncio.create_task(broker.reply(b"kept", delivery=make_delivery(), submission_id="s-1"))
            await asyncio.sleep(1)
            waits = not reply.done()
            await operator.channel.declare_queue(RESULTS, durable=True)
            await asyncio.wait_for(reply, LIMIT_S)
            body = (await operator.take(RESULTS)).body

    assert (True, b"kept") == (waits, body)


@pytest.mark.parametrize(
    ("reply_to", "problem"),
    [
        (None, None),
        ("", None),
        (RESULTS, None),
        ("verdictd.reply.a", None),
        ("amq.rabbitmq.reply-to.g1h2AA5yZXBseUA2OTYxMTI2OAAAAxoAAAAAawN0DA==", None),
        ("amq.rabbitmq.reply-to", "does not match"),
        ("amq.gen-JzTY20BRgKO-HjmUJj0wLg", None),
        ("verdictd.reply.", "does not match"),
        ("other tenant", "does not match"),
        (f"x{RESULTS}", "does not match"),
        pytest.param("verdictd.reply." + "a" * 240, None, id="255 bytes"),
        pytest.param("verdictd.reply." + "a" * 241, "longer than 255 bytes", id="256 bytes"),
        pytest.param("verdictd.reply." + "\N{SNOWMAN}" * 81, "longer than 255 bytes", id="96 characters"),
        pytest.param("amq.rabbitmq.reply-to." + "a" * 240, "longer than 255 bytes", id="long direct"),
        (SUBMISSIONS, "a queue of the daemon itself"),
        (UNANSWERED, "a queue of the daemon itself"),
        (DEAD, "a queue of the daemon itself"),
        ("verdictd.control", "a queue of the daemon itself"),
    ],
)
async def test_reply_to_is_held_against_the_pattern(reply_to: str | None, problem: str | None) -> None:
    """A sender may name the results queue, a queue that matches, or a direct reply address; nothing else."""
    found = reply_to_problem(broker_settings("amqp://localhost/"), reply_to)

    assert (problem or "None") in str(found)


@pytest.mark.parametrize("reply_to", [SUBMISSIONS, UNANSWERED, DEAD, "verdictd.control"])
async def test_own_queues_are_refused_whatever_the_pattern(reply_to: str) -> None:
    """A pattern that is too wide opens no loop of results that are taken for submissions."""
    settings = broker_settings("amqp://localhost/", reply_to_pattern=".*")
    problem = reply_to_problem(settings, reply_to)

    assert "a queue of the daemon itself" == problem


def without_count(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers that were published, without the one that RabbitMQ adds."""
    return {name: value for name, value in headers.items() if name != "x-delivery-count"}


@asynccontextmanager
async def direct_replies(url: str) -> AsyncIterator[tuple[str, asyncio.Queue[Any]]]:
    """A client's direct reply address, as RabbitMQ makes it, and what arrives there."""
    replies: asyncio.Queue[Any] = asyncio.Queue()
    requests = "requests"
    async with peer(url) as server, aiormq.connect(url) as connection:
        await server.channel.declare_queue(requests)
        channel = await connection.channel()
        await channel.basic_consume("amq.rabbitmq.reply-to", replies.put, no_ack=True)
        properties = aiormq.spec.Basic.Properties(reply_to="amq.rabbitmq.reply-to")
        await channel.basic_publish(b"", routing_key=requests, properties=properties)
        request = await server.take(requests)
        yield request.reply_to or "", replies


def reply_to_problem(settings: BrokerSettings, reply_to: str | None) -> str | None:
    """What the daemon says of a reply_to, before any connection."""
    publisher = Publisher(ReconnectingConnection(settings, "tests", {}))
    return ReplyRouter(publisher, settings).problem(reply_to)
