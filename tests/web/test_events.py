"""Server-sent events: what becomes of a submission, passed on to those who watch it over HTTP."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.broker import Broker, vhost
from support.daemon import daemon
from support.waiting import LIMIT_S
from support.web import Site, site, until_in_box
from verdictd.contract.events import Event

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

STREAMS = 3


@pytest.fixture(scope="module")
def url(broker: Broker) -> str:
    """The virtual host that the tests of this module share."""
    return broker.fresh_vhost()


@pytest.fixture(scope="module")
async def shared(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon for tests that leave nothing in its queues."""
    log = tmp_path_factory.mktemp("events") / "daemon.log"
    async with site(log, broker__url=url, http__max_event_streams=str(STREAMS)) as shared:
        yield shared


def bash(source: str, **fields: Any) -> dict[str, Any]:
    submission = {"id": str(uuid.uuid4()), "language": "bash", "source_code": source, "events": True}
    return submission | fields


@asynccontextmanager
async def stream(served: Site, submission_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """A stream, from the moment on from which it misses nothing."""
    async with served.client.get(f"/submissions/{submission_id}/events") as response:
        assert 200 == response.status
        yield response


async def parsed(response: aiohttp.ClientResponse) -> list[tuple[str, Event]]:
    """The whole stream, as a browser reads it."""
    async with asyncio.timeout(LIMIT_S):
        blocks = (await response.text()).split("\n\n")
    assert "" == blocks.pop()
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block[0] != ":"]
    return [(one["event"], Event.model_validate_json(one["data"])) for one in fields]


async def test_stream_that_is_opened_first_misses_nothing(shared: Site) -> None:
    """Every event in order, and the end of the stream after the last one."""
    submission = bash("cat", id="a.b", tests=[{"stdin": "1"}, {"stdin": "2"}])
    async with stream(shared, "a.b") as response, stream(shared, "a") as other:
        _, result = await shared.post(submission, wait=True)
        events = await parsed(response)
        other.close()

    assert ["started", "compiled", "test", "test", "finished"] == [kind for kind, _ in events]
    assert [kind for kind, _ in events] == [event.kind for _, event in events]
    assert [1, 2, 3, 4, 5] == [event.sequence for _, event in events]
    assert result["status"] == events[-1][1].status
    assert "text/event-stream" == response.content_type
    assert "no-store" == response.headers["Cache-Control"]


async def test_stream_of_what_is_finished_ends_at_once(shared: Site) -> None:
    """The last event is remembered for those who come too late."""
    submission = bash("echo 42")
    await shared.post(submission, wait=True)
    async with stream(shared, submission["id"]) as response:
        events = await parsed(response)

    assert [("finished", "accepted")] == [(kind, event.status) for kind, event in events]


@pytest.mark.parametrize("path", ["a%20b", "%C3%A9", "a" * 129, "a%0Ab", "*"])
async def test_id_that_cannot_be_one_is_refused(shared: Site, path: str) -> None:
    """400; no binding is made of it."""
    status, said = await shared.get(f"/submissions/{path}/events")

    assert (400, True) == (status, said["message"].startswith("An id has"))


async def test_streams_are_bounded(shared: Site) -> None:
    """One more is refused; the place of one that has ended, or whose client has left, is free again."""
    async with AsyncExitStack() as stack:
        for number in range(STREAMS):
            await stack.enter_async_context(stream(shared, f"held-{number}"))
        async with shared.client.get("/submissions/one-more/events") as refused:
            said = await refused.json()
    async with asyncio.timeout(LIMIT_S):
        while (await head_of(shared)) != 200:
            await asyncio.sleep(0.05)

    assert (503, "Too many streams of events are open.", "5") == (
        refused.status,
        said["message"],
        refused.headers["Retry-After"],
    )


async def head_of(served: Site) -> int:
    async with served.client.get("/submissions/one-more/events") as response:
        return response.status


async def test_head_is_not_a_stream(shared: Site) -> None:
    """It would stay open and show nothing."""
    async with shared.client.head("/submissions/a/events") as response:
        assert 405 == response.status


async def test_lost_connection_ends_the_stream(shared: Site, url: str, broker: Broker) -> None:
    """A client sees that it does not hear any more, and can open another one."""
    async with stream(shared, "lost") as response:
        broker.close_connections(vhost(url), "verdictd consume")
        events = await parsed(response)
    await shared.ready()
    submission = bash("echo 42")
    async with stream(shared, submission["id"]) as response:
        await shared.post(submission, wait=True)
        later = await parsed(response)

    assert [] == events
    assert "finished" == later[-1][0]


async def test_submission_on_another_judge_box_is_followed_too(amqp_url: str, tmp_path: Path) -> None:
    """Two at once, on two daemons with one box each; only one of these serves HTTP."""
    submissions = [bash("sleep 1", id=name) for name in ("one", "two")]
    own = {"broker__url": amqp_url, "sandbox__isolate": "embedded", "sandbox__boxes": "1"}
    async with (
        daemon(tmp_path / "other", **own),
        site(tmp_path / "log", **own) as served,
        stream(served, "one") as first,
        stream(served, "two") as second,
    ):
        results = await asyncio.gather(*(served.post(submission, wait=True) for submission in submissions))
        told = [await parsed(first), await parsed(second)]

    assert 2 == len({result["worker"]["box"] for _, result in results})
    assert ["one", "two"] == [events[0][1].id for events in told]
    assert [["started", "compiled", "test", "finished"]] * 2 == [[kind for kind, _ in one] for one in told]


async def test_stream_of_a_daemon_that_stops_ends_with_the_submission(amqp_url: str, tmp_path: Path) -> None:
    """Its end is told; what nobody tells of any more does not delay the daemon."""
    submission = bash("sleep 1")
    async with (
        site(tmp_path / "log", broker__url=amqp_url, http__event_stream_s="30") as served,
        stream(served, submission["id"]) as told,
        stream(served, "silent") as silent,
    ):
        posting = asyncio.create_task(served.post(submission, wait=True))
        await until_in_box(served, 1)
        code = await served.daemon.end()
        events, nothing = await parsed(told), await parsed(silent)
        await posting

    assert (0, []) == (code, nothing)
    assert ["started", "compiled", "finished"] == [kind for kind, _ in events if kind != "test"]


async def test_stream_has_a_longest_life(amqp_url: str, tmp_path: Path) -> None:
    """A submission that nobody sends holds a stream for a while only."""
    async with (
        site(tmp_path / "log", broker__url=amqp_url, http__event_stream_s="0.2") as served,
        stream(served, "nothing") as response,
    ):
        events = await parsed(response)

    assert ([], []) == (events, served.daemon.logged("http.failed"))
