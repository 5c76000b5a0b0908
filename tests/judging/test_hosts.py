"""Start and end of a judgehost: it takes over what was left, refuses what cannot work, and leaves nothing."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from judging.faulty_hosts import CHECKER, ON_INIT, ON_RUN, Open, judge, result_of, settings_of
from support.boxes import boxes
from support.faulty import Faulty
from support.waiting import wait_until
from verdictd.cli.check import Check, check
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.judging.languages import Registry
from verdictd.sandbox import box as box_module
from verdictd.sandbox.discovery import NoSandbox
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState, BoxTaken, Draining, lock_boxes
from verdictd.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path)


@pytest.fixture
def numbers() -> Iterator[range]:
    """The numbers of two boxes."""
    with boxes(2) as numbers:
        yield numbers


@pytest.fixture
def settings(faulty: Faulty, numbers: range) -> Settings:
    """Settings of a host with two boxes of the faulty sandbox."""
    return settings_of(faulty, numbers)


@pytest.fixture
def opened(settings: Settings) -> Open:
    """A host with these settings."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Judgehost]:
        async with open_judgehost(settings) as host:
            yield host

    return opened


async def test_companion_is_made_when_it_is_first_needed(opened: Open, numbers: range) -> None:
    """Also where a killed daemon left it; and it is removed at the end, as all boxes are."""
    async with opened() as host:
        root = host.sandbox.box_root
        companions = [root / str(number) for number in range(numbers.stop, numbers.stop + len(numbers))]
        for path in companions:
            shutil.rmtree(path, ignore_errors=True)  # a daemon that another test killed may have left it
        await result_of(host, "bash", "", checker=CHECKER)
        made = [path.exists() for path in companions]
    removed = not any(path.exists() for path in companions)
    (companions[0] / "box").mkdir(parents=True)
    (companions[0] / "box" / "left").touch()
    async with opened() as host:
        result = await result_of(host, "bash", "", checker=CHECKER | {"source_code": "ls >&2"})
        await result_of(host, "bash", "", checker=CHECKER)

    assert ([False, True], True) == (sorted(made), removed)
    assert "data\nmain.sh" == result.checker_message
    assert not any(path.exists() for path in companions)


async def test_boxes_left_in_the_other_mode_are_taken_over(
    opened: Open, numbers: range, tmp_path: Path
) -> None:
    """A killed daemon may have run without control groups; the next one uses them all the same."""
    async with opened() as host:
        found = host.sandbox
    if not found.control_groups:
        pytest.skip("control groups do not work here")
    without = replace(found, control_groups=False)
    for number in numbers:
        await box_module.Box(without, BoxId(number), tmp_path).reset()
    async with opened() as host:
        statuses = [await judge(host) for _ in range(2)]

        assert host.sandbox.control_groups
    assert [Status.ACCEPTED] * 2 == statuses


async def test_check_tells_of_a_box_that_cannot_be_cleaned(
    faulty: Faulty, settings: Settings, numbers: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retired box fails the check, by its number."""
    faulty.do_instead(f'[[ "$*" == *--box-id={numbers[1]}\\ * ]] && ' + ON_INIT.format("exit 2"))
    monkeypatch.setattr(Registry, "available", [])  # as trying the languages takes a while
    found: list[Check] = []
    await check(settings, broker=False, tell=found.append)

    assert [(f"cannot be cleaned: {numbers[1]}", False)] == [
        (one.found, one.passed) for one in found if one.name == "boxes"
    ]


async def test_check_tells_of_a_cache_that_cannot_be_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The directory is a file: programs are compiled each time."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(Registry, "available", [])  # as trying the languages takes a while
    judge = settings.judge.model_copy(update={"cache_kib": 1, "cache_directory": file})
    found: list[Check] = []
    await check(settings.model_copy(update={"judge": judge}), broker=False, tell=found.append)

    assert [(f"programs are compiled each time: {file}: File exists", False)] == [
        (one.found, one.passed) for one in found if one.name == "artifact cache"
    ]


async def test_sandbox_that_never_worked_stops_the_start(opened: Open, faulty: Faulty) -> None:
    """A start that cannot judge says what the sandbox said."""
    faulty.do_instead(ON_RUN.format("echo 'no namespaces here' >&2; exit 2"))
    with pytest.raises(NoSandbox, match="no namespaces here"):
        async with opened():
            pass


@pytest.mark.parametrize("said", ["isolate", "The process isolator", "", "The process isolator x"])
async def test_executable_that_is_no_isolate_stops_the_start(opened: Open, faulty: Faulty, said: str) -> None:
    """A sandbox that does not tell its version is not used."""
    faulty.do_instead(f"echo '{said}'; exit 0")
    with pytest.raises(NoSandbox, match="--version exited with 0"):
        async with opened():
            pass


async def test_draining_pool_leases_no_box_and_tells_who_waits(opened: Open) -> None:
    """Running submissions keep their boxes to the end; waiting ones get Draining at once."""
    async with opened() as host:
        busy = [asyncio.ensure_future(judge(host, "sleep 0.5")) for _ in range(2)]
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.LEASED})
        waiting = asyncio.ensure_future(judge(host))
        await asyncio.sleep(0.05)
        await host.pool.drain()
        with pytest.raises(Draining):
            await waiting
        with pytest.raises(Draining):
            await judge(host)

        assert [Status.ACCEPTED] * 2 == await asyncio.gather(*busy)


def test_boxes_are_owned_by_one_daemon_of_the_host(tmp_path: Path) -> None:
    """An overlapping range is refused with the id that is taken; when it is given up it can be had."""
    with lock_boxes(tmp_path, range(3)):
        with pytest.raises(BoxTaken, match="box 2 is in use"), lock_boxes(tmp_path, range(2, 5)):
            pass
        with lock_boxes(tmp_path, range(3, 5)):
            pass
    with lock_boxes(tmp_path, range(2, 5)):
        pass


def test_lock_can_be_seen_by_every_user(tmp_path: Path) -> None:
    """Whatever the umask of the service: a daemon of another user is told that the box is in use."""
    before = os.umask(0o077)
    try:
        with lock_boxes(tmp_path, range(1)):
            mode = (tmp_path / "verdictd-box-0.lock").stat().st_mode
    finally:
        os.umask(before)

    assert 0o444 == mode & 0o777


def test_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Somebody's link in a directory that all can write to is not followed."""
    (tmp_path / "verdictd-box-0.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BoxTaken, match="cannot open the lock of box 0"), lock_boxes(tmp_path, range(1)):
        pass

    assert not (tmp_path / "elsewhere").exists()


async def test_box_that_is_being_reset_is_removed_after_that(opened: Open, faulty: Faulty) -> None:
    """A daemon that stops right after a submission leaves no box behind, and finds none in use."""
    async with opened() as host:
        faulty.do_instead(ON_INIT.format("sleep 1"))
        async with host.pool.lease() as box:
            left = host.sandbox.box_root / str(box.number)

    assert not left.exists()
