"""Messages as publishers' libraries make them, and submissions that RabbitMQ gives up by itself."""

import asyncio
import gzip
import json
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, UNANSWERED, Peer, broker_settings, connect_once, peer
from support.boxes import own_boxes
from support.broker import Broker
from support.daemon import Daemon, daemon
from support.waiting import LIMIT_S
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Start = Callable[..., AbstractAsyncContextManager[Daemon]]
DELIVERY_LIMIT = 3


SETTINGS = {
    "broker__delivery_limit": str(DELIVERY_LIMIT),
    "sandbox__isolate": "embedded",
    "sandbox__boxes": "1",
}


@pytest.fixture
def start(amqp_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start a daemon on this test's own virtual host."""

    @asynccontextmanager
    async def start() -> AsyncIterator[Daemon]:
        async with daemon(tmp_path / f"{uuid.uuid4()}.log", **own) as running:
            yield running

    with own_boxes(SETTINGS | {"broker__url": amqp_url}) as own:
        yield start


@pytest.fixture(scope="module")
async def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The virtual host of one daemon, for tests that leave nothing in its queues."""
    url = broker.fresh_vhost()
    async with daemon(tmp_path_factory.mktemp("daemon") / "log", broker__url=url, **SETTINGS):
        yield url


@pytest.fixture
async def user(shared: str) -> AsyncIterator[Peer]:
    """A publisher and consumer of the shared daemon."""
    async with peer(shared) as user:
        yield user


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer; the queues are there, as a daemon has run before."""
    await connect_once(broker_settings(amqp_url, delivery_limit=DELIVERY_LIMIT))
    async with peer(amqp_url) as client:
        yield client


def body(**fields: Any) -> bytes:
    return json.dumps({"id": "a", "language": "bash", "source_code": "echo 42"} | fields).encode()


async def result(client: Peer, queue: str = RESULTS) -> Result:
    return Result.model_validate_json((await client.take(queue)).body)


async def answers(client: Peer) -> list[Result]:
    """All results, once every dead letter has arrived."""
    await client.until_waiting(UNANSWERED, 0)
    return [await result(client) for _ in range(await client.count(RESULTS))]


async def test_server_named_reply_queue_gets_the_result(user: Peer) -> None:
    """RabbitMQ's own tutorial (six: RPC) declares a queue without a name, and waits there."""
    replies = await user.channel.declare_queue("", exclusive=True)
    await user.publish(SUBMISSIONS, body(), reply_to=replies.name, correlation_id="c")
    answer = await user.take(replies.name)

    assert replies.name.startswith("amq.gen-")
    assert ("accepted", "c") == (json.loads(answer.body)["status"], answer.correlation_id)


ENVELOPES: dict[str, tuple[Callable[[bytes], bytes], dict[str, Any]]] = {
    "php-amqp": (bytes, {"content_type": "text/plain"}),
    "bunny": (bytes, {"content_type": "application/octet-stream"}),
    "kombu": (bytes, {"content_type": "application/json", "content_encoding": "utf-8"}),
    "kombu, bytes": (bytes, {"content_type": "application/data", "content_encoding": "binary"}),
    "kombu, gzip": (
        zlib.compress,
        {"content_encoding": "utf-8", "headers": {"compression": "application/x-gzip"}},
    ),
    "gzip": (gzip.compress, {"content_type": "application/json", "content_encoding": "gzip"}),
    "charset": (bytes, {"content_type": 'application/json; charset="UTF-8"', "content_encoding": "UTF8"}),
}


@pytest.mark.parametrize("library", ENVELOPES)
async def test_properties_that_libraries_set_by_themselves_are_taken(user: Peer, library: str) -> None:
    """The body decides if it is JSON."""
    pack, properties = ENVELOPES[library]
    await user.publish(SUBMISSIONS, pack(body(id=library.replace(", ", "-"))), **properties)
    answer = await result(user)

    assert (library.replace(", ", "-"), "accepted") == (answer.id, answer.status)


async def test_milliseconds_of_the_publisher_are_the_time_of_creation(user: Peer) -> None:
    """The property has whole seconds only."""
    sent_at = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    headers = {"timestamp_in_ms": round(sent_at.timestamp() * 1000)}
    await user.publish(SUBMISSIONS, body(id="ms"), timestamp=sent_at.replace(microsecond=0), headers=headers)
    answer = await result(user)

    assert sent_at == answer.created_at


async def test_expired_submission_is_answered_once_and_kept(start: Start, client: Peer) -> None:
    """RabbitMQ drops what no daemon takes in time: its sender is told so."""
    await client.publish(SUBMISSIONS, body(metadata={"row": 7}), expiration=0.5, correlation_id="c")
    await client.until_waiting(UNANSWERED, 1)
    async with start():
        answer = await client.take(RESULTS)
        dead = await client.take(DEAD)
        more = await answers(client)

    told = json.loads(answer.body)
    assert ("a", "internal_error", "queue") == (told["id"], told["status"], told["cause"])
    assert "RabbitMQ gave the submission up: it expired after 0.5 s in the queue." == told["message"]
    assert ({"row": 7}, "c") == (told["metadata"], answer.correlation_id)
    assert (body(metadata={"row": 7}), []) == (dead.body, more)


async def test_expired_submission_is_answered_where_its_sender_waits(start: Start, client: Peer) -> None:
    """On the queue that it names in reply_to."""
    replies = await client.channel.declare_queue("", exclusive=True)
    await client.publish(SUBMISSIONS, body(), expiration=0.2, reply_to=replies.name)
    await client.until_waiting(UNANSWERED, 1)
    async with start():
        answer = await result(client, replies.name)

    assert "it expired" in answer.message


async def test_expired_message_that_is_invalid_is_answered_as_such(start: Start, client: Peer) -> None:
    """Its sender learns what to correct."""
    await client.publish(SUBMISSIONS, body(language=5), expiration=0.2)
    await client.until_waiting(UNANSWERED, 1)
    async with start():
        answer = await result(client)

    assert ("a", "invalid_submission") == (answer.id, answer.status)


async def test_submission_beyond_the_delivery_limit_is_answered(start: Start, client: Peer) -> None:
    """Whoever took it so often has not answered it."""
    await client.publish(SUBMISSIONS, body())
    queue = await client.channel.get_queue(SUBMISSIONS, ensure=False)
    async with asyncio.timeout(LIMIT_S):
        while not await client.count(UNANSWERED):
            message = await queue.get(fail=False)
            if message is not None:
                await message.reject(requeue=True)
            await asyncio.sleep(0.02)
    async with start():
        answer = await result(client)
        dead = await client.take(DEAD)

    assert ("a", "internal_error") == (answer.id, answer.status)
    assert "delivered too often" in answer.message
    assert body() == dead.body


async def test_invalid_message_is_answered_once(user: Peer) -> None:
    """The daemon dead-letters what it has answered: it passes the same queue, and is not answered again."""
    await user.publish(SUBMISSIONS, body(id="invalid", language=5))
    answer = await result(user)
    await user.take(DEAD)
    more = await answers(user)

    assert ("invalid_submission", []) == (answer.status, more)


async def test_expired_submission_that_was_put_back_is_judged(start: Start, client: Peer) -> None:
    """An operator moves it back: its former death does not count, and it has no expiration any more."""
    await client.publish(SUBMISSIONS, body(), expiration=0.2)
    await client.until_waiting(UNANSWERED, 1)
    async with start():
        first = await result(client)
        dead = await client.take(DEAD)
        await client.publish(SUBMISSIONS, dead.body, headers=dead.headers)
        second = await result(client)
        await client.publish(SUBMISSIONS, body(id="b", language=5), headers=dead.headers)
        third = await result(client)
        await client.take(DEAD)
        more = await answers(client)

    statuses = [str(answer.status) for answer in (first, second, third)]
    assert (["internal_error", "accepted", "invalid_submission"], []) == (statuses, more)
