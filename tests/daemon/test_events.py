"""Events of submissions: what a daemon tells while it judges, and that it waits for nobody who listens."""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aio_pika import ExchangeType

from support.amqp import RESULTS, SUBMISSIONS, Peer, declare, peer
from support.broker import Broker
from support.daemon import Daemon, daemon
from support.manual import blocks
from support.terminal import on_terminal
from support.waiting import LIMIT_S, wait_until
from verdictd.contract.events import Event, EventKind

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CONTRACT = (Path(__file__).parents[2] / "schemas" / "README.md").read_text()
EXCHANGE = "verdictd.events"
OWN = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}


@pytest.fixture(scope="module")
def url(broker: Broker) -> str:
    """The virtual host that the tests of this module share."""
    return broker.fresh_vhost()


@pytest.fixture(scope="module")
async def shared(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """A daemon for tests that leave nothing in its queues."""
    async with daemon(tmp_path_factory.mktemp("events") / "log", broker__url=url, **OWN) as running:
        yield running


@pytest.fixture
async def client(shared: Daemon, url: str) -> AsyncIterator[Peer]:
    """A publisher, and consumer of results and events."""
    assert shared.process.returncode is None
    async with peer(url) as client:
        yield client


class Listener:
    """Events that came to a queue of its own, with their routing keys."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Event]] = []
        self.correlation_ids: set[str | None] = set()

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.heard]

    @property
    def finished(self) -> int:
        return sum(event.kind is EventKind.FINISHED for event in self.events)


@asynccontextmanager
async def listening(client: Peer, *keys: str) -> AsyncIterator[Listener]:
    """Hear what is published with these binding keys."""
    listener = Listener()
    # As a client that may come before the first daemon has made it.
    exchange = await client.channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    queue = await client.channel.declare_queue(exclusive=True)
    for key in keys:
        await queue.bind(exchange, key)

    async def hear(message: Any) -> None:
        listener.heard.append((message.routing_key, Event.model_validate_json(message.body)))
        listener.correlation_ids.add(message.correlation_id)

    tag = await queue.consume(hear, no_ack=True)
    yield listener
    await queue.cancel(tag)


async def judged(client: Peer, listener: Listener, submission: dict[str, Any], **properties: Any) -> None:
    """Send a submission, and wait for its result and its last event."""
    finished = listener.finished
    await client.publish(SUBMISSIONS, json.dumps({"events": True} | submission).encode(), **properties)
    await client.take(RESULTS)
    await wait_until(lambda: listener.finished > finished)


def told(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """What events say, without what differs each time."""
    return [
        (event.sequence, event.kind, event.done, event.name, event.status, event.points, event.ok)
        for event in events
    ]


async def test_each_step_is_told_in_order(client: Peer) -> None:
    """Start, program, each test that is run, end; a test that is skipped counts as done and is not told."""
    submission = {
        "id": f"{uuid.uuid4()}",
        "language": "bash",
        "source_code": "cat",
        "tests": [
            {"name": "first", "stdin": "1", "expected_output": "1", "points": 40},
            {"stdin": "2", "expected_output": "other", "points": 60},
            {"stdin": "3", "expected_output": "3"},
        ],
        "stop_on_failure": True,
    }
    async with listening(client, "#") as listener:
        await judged(client, listener, submission, correlation_id="4711")
    keys = [key for key, _ in listener.heard]
    events = listener.events

    assert [
        (1, "started", 0, None, None, None, None),
        (2, "compiled", 0, None, None, None, True),
        (3, "test", 1, "first", "accepted", 40, None),
        (4, "test", 2, "2", "wrong_answer", 0, None),
        (5, "finished", 3, None, "wrong_answer", 40, None),
    ] == told(events)
    assert [f"{submission['id']}.{event.kind}" for event in events] == keys
    assert {(submission["id"], 3, 1)} == {(event.id, event.tests, event.attempt) for event in events}
    assert 1 == len({event.run for event in events})
    assert events[0].box is not None
    assert {"4711"} == listener.correlation_ids


async def test_program_that_does_not_compile_has_no_tests(client: Peer) -> None:
    """All of them are done at once."""
    submission = {"id": f"{uuid.uuid4()}", "language": "c", "source_code": "x", "tests": [{}] * 3}
    async with listening(client, f"{submission['id']}.*") as listener:
        await judged(client, listener, submission)

    assert [
        (1, "started", 0, None, None, None, None),
        (2, "compiled", 3, None, None, None, False),
        (3, "finished", 3, None, "compilation_error", None, None),
    ] == told(listener.events)


async def test_result_that_is_sent_again_has_a_run_of_its_own(client: Peer) -> None:
    """Nothing is judged again, so nothing but the end is told."""
    submission = {"id": f"{uuid.uuid4()}", "language": "bash", "source_code": "echo 42"}
    async with listening(client, f"{submission['id']}.*") as listener:
        await judged(client, listener, submission)
        await judged(client, listener, submission)
    *first, again = listener.events

    assert ["started", "compiled", "test", "finished"] == [event.kind for event in first]
    assert (1, "finished", "accepted") == (again.sequence, again.kind, again.status)
    assert again.run not in {event.run for event in first}


async def test_nothing_is_told_that_nobody_asked_for(client: Peer) -> None:
    """Neither of a submission without the field nor of a message that is not one."""
    asking = {"id": f"{uuid.uuid4()}", "language": "bash", "source_code": "echo 42"}
    async with listening(client, "#") as listener:
        for body in (asking | {"id": "silent", "events": False}, {"id": "invalid", "events": True}):
            await client.publish(SUBMISSIONS, json.dumps(body).encode())
            await client.take(RESULTS)
        await judged(client, listener, asking)

    assert {asking["id"]} == {event.id for event in listener.events}


async def test_binding_gets_the_events_of_one_id(client: Peer) -> None:
    """Ids may have dots anywhere: a kind is one word, so the last one of the routing key."""
    ids = ["a", "a.b", "a.b.test", "a..b", ".", "a.", ":-_"]
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(listening(client, "#.finished"))
        listeners = {key: await stack.enter_async_context(listening(client, f"{key}.*")) for key in ids}
        for submission_id in ids:
            await judged(client, others, {"id": submission_id, "language": "bash", "source_code": ""})
        await wait_until(lambda: all(listener.finished for listener in listeners.values()))

    assert ids == [event.id for event in others.events]
    assert {key: [key] * 4 for key in ids} == {
        key: [event.id for event in listener.events] for key, listener in listeners.items()
    }


async def test_client_of_the_readme_follows_its_submission(client: Peer, url: str) -> None:
    """As it is printed, but for the address."""
    source = next(block for block in blocks("python", CONTRACT) if EXCHANGE in block)
    address = "amqp://guest:guest@127.0.0.1:5672"
    assert address in source
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source.replace(address, url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT_S):
        out, _ = await process.communicate()
    await client.take(RESULTS)

    assert [
        "started 0 of 2 ",
        "compiled 0 of 2 ",
        "test 1 of 2 accepted",
        "test 2 of 2 accepted",
        "finished 2 of 2 accepted",
    ] == out.decode().splitlines()


async def test_full_queue_of_a_listener_that_reads_nothing_delays_nobody(client: Peer) -> None:
    """It keeps what it has room for."""
    queue = await client.channel.declare_queue(exclusive=True, arguments={"x-max-length": 2})
    await queue.bind(EXCHANGE, "#")
    submission = {"language": "bash", "source_code": "echo 42", "tests": [{}] * 5}
    async with listening(client, "#.finished") as listener:
        await judged(client, listener, submission)
    declared = await client.channel.declare_queue(queue.name, passive=True)

    assert 2 == declared.declaration_result.message_count
    assert [(5, "accepted")] == [(event.done, event.status) for event in listener.events]


async def test_daemon_without_the_exchange_judges_all_the_same(amqp_url: str, tmp_path: Path) -> None:
    """It says why there are no events; once there is an exchange, it publishes them."""
    submission = {"language": "bash", "source_code": "echo 42", "events": True}
    settings = {"broker__reconnect_max_s": "0.2", "broker__events_exchange": "missing"}
    async with peer(amqp_url) as client:
        await declare(amqp_url)
        async with daemon(
            tmp_path / "log", broker__url=amqp_url, broker__declare="false", **OWN, **settings
        ) as running:
            await client.publish(SUBMISSIONS, json.dumps(submission).encode())
            result = json.loads((await client.take(RESULTS)).body)
            await wait_until(lambda: running.logged("events.unavailable"))
            exchange = await client.channel.declare_exchange("missing", "topic", durable=True)
            queue = await client.channel.declare_queue("found", exclusive=True)
            await queue.bind(exchange, "#.finished")
            async with asyncio.timeout(LIMIT_S):
                while await client.count("found") == 0:
                    await client.publish(SUBMISSIONS, json.dumps(submission).encode())
                    await asyncio.sleep(0.2)

    assert "accepted" == result["status"]
    assert "no exchange 'missing'" in running.logged("events.unavailable")[0]["reason"]


async def test_submit_on_a_terminal_shows_tests_as_they_are_done(
    shared: Daemon, url: str, tmp_path: Path
) -> None:
    """A bar that says which test runs, and a line for each that is done; then the result as always."""
    assert shared.process.returncode is None
    (tmp_path / "echo.sh").write_text("sleep 0.4; cat")
    for number in range(3):
        (tmp_path / f"case-{number}.in").write_text(f"{number}")
        (tmp_path / f"case-{number}.out").write_text(f"{number}")
    words = ("submit", str(tmp_path / "echo.sh"), "--tests", str(tmp_path))
    async with on_terminal(*words, broker__url=url, **OWN) as terminal:
        await wait_until(lambda: re.search(r"case-0.*Accepted(?s:.*)test 2 of 3", terminal.read()))
        async with asyncio.timeout(LIMIT_S):
            code = await terminal.process.wait()
        shown = terminal.read()

    assert 0 == code
    assert "3 of 3 accepted" in shown[shown.rindex("test 2 of 3") :]
    assert "Traceback" not in shown
