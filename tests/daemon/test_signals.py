"""How the daemon ends: in good order at the first signal, at once at the second, and never with a loss."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.boxes import own_boxes
from support.daemon import daemon, launched
from support.processes import alive, sandboxes
from support.waiting import wait_until
from support.web import site
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture
def own(isolate: str, amqp_url: str) -> Iterator[dict[str, str]]:
    """Settings of daemons that follow one another in the same two boxes, on this test's own virtual host."""
    settings = {"broker__url": amqp_url, "sandbox__isolate": isolate, "sandbox__boxes": "2"}
    with own_boxes(settings) as own:
        yield own


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer."""
    async with peer(amqp_url) as client:
        yield client


async def send(client: Peer, *sources: str) -> None:
    common = {"language": "bash", "wall_time_limit": 100}
    await client.publish_all(
        SUBMISSIONS,
        [orjson.dumps({"id": str(uuid.uuid4()), "source_code": source} | common) for source in sources],
    )


def long_lived() -> list[str]:
    """A program whose processes can be told from all others."""
    return ["sleep", str(uuid.uuid4().int % 10**7 + 10**6)]


async def test_second_signal_ends_at_once_and_loses_nothing(
    own: dict[str, str], client: Peer, tmp_path: Path
) -> None:
    """Programs are ended, everything is back in the queue, exit code 0; the boxes can be used again."""
    program = long_lived()
    async with daemon(tmp_path / "log", **own) as running:
        await send(client, *[f"{' '.join(program)} & wait"] * 6)
        await wait_until(lambda: len(alive(program)) == 2)
        os.kill(running.process.pid, signal.SIGTERM)
        await wait_until(lambda: running.logged("service.draining"))
        began_s = time.monotonic()
        os.kill(running.process.pid, signal.SIGINT)
        await asyncio.sleep(0.01)
        code = await running.end(signal.SIGTERM)
        took_s = time.monotonic() - began_s
        survivors = alive(program)
        events = [event for event in ("service.hurried", "service.stopped") if running.logged(event)]
        text = running.text
    await client.until_waiting(SUBMISSIONS, 6)
    answered = await client.count(RESULTS)

    assert (0, [], 0) == (code, survivors, answered), text
    assert ["service.hurried", "service.stopped"] == events
    assert "Traceback" not in text
    assert took_s < 30


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGHUP])
async def test_first_signal_finishes_what_is_in_a_box(
    own: dict[str, str], client: Peer, tmp_path: Path, first: int
) -> None:
    """From a keyboard, and from a terminal that is closed; from a service manager in the next test."""
    program = long_lived()
    async with daemon(tmp_path / "log", **own) as running:
        await send(client, f"{' '.join(program)} & sleep 1; kill $!; echo done")
        await wait_until(lambda: alive(program))
        code = await running.end(first)
        text = running.text
    answer = await result(client)

    assert (0, "done\n") == (code, answer.stdout), text


async def test_first_signal_runs_nothing_twice(own: dict[str, str], client: Peer, tmp_path: Path) -> None:
    """What is in a box at SIGTERM is finished and answered once; all else waits for the next daemon."""
    async with daemon(tmp_path / "one", **own) as first:
        await send(client, *(f"sleep 2; echo {number}" for number in range(5)))
        await wait_until(lambda: len(sandboxes(first.process.pid, "./main.sh")) == 2)
        code = await first.end()
    answers = [await result(client) for _ in range(2)]
    await client.until_waiting(SUBMISSIONS, 3)
    left = await client.count(RESULTS)
    async with daemon(tmp_path / "two", **own) as second:
        answers += [await result(client) for _ in range(3)]
        codes = [code, await second.end()]
    await asyncio.sleep(0.5)  # what was not settled comes back
    await client.until_waiting(SUBMISSIONS, 0)
    more = await client.count(RESULTS)

    assert ([0, 0], 0, 0) == (codes, left, more)
    assert [f"{number}\n" for number in range(5)] == sorted(answer.stdout for answer in answers)
    assert [1, 1] == [answer.attempt for answer in answers[:2]]


async def test_killed_daemon_leaves_nothing_behind(own: dict[str, str], client: Peer, tmp_path: Path) -> None:
    """The next daemon ends what still runs, whatever it has forked, and has all boxes; no group is left."""
    program = long_lived()
    words = " ".join(program)
    async with daemon(tmp_path / "one", **own) as first:
        await send(client, *[f"trap '' TERM HUP INT; setsid {words} & (nohup {words} &) & exec {words}"] * 2)
        await wait_until(lambda: len(alive(program)) == 6)
        await first.end(signal.SIGKILL)
    async with daemon(tmp_path / "two", **own, judge__max_attempts="1"):
        gone_s = await wait_until(lambda: not alive(program))
        given_up = [await result(client) for _ in range(2)]
        began_s = time.monotonic()
        await send(client, "sleep 1", "sleep 1")
        judged = [await result(client) for _ in range(2)]
        usable_s = time.monotonic() - began_s
    boxes = [int(own["sandbox__first_box"]) + number for number in range(2)]
    groups = [path for box in boxes for path in Path("/sys/fs/cgroup").rglob(f"*box-{box}")]

    assert ["internal_error"] * 2 == [str(answer.status) for answer in given_up]
    assert [("accepted", box) for box in boxes] == sorted(
        (str(answer.status), answer.worker.box) for answer in judged
    )
    assert gone_s < 10
    assert usable_s < 30
    assert groups == []


async def result(client: Peer) -> Result:
    return Result.model_validate_json((await client.take(RESULTS)).body)


async def test_second_signal_waits_for_no_request(own: dict[str, str], tmp_path: Path) -> None:
    """Who waits over HTTP for a result is told that it comes later."""
    program = long_lived()
    async with site(tmp_path / "log", **own) as served:
        submission = {"language": "bash", "source_code": f"exec {' '.join(program)}", "wall_time_limit": 100}
        request = asyncio.create_task(served.post(submission, wait=True))
        await wait_until(lambda: alive(program))
        os.kill(served.daemon.process.pid, signal.SIGTERM)
        await wait_until(lambda: served.daemon.logged("service.draining"))
        code = await served.daemon.end(within_s=30)
        status, _ = await request

    assert (0, 202, []) == (code, status, alive(program))


async def test_second_signal_ends_a_start_too(own: dict[str, str], tmp_path: Path) -> None:
    """Nobody waits for a start that hangs; it takes no broker to stop."""
    own |= {"broker__url": "amqp://guest:guest@127.0.0.1:1/"}
    async with launched(tmp_path / "log", **own) as running:
        await wait_until(lambda: running.logged("broker.unavailable"))
        os.kill(running.process.pid, signal.SIGTERM)
        code = await running.end(within_s=30)

    assert code == 0
