"""Programs that would cost a daemon its boxes, where it is an ordinary user: it loses none, and goes on."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, peer
from support.boxes import boxes
from support.daemon import Daemon, daemon, sandbox_setting
from support.ordinary import ordinary_user, set_uid_isolate
from support.waiting import wait_until
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

OPEN_FILES = 16_384
"""Fewer than the levels of the trees that the programs try to make."""

NEST = """
import os
os.chdir('{}')
for n in range(20_000):
    os.mkdir('d', {})
    os.chdir('d')
"""
DEEP = "output_limit_exceeded"
CASES = {
    "nested in /box": (NEST.format("/box", "0o700"), DEEP),
    "nested in /tmp": (NEST.format("/tmp", "0o700"), DEEP),  # noqa: S108 - in a box
    "nested in /dev/shm, unreadable": (NEST.format("/dev/shm", "0o300"), DEEP),  # noqa: S108
    "1,000 levels": (NEST.replace("20_000", "1_000").format("/tmp", "0o300"), "accepted"),  # noqa: S108
    "nothing special": ("print(1)", "accepted"),
}


@pytest.fixture(params=["embedded", "isolate"])
def settings(request: pytest.FixtureRequest, amqp_url: str) -> Iterator[dict[str, str]]:
    """The settings of a daemon with two boxes."""
    isolate = sandbox_setting(request.param)
    isolate = isolate if request.param == "embedded" else set_uid_isolate(isolate)
    with boxes(2) as numbers:
        yield {
            "broker__url": amqp_url,
            "sandbox__isolate": isolate or "",
            "sandbox__boxes": "2",
            "sandbox__first_box": str(numbers.start),
            "sandbox__retire_s": "1",
        }


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


async def statuses(client: Peer, count: int) -> dict[str, str]:
    taken = [await client.take(RESULTS, 120) for _ in range(count)]
    results = [Result.model_validate_json(message.body) for message in taken]
    return {result.id: str(result.status) for result in results}


def deep(first: int) -> bool:
    """Return whether one of the two boxes holds a tree, wherever the sandbox keeps its boxes."""
    roots = [
        Path("/var/local/lib/isolate"),
        Path("/var/lib/isolate"),
        *Path("/var/tmp").glob("verdictd-box-*"),
    ]
    return any((root / str(first + number) / "box/d/d").exists() for root in roots for number in range(2))


def lost(running: Daemon) -> list[object]:
    return [*running.logged("box.retired"), *running.logged("sandbox.unusable")]


async def test_no_box_is_lost_to_what_programs_leave(
    settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """Trees of any depth and mode get their verdict, and boxes are clean again by themselves."""
    names = dict(zip(map("s-{}".format, range(len(CASES))), CASES.values(), strict=True))
    async with daemon(tmp_path / "log", within=user, **settings) as running:
        for name, (source, _) in names.items():
            await send(client, name, source)
        found = await statuses(client, len(CASES))
        again = [f"again-{number}" for number in range(4)]
        for name in again:
            await send(client, name, "print(1)")
        after = await statuses(client, len(again))

        assert {name: status for name, (_, status) in names.items()} == found
        assert dict.fromkeys(again, "accepted") == after
        assert ([], 0) == (lost(running), await client.count(DEAD))


async def test_no_box_is_lost_with_the_daemon(
    settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """A daemon that is killed in the middle of it leaves boxes that the next one can use."""
    async with daemon(tmp_path / "killed", within=user, **settings) as running:
        for number, place in enumerate(("/box", "/tmp")):  # noqa: S108 - in a box
            await send(client, f"s-{number}", NEST.format(place, "0o700") + "import time\ntime.sleep(5)")
        await wait_until(lambda: deep(int(settings["sandbox__first_box"])))
        await running.end(signal.SIGKILL)
    (tmp_path / "stage2").mkdir()
    user = ordinary_user(tmp_path / "stage2", open_files=OPEN_FILES)
    async with daemon(tmp_path / "next", within=user, **settings) as running:
        await send(client, "ordinary", "print(1)")
        found = await statuses(client, 3)

        assert {"s-0": DEEP, "s-1": DEEP, "ordinary": "accepted"} == found
        assert [] == lost(running)
