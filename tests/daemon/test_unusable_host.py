"""A host whose sandbox fails: it takes no submissions until that is over, and none is answered for it."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, peer
from support.daemon import daemon
from support.faulty import Faulty
from support.waiting import wait_until
from support.web import site
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

MOUNT, UMOUNT = "/usr/bin/mount", "/usr/bin/umount"
BOXES = {"sandbox__boxes": "2", "sandbox__retire_s": "1"}


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer."""
    async with peer(amqp_url) as client:
        yield client


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path)


async def send(client: Peer, count: int, source: str = "echo fine") -> set[str]:
    ids = {f"s-{number}" for number in range(count)}
    for name in ids:
        fields = {"id": name, "language": "bash", "source_code": source, "expected_output": "fine"}
        await client.publish(SUBMISSIONS, orjson.dumps(fields))
    return ids


async def results(client: Peer, count: int) -> list[Result]:
    taken = [await client.take(RESULTS, 60) for _ in range(count)]
    return [Result.model_validate_json(message.body) for message in taken]


@pytest.mark.slow
async def test_host_without_its_sandbox_takes_nothing_until_it_is_back(
    amqp_url: str, client: Peer, faulty: Faulty, tmp_path: Path
) -> None:
    """However often the sandbox vanishes, its submissions wait in the queue, and are judged in the end."""
    own = BOXES | {"broker__url": amqp_url, "sandbox__isolate": str(faulty.path)}
    async with daemon(tmp_path / "log", **own | {"sandbox__boxes": "1"}) as running:
        faulty.do_instead(f'case " $* " in *main.sh*) rm -f {faulty.path}; exit 127 ;; esac')
        ids = await send(client, 4)
        for outage in range(1, 5):
            await wait_until(lambda: len(running.logged("sandbox.unusable")) == outage)  # noqa: B023
            await client.until_waiting(SUBMISSIONS, 4)
            tries = len(running.logged("submission.not_judged"))
            await asyncio.sleep(2.5)

            assert tries == len(running.logged("submission.not_judged"))
            assert tries <= 3 * outage
            if outage == 4:
                faulty.work_again()
            faulty.come_back()
        answers = await results(client, 4)
        suspended = running.logged("broker.suspended")

    assert dict.fromkeys(ids, "accepted") == {answer.id: str(answer.status) for answer in answers}
    assert (4, 0) == (len(suspended), await client.count(DEAD))


async def test_submission_that_costs_every_box_is_given_up_after_three(
    amqp_url: str, client: Peer, faulty: Faulty, tmp_path: Path
) -> None:
    """The last box of a host counts like any other; then it is answered, and the box is back for others."""
    lost = tmp_path / "lost"
    own = BOXES | {"broker__url": amqp_url, "sandbox__isolate": str(faulty.path), "sandbox__boxes": "1"}
    async with daemon(tmp_path / "log", **own) as running:
        faulty.do_instead(f'[[ "$*" == *main.sh* ]] && touch {lost}; [ -e {lost} ] && exit 2')
        await send(client, 1)
        for count in range(1, 4):
            await wait_until(lambda: len(running.logged("sandbox.unusable")) == count)  # noqa: B023
            lost.unlink()
        (given_up,) = await results(client, 1)
        faulty.work_again()
        await send(client, 1, "echo fine ")
        (judged,) = await results(client, 1)

    assert ("internal_error", "Gave up after 3 attempts.") == (given_up.status, given_up.message)
    assert ("accepted", 1) == (judged.status, await client.count(DEAD))


async def test_other_hosts_judge_what_a_broken_one_cannot(
    amqp_url: str, client: Peer, faulty: Faulty, tmp_path: Path
) -> None:
    """A broken host costs a submission one attempt at the most, and has the queue to itself no longer."""
    own = BOXES | {"broker__url": amqp_url, "sandbox__isolate": str(faulty.path)}
    async with daemon(tmp_path / "broken", **own) as broken:
        faulty.vanish()
        other = BOXES | {"broker__url": amqp_url, "sandbox__isolate": "embedded"}
        async with daemon(tmp_path / "healthy", **other):
            ids = await send(client, 10)
            answers = await results(client, 10)
        tries = len(broken.logged("submission.not_judged"))

    assert dict.fromkeys(ids, "accepted") == {answer.id: str(answer.status) for answer in answers}
    assert tries <= 4
    assert max(answer.attempt for answer in answers) <= 3


async def test_readiness_follows_the_sandbox(amqp_url: str, faulty: Faulty, tmp_path: Path) -> None:
    """Who asks is told that no box is usable, and when one is again."""
    own = BOXES | {"broker__url": amqp_url, "sandbox__isolate": str(faulty.path)}
    async with site(tmp_path / "log", **own) as served, peer(amqp_url) as client:
        faulty.vanish()
        await send(client, 2)
        await wait_until(lambda: served.daemon.logged("broker.suspended"))
        broken = await served.get("/readyz")
        faulty.come_back()
        await served.ready()
        answers = await results(client, 2)

    (idle, unusable) = broken[1]["problems"]
    assert (503, "not consuming submissions") == (broken[0], idle)
    assert re.fullmatch(rf"no box is usable: .*{re.escape(str(faulty.path))}.*", unusable)
    assert ["accepted"] * 2 == [str(answer.status) for answer in answers]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    folder.mkdir()
    subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=48m,mode=700", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run([UMOUNT, "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_full_disk_is_no_verdict(amqp_url: str, client: Peer, tmp_path: Path) -> None:
    """What a program could not write for want of room says nothing about it; with room again it is judged."""
    with small_disk(tmp_path / "boxes") as disk:
        own = BOXES | {"broker__url": amqp_url, "sandbox__isolate": "embedded"}
        async with daemon(tmp_path / "log", box_root=str(disk), **own) as running:
            (disk / "fill").write_bytes(bytes(40 * 1024 * 1024))
            await send(client, 6, "head -c 10000000 /dev/zero > file && echo fine")
            await wait_until(lambda: running.logged("sandbox.unusable"))
            await client.until_waiting(SUBMISSIONS, 6)
            (disk / "fill").unlink()
            answers = await results(client, 6)

    assert ["accepted"] * 6 == [str(answer.status) for answer in answers]
