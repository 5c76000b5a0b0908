"""The directory of compiled programs: bounded, shared, and no reason for a fault."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from verdictd.judging.artifact_cache import ArtifactCache, CacheState, default_directory

pytestmark = pytest.mark.anyio

BLOCK = 4_096
FIRST, SECOND, THIRD = (character * 64 for character in "abc")


def cache(directory: Path, *, blocks: int = 1_000, refusal: str = "") -> ArtifactCache:
    return ArtifactCache(directory, max_bytes=blocks * BLOCK, refusal=refusal)


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def test_entry_is_found_by_every_daemon(tmp_path: Path) -> None:
    """What one of them wrote; readable by their user alone."""
    await cache(tmp_path).put(FIRST, b"made")

    assert b"made" == await cache(tmp_path).get(FIRST)
    assert None is await cache(tmp_path).get(SECOND)
    assert [FIRST] == names(tmp_path)
    assert 0o100600 == (tmp_path / FIRST).stat().st_mode


async def test_directory_is_made_for_its_user_alone(tmp_path: Path) -> None:
    """Where it was removed too, while the daemon runs."""
    made = tmp_path / "var" / "cache"
    state = await cache(made).open()

    assert CacheState(0, 0) == state
    assert 0o40700 == made.stat().st_mode


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def other(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"made", b"evil"))


def renamed(file: Path) -> None:
    (file.parent / SECOND).rename(file)


def linked(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / SECOND)


def hard_linked(file: Path) -> None:
    (file.parent / "another name").hardlink_to(file)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("damage", [cut, empty, other, renamed, linked, hard_linked, piped])
async def test_entry_that_is_not_ours_is_not_used(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """It is removed and said in the log; the next compilation takes its place."""
    kept = cache(tmp_path)
    await kept.put(FIRST, b"made")
    await kept.put(SECOND, b"made for another key")
    damage(tmp_path / FIRST)
    with capture_logs() as logs:
        found = [await kept.get(FIRST), await kept.get(FIRST)]
    await kept.put(FIRST, b"made again")

    assert [None, None] == found
    assert [{"event": "artifact_cache.damaged", "entry": FIRST, "log_level": "warning"}] == logs
    assert b"made again" == await kept.get(FIRST)


async def test_least_recently_used_entry_leaves_first(tmp_path: Path) -> None:
    """To read an entry is to use it."""
    kept = cache(tmp_path, blocks=4)
    clock = count(1)

    def used(key: str) -> None:
        os.utime(tmp_path / key, ns=(0, next(clock)))

    for key in (FIRST, SECOND):
        await kept.put(key, b"1")
        used(key)
    await kept.get(FIRST)
    await kept.put(THIRD, b"1")
    await kept.put("d" * 64, b"1")

    assert [FIRST, THIRD, "d" * 64] == names(tmp_path)


async def test_directory_stays_within_its_bound(tmp_path: Path) -> None:
    """In blocks of the disk; what could not fit is not written; files of others stay and do not count."""
    (tmp_path / "notes.txt").write_bytes(b"x" * 100 * BLOCK)
    kept = cache(tmp_path, blocks=64)
    for number in range(300):
        await kept.put(f"{number:064x}", bytes(number * 40))
    await kept.put(FIRST, bytes(64 * BLOCK))
    state = await kept.open()

    assert 50 * BLOCK < state.size_bytes <= 64 * BLOCK
    assert None is await kept.get(FIRST)
    assert f"{299:064x}" in names(tmp_path)
    assert "notes.txt" in names(tmp_path)


async def test_what_a_killed_daemon_left_unfinished_is_removed(tmp_path: Path) -> None:
    """After an hour: another daemon may be writing it."""
    old, new = (tmp_path / f".{FIRST}.{character * 16}" for character in "ab")
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    await cache(tmp_path).put(SECOND, b"made")

    assert [new.name, SECOND] == names(tmp_path)


async def test_directory_that_cannot_be_used_is_only_a_miss(tmp_path: Path) -> None:
    """It is said once in the log, and when it works again."""
    place = tmp_path / "cache"
    place.write_text("in the way")
    kept = cache(place)
    with capture_logs() as logs:
        for _ in range(3):
            await kept.put(FIRST, b"made")
            assert None is await kept.get(FIRST)
        place.unlink()
        await kept.put(FIRST, b"made")

    assert ["artifact_cache.unusable", "artifact_cache.usable"] == [line["event"] for line in logs]
    assert b"made" == await kept.get(FIRST)


async def test_directory_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    """They could put a program of their own there."""
    kept = cache(tmp_path)
    await kept.put(FIRST, b"made")
    tmp_path.chmod(0o770)

    assert None is await kept.get(FIRST)
    assert "nobody else may write to it" in (await kept.open()).problem


async def test_directory_that_must_not_be_used_says_why(tmp_path: Path) -> None:
    """Nothing is written there."""
    kept = cache(tmp_path, refusal="is in a directory that programs see")
    await kept.put(FIRST, b"made")

    assert f"{tmp_path}: is in a directory that programs see" == (await kept.open()).problem
    assert [] == names(tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"CACHE_DIRECTORY": "/var/cache/verdictd"}, "/var/cache/verdictd"),
        ({"CACHE_DIRECTORY": "/var/cache/two:/var/cache/three"}, "/var/cache/two"),
        ({"XDG_CACHE_HOME": "/home/one/cache"}, "/home/one/cache/verdictd"),
        ({"HOME": "/home/one"}, "/home/one/.cache/verdictd"),
    ],
)
def test_default_directory_is_that_of_the_service_or_of_the_user(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
) -> None:
    """As systemd's CacheDirectory= and the XDG directories name them."""
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)

    assert Path(expected) == default_directory()
