"""Programs that would cost a daemon its boxes, where it is an ordinary user: it loses none, and goes on."""

import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
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

PROGRAMS = {
    "deep": "".join(
        NEST.format(place, levels=1_500, mode=mode)
        for place, mode in (("/box", "0o700"), ("/tmp", "0o700"), ("/dev/shm", "0o300"))  # noqa: S108 - in a box
    ),
    "too-many": NEST.format("/tmp", levels=11_000, mode="0o700"),  # noqa: S108
}


@pytest.fixture(params=["embedded", "isolate"])
def sandbox(request: pytest.FixtureRequest) -> str:
    """The name of a sandbox that an ordinary user can run."""
    if request.param == "isolate":
        require_set_uid(sandbox_setting("isolate"))
    return str(request.param)


@pytest.fixture
def settings(sandbox: str, amqp_url: str) -> Iterator[dict[str, str]]:
    """The settings of a daemon with two boxes."""
    isolate = sandbox_setting(sandbox) or ""
    with boxes(2) as numbers:
        for number in (
            numbers if sandbox == "isolate" else ()
        ):  # what root has left there only root can remove
            subprocess.run([isolate, f"--box-id={number}", "--cleanup"], check=True)
        yield {
            "broker__url": amqp_url,
            "sandbox__isolate": isolate,
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


@pytest.mark.slow
async def test_no_box_is_lost_to_what_programs_leave(
    sandbox: str, settings: dict[str, str], user: list[str], client: Peer, tmp_path: Path
) -> None:
    """Trees of any depth and mode get their verdict, and boxes are clean again by themselves.

    Also where the daemon is killed in the middle of it; only the box's user can remove what is in /tmp.
    """
    async with daemon(tmp_path / "killed", within=user, **settings) as running:
        for name, source in PROGRAMS.items():
            await send(client, name, source + "import time\ntime.sleep(1)")
        await wait_until(lambda: deep(int(settings["sandbox__first_box"])))
        await running.end(signal.SIGKILL)
    async with daemon(tmp_path / "next", within=user, **settings) as running:
        found = await statuses(client, len(PROGRAMS))
        for number in range(4):
            await send(client, f"ordinary-{number}", "print(1)")
        after = await statuses(client, 4)

        assert {"deep": DEEP[sandbox], "too-many": "output_limit_exceeded"} == found
        assert {f"ordinary-{number}": "accepted" for number in range(4)} == after
        assert ([], 0, 0) == (lost(running), await client.count(DEAD), await client.count(RESULTS))
