"""What the broker makes of a delivery, from its arrival to its settlement, on a real RabbitMQ."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from support.amqp import (
    DEAD,
    RESULTS,
    SUBMISSIONS,
    UNANSWERED,
    Peer,
    accept,
    broker_settings,
    connected,
    consuming,
    handled,
    make_delivery,
    peer,
)
from support.broker import Broker, vhost
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp.delivery import Delivery, Settlement

pytestmark = pytest.mark.anyio

REPLIES = "verdictd.reply.test"


async def test_delivery_shows_every_property(amqp_url: str) -> None:
    """What the sender gave is what the worker sees."""
    sent_at = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    properties = {
        "message_id": "m-1",
        "correlation_id": "c-1",
        "reply_to": REPLIES,
        "type": "verdictd.submission.v1",
        "content_type": "application/json",
        "content_encoding": "gzip",
        "priority": 3,
        "timestamp": sent_at,
        "headers": {"a": 1},
    }
    async with handled(amqp_url, accept) as (sender, seen):
        await sender.publish(SUBMISSIONS, b"body", **properties)
        await wait_until(lambda: len(seen) == 1)

    assert [make_delivery(body=b"body", **properties)] == seen


async def test_delivery_count_of_the_sender_is_not_believed(amqp_url: str) -> None:
    """Only RabbitMQ counts deliveries: a sender cannot make its submission look worn out."""
    async with handled(amqp_url, accept) as (sender, seen):
        await sender.publish(SUBMISSIONS, headers={"x-delivery-count": 1000})
        await wait_until(lambda: len(seen) == 1)

    assert 1 == seen[0].attempt


async def test_ack_empties_the_queue(amqp_url: str) -> None:
    """An acknowledged submission is gone."""
    async with handled(amqp_url, accept) as (sender, seen):
        await sender.publish(SUBMISSIONS)
        await wait_until(lambda: len(seen) == 1)
    async with peer(amqp_url) as reader:
        left = await reader.count(SUBMISSIONS), await reader.count(DEAD)

    assert (0, 0) == left


async def test_message_is_done_with_once_it_will_not_come_again(broker: Broker, amqp_url: str) -> None:
    """Not when it is put back, and not when RabbitMQ has lost the connection before it was acknowledged."""
    done: list[int] = []

    async def handle(delivery: Delivery) -> Settlement:
        delivery.on_settled.append(lambda: done.append(delivery.attempt))
        if delivery.attempt == 2:
            await asyncio.to_thread(broker.close_connections, vhost(amqp_url), "verdictd consume")
            await asyncio.sleep(0.5)
        return Settlement.REQUEUE if delivery.attempt == 1 else Settlement.ACK

    async with handled(amqp_url, handle) as (sender, seen):
        await sender.publish(SUBMISSIONS)
        await wait_until(lambda: done)

    assert ([1, 2, 3], [3]) == ([delivery.attempt for delivery in seen], done)


async def test_lost_connection_costs_one_attempt(broker: Broker, amqp_url: str) -> None:
    """RabbitMQ hands no message that it takes back to the consumer that waits over the same connection.

    Several times, as that depends on which of its channels RabbitMQ ends first.
    """
    rounds, together = 6, 4
    lost = asyncio.Event()

    async def answer_the_second(delivery: Delivery) -> Settlement:
        if delivery.attempt == 1:
            await lost.wait()
        return Settlement.ACK

    async def deliver_and_lose(sender: Peer, expected: int) -> None:
        lost.clear()
        await sender.publish_all(SUBMISSIONS, [b"%d.%d" % (expected, part) for part in range(together)])
        await sender.until_waiting(SUBMISSIONS, 0)
        await sender.until_consumed(SUBMISSIONS)
        await asyncio.to_thread(broker.close_connections, vhost(amqp_url), "verdictd consume")
        lost.set()
        await wait_until(lambda: len(seen) >= expected)

    async with handled(amqp_url, answer_the_second) as (sender, seen):
        for number in range(rounds):
            await deliver_and_lose(sender, 2 * together * (number + 1))

    assert {1: rounds * together, 2: rounds * together} == Counter(delivery.attempt for delivery in seen)


async def test_requeue_comes_again_with_the_attempt_counted(amqp_url: str) -> None:
    """A submission that is put back is delivered again, and says for the how manyth time."""

    async def third_time_lucky(delivery: Delivery) -> Settlement:
        return Settlement.ACK if delivery.attempt == 3 else Settlement.REQUEUE

    async with handled(amqp_url, third_time_lucky) as (sender, seen):
        await sender.publish(SUBMISSIONS)
        await wait_until(lambda: len(seen) == 3)

    attempts = [(delivery.attempt, delivery.redelivered) for delivery in seen]
    assert [(1, False), (2, True), (3, True)] == attempts


async def test_dead_letter_arrives_with_its_history(amqp_url: str) -> None:
    """A submission that is given up lies on the dead queue and says where it comes from."""

    async def give_up(_: Delivery) -> Settlement:
        return Settlement.DEAD_LETTER

    async with handled(amqp_url, give_up) as (sender, _):
        await sender.publish(SUBMISSIONS, b"hopeless", correlation_id="c-1")
        dead = await sender.take(DEAD)

    history: Any = dead.headers["x-death"]
    assert (b"hopeless", "c-1") == (dead.body, dead.correlation_id)
    deaths = [(death["queue"], death["reason"]) for death in history]
    assert [(UNANSWERED, "rejected"), (SUBMISSIONS, "rejected")] == deaths


async def test_delivery_limit_moves_a_submission_to_the_dead_queue(amqp_url: str) -> None:
    """A submission that is put back again and again does not go round for ever."""

    async def never(_: Delivery) -> Settlement:
        return Settlement.REQUEUE

    async with handled(amqp_url, never, delivery_limit=2) as (sender, seen):
        await sender.publish(SUBMISSIONS)
        dead = await sender.take(DEAD)

    history: Any = dead.headers["x-death"]
    assert [(UNANSWERED, "rejected"), (SUBMISSIONS, "delivery_limit")] == [
        (death["queue"], death["reason"]) for death in history
    ]
    assert [1, 2, 3] == [delivery.attempt for delivery in seen]


async def test_handler_that_raises_requeues_its_own_submission_alone(amqp_url: str) -> None:
    """A fault of ours in one submission reaches no other, and loses none."""

    async def fail_once(delivery: Delivery) -> Settlement:
        if delivery.body == b"bad" and delivery.attempt == 1:
            raise ZeroDivisionError
        await asyncio.sleep(0.1)
        return Settlement.ACK

    async with handled(amqp_url, fail_once) as (sender, seen):
        await sender.publish_all(SUBMISSIONS, [b"bad", b"good"])
        await wait_until(lambda: len(seen) == 3)

    assert [(b"bad", 1), (b"bad", 2), (b"good", 1)] == sorted((one.body, one.attempt) for one in seen)


LATIN_1 = b"\xe4\xf6\xfc\xdf\xe4\xf6\xfc\xdf"
NESTED = b""
for _ in range(3_000):
    NESTED = b"\x01kF" + len(NESTED).to_bytes(4) + NESTED


UNDECODABLE: dict[str, tuple[dict[str, Any], bytes, bytes]] = {
    "message_id": ({"message_id": "REPLACED"}, b"REPLACED", LATIN_1),
    "correlation_id": ({"correlation_id": "REPLACED"}, b"REPLACED", LATIN_1),
    "header name": ({"headers": {"REPLACED": 1}}, b"REPLACED", LATIN_1),
    "header value": ({"headers": {"a": "REPLACED"}}, b"REPLACED", LATIN_1),
    "timestamp": ({"timestamp": datetime(2026, 1, 1, tzinfo=UTC)}, (1_767_225_600).to_bytes(8), b"\xff" * 8),
    "nested headers": ({"headers": {"a": "A" * len(NESTED)}}, b"\x01aS", b"nested"),
}


async def test_property_that_cannot_be_decoded_costs_no_connection(amqp_url: str) -> None:
    """RabbitMQ passes on what is not UTF-8, no date, or too deep; it and its neighbour are handled."""
    handled_once = {}
    async with handled(amqp_url, accept) as (sender, seen):
        for name, (properties, placeholder, poison) in UNDECODABLE.items():
            await publish_raw(amqp_url, properties, placeholder, poison)
            await sender.publish(SUBMISSIONS, b"neighbour")
            await wait_until(lambda: len(seen) == 2)
            handled_once[name] = [(delivery.body, delivery.attempt) for delivery in seen]
            seen.clear()

    assert {name: [(b"odd", 1), (b"neighbour", 1)] for name in UNDECODABLE} == handled_once


async def test_delivery_mode_that_amqp_does_not_know_is_handled(amqp_url: str) -> None:
    """Newer versions of RabbitMQ pass any on; a delivery that is not handed over would never be settled."""
    async with altered(amqp_url, b"\x02M", b"\x03M") as url, handled(url, accept) as (sender, seen):
        await sender.publish(SUBMISSIONS, b"odd", priority=ord("M"))
        await sender.publish(SUBMISSIONS, b"neighbour")
        await wait_until(lambda: len(seen) == 2)
    async with peer(amqp_url) as reader:
        left = await reader.count(SUBMISSIONS)

    assert ([b"odd", b"neighbour"], 0) == ([delivery.body for delivery in seen], left)


async def test_headers_beyond_32_kib_are_not_read(amqp_url: str) -> None:
    """A mass of headers, which would hold up the event loop, is left out; the submission is handled."""
    async with handled(amqp_url, accept) as (sender, seen):
        await sender.publish(SUBMISSIONS, b"body", headers={"a": "A" * 33_000})
        await sender.publish(SUBMISSIONS, b"body", headers={"a": "A" * 32_000})
        await wait_until(lambda: len(seen) == 2)

    assert [0, 1] == [len(delivery.headers) for delivery in seen]


async def test_prefetch_bounds_what_is_in_flight(amqp_url: str) -> None:
    """With a prefetch of 3, seven of ten submissions wait where another judge box can take them."""
    release = asyncio.Event()

    async def wait(_: Delivery) -> Settlement:
        await release.wait()
        return Settlement.ACK

    async with handled(amqp_url, wait, prefetch=3) as (sender, seen):
        await sender.publish_all(SUBMISSIONS, [b"{}"] * 10)
        await wait_until(lambda: len(seen) == 3)
        await asyncio.sleep(0.3)
        taken, waiting = len(seen), await sender.count(SUBMISSIONS)
        release.set()
        await wait_until(lambda: len(seen) == 10)

    assert (3, 7) == (taken, waiting)


async def test_100_submissions_are_answered_once_each(amqp_url: str) -> None:
    """Without faults, twenty at a time, there is one reply to each submission, and none is left."""
    expected = {f"s-{number}" for number in range(100)}
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as client:

        async def answer(delivery: Delivery) -> Settlement:
            await broker.reply(delivery.body, delivery=delivery, submission_id=delivery.body.decode())
            return Settlement.ACK

        await client.publish_all(SUBMISSIONS, map(str.encode, expected))
        replies: list[str] = []
        results = await client.channel.get_queue(RESULTS, ensure=False)

        async def collect(message: Any) -> None:
            replies.append(message.correlation_id)

        await results.consume(collect, no_ack=True)
        async with consuming(broker, answer, prefetch=20):
            await wait_until(lambda: len(replies) >= len(expected))
        await asyncio.sleep(0.2)
        left = await client.count(SUBMISSIONS)

    assert (sorted(expected), 0) == (sorted(replies), left)


async def test_stop_lets_the_running_finish_and_takes_no_more(amqp_url: str) -> None:
    """After a stop what runs is finished and settled; what is published then waits for another box."""
    started, release, finished = asyncio.Event(), asyncio.Event(), []

    async def run(delivery: Delivery) -> Settlement:
        started.set()
        await release.wait()
        finished.append(delivery.body)
        return Settlement.ACK

    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as sender:
        async with consuming(broker, run) as stop:
            await sender.publish(SUBMISSIONS, b"running")
            await asyncio.wait_for(started.wait(), LIMIT_S)
            stop.set()
            await wait_until(lambda: not broker.consuming)
            await sender.publish(SUBMISSIONS, b"later")
            release.set()
        left = await sender.take(SUBMISSIONS)

    assert ([b"running"], b"later", False) == (finished, left.body, left.redelivered)


async def test_stop_puts_back_what_does_not_finish_in_time(amqp_url: str) -> None:
    """What outlives the drain timeout is cancelled and comes again elsewhere."""
    started, cancelled = asyncio.Event(), []

    async def run(delivery: Delivery) -> Settlement:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(delivery.body)
            raise
        return Settlement.ACK

    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as sender:
        async with consuming(broker, run, drain_timeout_s=0.2):
            await sender.publish(SUBMISSIONS, b"slow")
            await asyncio.wait_for(started.wait(), LIMIT_S)
        left = await sender.take(SUBMISSIONS)

    assert ([b"slow"], b"slow", True) == (cancelled, left.body, left.redelivered)


async def test_stop_puts_each_waiting_submission_back_once(amqp_url: str) -> None:
    """The consumer ends before anything is put back, or that would come to us again, counted each time."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as sender:
        stop_seen = asyncio.Event()

        async def give_back(_: Delivery) -> Settlement:
            await stop_seen.wait()
            return Settlement.REQUEUE

        async with consuming(broker, give_back, prefetch=5) as stop:
            await sender.publish_all(SUBMISSIONS, [b"{}"] * 10)
            await wait_until(lambda: "5 in flight" in repr(broker.consumer))
            stop_seen.set()
            stop.set()
        left = [await sender.take(SUBMISSIONS) for _ in range(10)]

    counts = sorted(str(message.headers.get("x-delivery-count", 0)) for message in left)
    assert ["0"] * 5 + ["1"] * 5 == counts


async def test_cancelled_consume_puts_everything_back(amqp_url: str) -> None:
    """A daemon that is torn down without a stop cancels what runs, and loses nothing."""
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as sender:

        async def run(_: Delivery) -> Settlement:
            await asyncio.sleep(60)
            return Settlement.ACK

        consume = broker.consumer_of(5).run(run, stop=asyncio.Event(), drain_timeout_s=60)
        task = asyncio.create_task(consume)
        await sender.publish(SUBMISSIONS, b"running")
        await wait_until(lambda: "1 in flight" in repr(broker.consumer))
        task.cancel()
        await asyncio.wait([task], timeout=LIMIT_S)
        left = await sender.take(SUBMISSIONS)

    assert task.cancelled()
    assert (b"running", True) == (left.body, left.redelivered)


async def publish_raw(url: str, properties: dict[str, Any], placeholder: bytes, poison: bytes) -> None:
    """Publish what no library of ours would send: some bytes of the message are put in place of others."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        assert isinstance(channel, aiormq.Channel)
        header = ContentHeader(body_size=3, properties=aiormq.spec.Basic.Properties(**properties))
        publish = aiormq.spec.Basic.Publish(routing_key=SUBMISSIONS)
        frames = ChannelFrame.marshall(channel.number, [publish, header, ContentBody(b"odd")])
        if poison == b"nested":
            placeholder += len(NESTED).to_bytes(4) + b"A" * len(NESTED)
            poison = b"\x01aF" + len(NESTED).to_bytes(4) + NESTED
        payload = frames.payload.replace(placeholder, poison)
        if payload == frames.payload or len(payload) != len(frames.payload):
            raise ValueError("nothing was replaced")
        await channel.write_queue.put(ChannelFrame(payload, should_close=False, drain_future=None))
        await connection.channel()  # answered after what was sent before it


@asynccontextmanager
async def altered(url: str, sent: bytes, received: bytes) -> AsyncIterator[str]:
    """A URL of the same broker over which some of the bytes that it sends arrive as others."""
    parts = urlsplit(url)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool) -> None:
        while data := await source.read(65_536):
            target.write(data.replace(sent, received) if back else data)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(copy(reader, requests, back=False), copy(answers, writer, back=True))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield url.replace(f":{parts.port}/", f":{port}/")
