"""Programs that would cost a daemon its boxes, where it is an ordinary user: it loses none, and goes on."""

import asyncio
import itertools
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, peer
from support.boxes import boxes
from support.daemon import Daemon, daemon, sandbox_setting
from support.ordinary import ordinary_user, require_set_uid
from support.waiting import wait_until
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

OPEN_FILES = 1_024
"""Fewer than the levels of the trees that the programs try to make; both are small to save time."""

NEST = """
import os
os.chdir('{}')
for n in range({levels}):
    os.mkdir('d', {mode})
    os.chdir('d')
"""
DEEP = {"isolate": "output_limit_exceeded", "embedded": "accepted"}
"""Isolate needs a descriptor for each level; the embedded sandbox needs one for all."""

PROGRAMS = [
    NEST.format("/box", levels=1_500, mode="0o700"),
    NEST.format("/tmp", levels=1_500, mode="0o700"),  # noqa: S108 - in a box
    NEST.format("/dev/shm", levels=1_500, mode="0o300"),  # noqa: S108
]


@pytest.fixture(params=["embedded", "isolate"])
def sandbox(request: pytest.FixtureRequest) -> str:
    """The name of a sandbox that an ordinary user can run."""
    if request.param == "isolate":
        require_set_uid(sandbox_setting("isolate"))
    return str(request.param)


@contextmanager
def two_boxes(sandbox: str, url: str) -> Iterator[dict[str, str]]:
    """The settings of a daemon with two boxes."""
    isolate = sandbox_setting(sandbox) or ""
    with boxes(2) as numbers:
        for number in (
            numbers if sandbox == "isolate" else ()
        ):  # what root has left there only root can remove
            subprocess.run([isolate, f"--box-id={number}", "--cleanup"], check=True)
        yield {
            "broker__url": url,
            "sandbox__isolate": isolate,
            "sandbox__boxes": "2",
            "sandbox__first_box": str(numbers.start),
            "sandbox__retire_s": "1",
        }


@pytest.fixture
def settings(sandbox: str, amqp_url: str) -> Iterator[dict[str, str]]:
    """The settings of a daemon."""
    with two_boxes(sandbox, amqp_url) as settings:
        yield settings


@pytest.fixture
def user(tmp_path: Path) -> list[str]:
    """The command that becomes an ordinary user."""
    (tmp_path / "stage").mkdir()
    return ordinary_user(tmp_path / "stage", open_files=OPEN_FILES)


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer."""
    async with peer(amqp_url) as client:
        yield client


async def send(client: Peer, name: str, source: str) -> None:
    fields = {"id": name, "language": "python", "source_code": source}
    await client.publish(SUBMISSIONS, orjson.dumps(fields | {"cpu_time_limit": 30, "wall_time_limit": 60}))


async def results(client: Peer, count: int) -> list[Result]:
    return [Result.model_validate_json((await client.take(RESULTS, 120)).body) for _ in range(count)]


async def statuses(client: Peer, count: int) -> dict[str, str]:
    return {result.id: str(result.status) for result in await results(client, count)}


def deep(first: int) -> bool:
    """Return whether one of the two boxes holds a tree, wherever the sandbox keeps its boxes."""
    embedded = Path("/var/tmp").glob("verdictd-box-*")  # noqa: S108
    roots = [Path("/var/local/lib/isolate"), Path("/var/lib/isolate"), *embedded]
    return any((root / str(first + number) / "box/d/d").exists() for root in roots for number in range(2))


def lost(running: Daemon) -> list[object]:
    return [*running.logged("box.retired"), *running.logged("sandbox.unusable")]


async def test_no_box_is_lost_to_what_programs_leave(
    sandbox: str, settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """Trees of any depth and mode get their verdict, and boxes are clean again by themselves."""
    expected = {f"deep-{number}": DEEP[sandbox] for number in range(len(PROGRAMS))}
    after = {f"ordinary-{number}": "accepted" for number in range(4)}
    async with daemon(tmp_path / "log", within=user, **settings) as running:
        for name, source in zip(expected, PROGRAMS, strict=True):
            await send(client, name, source)
        found = await statuses(client, len(expected))
        for name in after:
            await send(client, name, "print(1)")

        assert (expected, after) == (found, await statuses(client, len(after)))
        assert ([], 0) == (lost(running), await client.count(DEAD))


@pytest.mark.slow
async def test_no_box_is_lost_with_the_daemon(
    sandbox: str, settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """A daemon that is killed in the middle of it leaves boxes that the next one can use."""
    async with daemon(tmp_path / "killed", within=user, **settings) as running:
        for number, program in enumerate(PROGRAMS[:2]):
            await send(client, f"deep-{number}", program + "import time\ntime.sleep(5)")
        await wait_until(lambda: deep(int(settings["sandbox__first_box"])))
        await running.end(signal.SIGKILL)
    async with daemon(tmp_path / "next", within=user, **settings) as running:
        await send(client, "ordinary", "print(1)")
        found = await statuses(client, 3)

        assert {"deep-0": DEEP[sandbox], "deep-1": DEEP[sandbox], "ordinary": "accepted"} == found
        assert [] == lost(running)


@pytest.mark.slow
async def test_no_daemon_of_two_is_lost_to_a_message(
    sandbox: str, settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """11,000 levels, where only the box's user can remove them: one answer, and both daemons judge on."""
    tree = NEST.format("/tmp", levels=11_000, mode="0o700")  # noqa: S108 - in a box
    with two_boxes(sandbox, settings["broker__url"]) as others:
        async with (
            daemon(tmp_path / "one", within=user, **settings) as one,
            daemon(tmp_path / "two", within=user, **others) as two,
        ):
            await send(client, "deep", tree)
            deep = await statuses(client, 1)
            ordinary = await judged_by_each(client, settings, others)
            left = await client.count(RESULTS), await client.count(DEAD)

            assert {"deep": "output_limit_exceeded"} == deep
            assert {"accepted"} == ordinary
            assert ((0, 0), []) == (left, lost(one) + lost(two))


async def judged_by_each(client: Peer, *daemons: dict[str, str]) -> set[str]:
    """Publish ordinary submissions until each daemon has judged one; return their statuses."""
    numbers = itertools.count()
    waiting = {int(settings["sandbox__first_box"]) for settings in daemons}
    found: set[str] = set()
    async with asyncio.timeout(120):
        while waiting:
            for _ in range(4):
                await send(client, f"ordinary-{next(numbers)}", "import time; time.sleep(0.2)")
            for result in await results(client, 4):
                found.add(str(result.status))
                waiting -= {first for first in waiting if result.worker.box in {first, first + 1}}
    return found
