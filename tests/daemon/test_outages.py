"""RabbitMQ away, short of memory, or refusing: the daemon is late, but nothing is lost or run twice."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, declare, peer
from support.broker import Broker, vhost
from support.daemon import Daemon, daemon
from support.metrics import scrape
from support.processes import sandboxes
from support.proxy import Proxy
from support.rabbitmq import PrivateBroker
from support.waiting import LIMIT_S, wait_until
from support.web import site, until_in_box
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

IN_WORK = 4
"""Two boxes and the reserve."""


@asynccontextmanager
async def running_at(url: str, folder: Path) -> AsyncIterator[Daemon]:
    """A daemon with default timeouts, which remembers no more results than it must."""
    settings = {
        "broker__url": url,
        "sandbox__isolate": "embedded",
        "sandbox__boxes": "2",
        "service__remembered_bytes": "0",
    }
    async with daemon(folder / "log", **settings) as running:
        yield running


async def send(client: Peer, source: str, count: int) -> set[str]:
    ids = {f"s-{number}" for number in range(count)}
    common = {"language": "bash", "source_code": source, "max_output_size": 8192, "wall_time_limit": 60}
    await client.publish_all(SUBMISSIONS, [orjson.dumps({"id": name} | common) for name in ids])
    return ids


async def runs(client: Peer, ids: set[str], queue: str = RESULTS) -> dict[str, set[str]]:
    """What the runs of each submission wrote, once all are answered and nothing is left."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    async with asyncio.timeout(120):
        while set(found) != ids or await client.count(SUBMISSIONS) or await client.count(queue):
            result = Result.model_validate_json((await client.take(queue)).body)
            found[result.id].add(result.stdout[-40:])
    return found


def cpu_s(running: Daemon) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
async def test_results_wait_for_a_broker_that_is_away(amqp_url: str, tmp_path: Path) -> None:
    """Large results wait in memory; the daemon idles, and is back soon after the broker."""
    async with (
        Proxy.open(amqp_url) as broker,
        running_at(broker.url, tmp_path) as running,
        peer(amqp_url) as client,
    ):
        ids = await send(client, "sleep 3; head -c 1000000 /dev/zero | tr '\\0' x; date +%s%N", 6)
        await wait_until(lambda: len(sandboxes(running.process.pid)) == 2)
        async with broker.away():
            await until_idle(running)
            before_s, began_s = cpu_s(running), time.monotonic()
            await asyncio.sleep(5)
            idle = (cpu_s(running) - before_s) / (time.monotonic() - began_s)
            answered = len(running.logged("submission.answered"))
        back_s = await wait_until(lambda: consumed_submissions(running) == 2)
        found = await runs(client, ids)

    assert dict.fromkeys(ids, 1) == {name: len(outputs) for name, outputs in found.items()}
    assert answered == 0
    assert idle < 0.02
    assert back_s < 30


def consumed_submissions(running: Daemon) -> int:
    """How often RabbitMQ began to deliver submissions."""
    return sum(line["queue"] == SUBMISSIONS for line in running.logged("broker.consuming"))


async def until_idle(running: Daemon, quiet_s: float = 2) -> None:
    """Wait until nothing is judged any more; between two programs a box is empty for a moment."""
    since_s = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while time.monotonic() - since_s < quiet_s:
            await asyncio.sleep(0.2)
            if sandboxes(running.process.pid):
                since_s = time.monotonic()


async def test_memory_alarm_stops_consumption_when_results_are_full(
    rabbitmq: PrivateBroker, tmp_path: Path
) -> None:
    """Judging goes on until as many results wait as can be in work; then the queue keeps the rest."""
    url = rabbitmq.fresh_vhost()
    await declare(url)
    async with peer(url) as client, AsyncExitStack() as alarm:
        ids = await send(client, "sleep 1; date +%s%N", 8)
        await alarm.enter_async_context(rabbitmq.memory_alarm())
        async with running_at(url, tmp_path) as running:
            await client.until_waiting(SUBMISSIONS, 8 - IN_WORK)
            await until_idle(running)
            waiting = await client.count(SUBMISSIONS)
            await alarm.aclose()
            found = await runs(client, ids)
            await wait_until(lambda: len(running.logged("submission.answered")) == 8)
            answers = running.logged("submission.answered")

    assert 8 - IN_WORK == waiting
    assert dict.fromkeys(ids, 1) == {name: len(outputs) for name, outputs in found.items()}
    assert [1] * 8 == [line["attempt"] for line in answers]


def revoke(broker: Broker, name: str) -> None:
    broker.permit_guest(name, "^$")
    broker.close_connections(name)  # RabbitMQ asks for rights when something is done, not before


def grant(broker: Broker, name: str) -> None:
    broker.permit_guest(name, ".*")


Change = Callable[[Broker, str], None]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ((revoke, grant), "ACCESS_REFUSED"),
        ((Broker.delete_vhost, Broker.add_vhost), "the virtual host does not exist"),
    ],
)
async def test_lost_rights_are_said_until_they_are_back(
    broker: Broker, amqp_url: str, tmp_path: Path, changes: tuple[Change, Change], reason: str
) -> None:
    """Without rights or a virtual host the log says why, again and again; with them the daemon is back.

    The first submission may be judged again: its answer can arrive just before it is settled.
    """
    take_away, give_back = changes
    async with running_at(amqp_url, tmp_path) as running:
        async with peer(amqp_url) as client:
            await send(client, "echo before", 1)
            await runs(client, {"s-0"})
            await asyncio.to_thread(take_away, broker, vhost(amqp_url))
        await wait_until(lambda: len(reasons(running, reason)) >= 3)
        await asyncio.to_thread(give_back, broker, vhost(amqp_url))
        consumed = consumed_submissions(running)
        back_s = await wait_until(lambda: consumed_submissions(running) > consumed)
        async with peer(amqp_url) as client:
            found = await runs(client, await send(client, "echo after", 2))

    assert {"after\n"} == found["s-1"]
    assert back_s < 30


def reasons(running: Daemon, words: str) -> list[str]:
    found = [line for line in running.logged("broker.lost") if line["connection"] == "verdictd consume"]
    return [line["reason"] for line in found if words in line["reason"]]


async def test_memory_alarm_is_seen_by_who_asks(rabbitmq: PrivateBroker, tmp_path: Path) -> None:
    """A daemon whose results are not taken is not ready, and says so; afterwards it is."""
    url = rabbitmq.fresh_vhost()
    own = {"broker__url": url, "broker__publish_timeout_s": "10"}
    async with site(tmp_path / "log", **own) as served, peer(url) as client:
        ids = await send(client, "sleep 15", 1)  # the alarm comes before it ends
        await until_in_box(served, 1)
        async with rabbitmq.memory_alarm():
            async with asyncio.timeout(LIMIT_S):
                while (asked := await served.get("/readyz"))[0] == 200:
                    await asyncio.sleep(0.1)
            submission = {"language": "bash", "source_code": "true"}
            refused = await served.post(submission)
            began_s = time.monotonic()
            refused_again, measured = await served.post(submission), await scrape(served)
            took_s = time.monotonic() - began_s
        await served.ready()
        async with asyncio.timeout(60):
            while (await client.take(RESULTS, 60)).correlation_id not in ids:
                pass

    assert (503, 503) == (refused[0], refused_again[0])
    assert took_s < 10, "it waits for RabbitMQ, which does not read"
    assert (503, ["RabbitMQ takes no results now"]) == (asked[0], asked[1]["problems"])
    assert (0, 0) == (measured.value("verdictd_ready"), measured.value("verdictd_broker_connected"))
