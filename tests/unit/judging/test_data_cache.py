"""The cache of test data: bounded, shared, and never trusted for what lies in it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.data import sha256
from verdictd.errors import DataUnavailable
from verdictd.judging.data_cache import DataCache, WrongData

KIB = 1024


def cache_in(directory: Path, *, kib: int = 64, file_kib: int = 64) -> DataCache:
    cache = DataCache(directory / "cache", max_bytes=kib * KIB, max_file_bytes=file_kib * KIB)
    cache.prepare()
    return cache


def add(cache: DataCache, content: bytes) -> str:
    with cache.incoming() as file:
        file.write(content)
        file.keep()
        return file.digest


def read(cache: DataCache, digest: str) -> bytes | None:
    fd = cache.open(digest)
    if fd is None:
        return None
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def names(directory: Path) -> set[str]:
    return {file.name for file in (directory / "cache").iterdir()}


def test_file_is_kept_under_its_digest_and_read_only(tmp_path: Path) -> None:
    """Another daemon of the host finds it, and it says by itself what it must hold."""
    digest = add(cache_in(tmp_path), b"data")

    assert (sha256(b"data"), b"data") == (digest, read(cache_in(tmp_path), digest))
    assert 0o100444 == (tmp_path / "cache" / digest).stat().st_mode


def test_file_that_was_not_used_for_longest_leaves_first(tmp_path: Path) -> None:
    """Four of 16 KiB fit; the fifth takes the place of the second, as the first was used again."""
    cache = cache_in(tmp_path)
    first, second, *others = [add(cache, bytes([number]) * 16 * KIB) for number in range(4)]
    assert read(cache, first) is not None
    fifth = add(cache, b"5" * 16 * KIB)

    assert {first, fifth, *others} == names(tmp_path)
    assert read(cache, second) is None


def test_file_in_use_does_not_leave(tmp_path: Path) -> None:
    """Whichever daemon uses it; if all are in use, the next file waits for a later attempt."""
    cache, other = cache_in(tmp_path), cache_in(tmp_path)
    used = [other.open(add(cache, bytes([number]) * 16 * KIB)) for number in range(4)]
    with pytest.raises(DataUnavailable, match=r"64 KiB are in use \(data.cache_kib\)"):
        add(cache, b"5" * 16 * KIB)
    for fd in used:
        assert fd is not None
        os.close(fd)

    assert read(cache, add(cache, b"5" * 16 * KIB)) is not None


def flipped(file: Path) -> None:
    """Change a byte, as root or a broken disk does."""
    with file.open("r+b") as opened:
        opened.write(b"X")


@pytest.mark.parametrize(
    "damage", [flipped, lambda file: os.truncate(file, 2), lambda file: os.truncate(file, 0)]
)
@pytest.mark.parametrize("restarted", [False, True])
def test_corrupt_file_is_missing(tmp_path: Path, damage: Callable[[Path], None], restarted: bool) -> None:
    """It is removed and fetched again, whether it changed under a daemon or before its start."""
    cache = cache_in(tmp_path)
    digest = add(cache, b"data")
    damage(tmp_path / "cache" / digest)
    cache = cache_in(tmp_path) if restarted else cache

    assert (None, set()) == (read(cache, digest), names(tmp_path))
    assert b"data" == read(cache, add(cache, b"data"))


def test_file_of_a_dead_writer_is_removed_and_that_of_a_live_one_kept(tmp_path: Path) -> None:
    """A writer that was killed in mid write leaves nothing behind for long."""
    cache = cache_in(tmp_path)
    writer = os.fork()
    if writer == 0:
        with cache.incoming() as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(writer, 0)
    left = names(tmp_path)
    with cache.incoming() as file:
        file.write(b"whole")
        cache_in(tmp_path)

        assert (1, 1) == (len(left), len(names(tmp_path) - left))
        assert not left & names(tmp_path)
        file.keep()
    assert b"whole" == read(cache, sha256(b"whole"))


def test_two_writers_of_one_file_both_succeed(tmp_path: Path) -> None:
    """Either may win, and what was open stays whole."""
    cache, other = cache_in(tmp_path), cache_in(tmp_path)
    with cache.incoming() as one, other.incoming() as two:
        one.write(b"data")
        two.write(b"data")
        one.keep()
        fd = cache.open(one.digest)
        two.keep()
        assert fd is not None
        assert b"data" == os.read(fd, 9)
        os.close(fd)

    assert ({one.digest}, b"data") == (names(tmp_path), read(cache, one.digest))


def test_file_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    """It is given up at the first byte too many."""
    cache = cache_in(tmp_path, file_kib=1)
    with cache.incoming() as file, pytest.raises(WrongData, match=r"more than 1 KiB \(data.file_kib\)"):
        file.write(b"x" * (KIB + 1))

    assert set() == names(tmp_path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """An operator may name a directory that has something else in it."""
    cache = cache_in(tmp_path)
    other = tmp_path / "cache" / "thesis.txt"
    other.write_bytes(b"x" * 60 * KIB)
    add(cache, b"5" * 60 * KIB)
    add(cache, b"6" * 60 * KIB)

    assert other.exists()


def test_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """They could put files there."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)

    with pytest.raises(PermissionError, match="nobody else may write to it"):
        cache_in(tmp_path)
