"""Submissions that kill the daemon: each is given up after three deaths, and costs nobody else a verdict."""

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage

from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, broker_settings, connected, consuming, peer
from support.boxes import own_boxes
from support.daemon import Daemon, launched
from support.processes import alive, ancestors
from support.waiting import wait_until
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


class Judgehost:
    """A judge box whose daemon is started again whenever it ends, as systemd does. State: that daemon."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._settings = {"broker__url": url, "sandbox__isolate": "embedded", "sandbox__boxes": "2"}
        self.daemon: Daemon | None = None

    async def keep(self) -> None:
        """Start one daemon after the other, in the same boxes, until cancelled."""
        with own_boxes(self._settings) as own:
            while True:
                async with launched(self._folder / f"{uuid.uuid4()}.log", **own) as self.daemon:
                    await self.daemon.process.wait()

    async def kill_if_it_runs(self, program: list[str]) -> bool:
        """Kill the daemon where this program runs in a box of it."""
        if self.daemon is None or not any(
            self.daemon.process.pid in ancestors(pid) for pid in alive(program)
        ):
            return False
        await self.daemon.end(signal.SIGKILL)
        return True


@asynccontextmanager
async def kept(hosts: list[Judgehost]) -> AsyncIterator[None]:
    keeping = [asyncio.create_task(host.keep()) for host in hosts]
    try:
        yield
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.wait(keeping)


@asynccontextmanager
async def collected(client: Peer) -> AsyncIterator[list[Result]]:
    """The results, as they come."""
    found: list[Result] = []

    async def collect(message: AbstractIncomingMessage) -> None:
        found.append(Result.model_validate_json(message.body))

    results = await client.channel.declare_queue(RESULTS, durable=True, arguments={"x-queue-type": "quorum"})
    tag = await results.consume(collect, no_ack=True)
    yield found
    await results.cancel(tag)


async def test_poison_is_given_up_after_three_deaths_and_its_neighbours_are_judged(
    amqp_url: str, tmp_path: Path
) -> None:
    """Either of two hosts dies of it, but alone: no neighbour is lost, given up, or tried as often."""
    poison = ["sleep", str(uuid.uuid4().int % 10**7 + 10**6)]
    hosts = [Judgehost(tmp_path, amqp_url) for _ in range(2)]
    sources = {f"n-{number}": "sleep 0.5" for number in range(2)} | {"poison": f"exec {' '.join(poison)}"}
    sources |= {f"n-{number}": "sleep 0.02" for number in range(2, 12)}
    deaths = 0
    async with kept(hosts), peer(amqp_url) as client:
        await wait_until(
            lambda: all(host.daemon and host.daemon.logged("broker.consuming") for host in hosts)
        )
        async with collected(client) as answers:
            common = {"language": "bash", "wall_time_limit": 60}
            await client.publish_all(
                SUBMISSIONS,
                [
                    orjson.dumps({"id": name, "source_code": source} | common)
                    for name, source in sources.items()
                ],
            )
            async with asyncio.timeout(200):
                while {answer.id for answer in answers} != set(sources):
                    deaths += sum([await host.kill_if_it_runs(poison) for host in hosts])
                    await asyncio.sleep(0.1)
            dead = [orjson.loads((await client.take(DEAD)).body)["id"]]
            left = await client.count(DEAD), await client.count(SUBMISSIONS)

    expected = dict.fromkeys(sources, "accepted") | {"poison": "internal_error"}
    assert expected == {answer.id: str(answer.status) for answer in answers}
    assert (3, ["poison"], (0, 0)) == (deaths, dead, left)
    worst = max(answer.attempt for answer in answers if answer.id != "poison")
    assert worst <= 2


async def test_suspects_are_in_work_alone(amqp_url: str) -> None:
    """What a dead neighbour held comes one at a time, while nothing else is in work; then all goes on."""
    together: Counter[bytes] = Counter()
    in_work: set[bytes] = set()
    full = asyncio.Event()

    async def handle(delivery: Delivery) -> Settlement:
        in_work.add(delivery.body)
        if len(in_work) == 4:
            full.set()
        await (asyncio.sleep(0.1) if delivery.body in suspects else full.wait())
        together[delivery.body] = max(together[delivery.body], len(in_work))
        in_work.discard(delivery.body)
        return Settlement.ACK

    suspects, others = [b"s-%d" % number for number in range(4)], [b"o-%d" % number for number in range(8)]
    async with connected(broker_settings(amqp_url)) as broker, peer(amqp_url) as client:
        await client.publish_all(SUBMISSIONS, (*suspects, *others))
        async with peer(amqp_url) as dies:
            queue = await dies.channel.get_queue(SUBMISSIONS, ensure=False)
            for _ in suspects:
                await queue.get()
        await client.until_waiting(SUBMISSIONS, len(suspects) + len(others))
        async with consuming(broker, handle, prefetch=4):
            await wait_until(lambda: len(together) == len(suspects) + len(others))

    assert [1] * len(suspects) == [together[body] for body in suspects]
    assert 4 == max(together[body] for body in others)


async def test_what_comes_back_to_the_same_process_is_no_suspect(amqp_url: str) -> None:
    """It was had before and did not kill: a lost connection, or a fault of ours, holds up nobody."""
    in_work: set[bytes] = set()
    full = asyncio.Event()

    async def handle(delivery: Delivery) -> Settlement:
        if not delivery.redelivered:
            return Settlement.REQUEUE
        in_work.add(delivery.body)
        if len(in_work) == 4:
            full.set()
        await full.wait()
        return Settlement.ACK

    async with (
        connected(broker_settings(amqp_url)) as broker,
        peer(amqp_url) as client,
        consuming(broker, handle, prefetch=4),
    ):
        await client.publish_all(SUBMISSIONS, [b"%d" % number for number in range(4)])
        await wait_until(full.is_set)

    assert 4 == len(in_work)
