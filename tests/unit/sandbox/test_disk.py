"""The disk usage of a box, whatever a program left there."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from verdictd.sandbox.disk import DiskWatch
from verdictd.sandbox.embedded.trees import empty
from verdictd.sandbox.model import PROBE_LIMITS, Captured, Constraints, Ending
from verdictd.sandbox.walk import Walk

pytestmark = pytest.mark.anyio

BOUND: Constraints = replace(PROBE_LIMITS, disk_kib=1_024, disk_files=100, memory_kib=512)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a box in which a program has run; a file was placed there before."""
    for name in ("box", "tmp/tmp", "tmp/dev:shm", "tmp/dev%2Fshm"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "box/source").write_bytes(b"x" * 2_000_000)
    return tmp_path


def fill(path: Path, kib: int) -> None:
    path.write_bytes(b"x" * kib * 1024)


@pytest.mark.parametrize(
    ("places", "exceeded"),
    [
        ({"box/a": 900}, None),
        ({"box/a": 1_100}, Ending.DISK),
        ({"tmp/tmp/a": 1_100}, Ending.DISK),
        ({"box/a": 600, "tmp/tmp/a": 600}, Ending.DISK),
        ({"tmp/dev:shm/a": 400}, None),
        ({"tmp/dev:shm/a": 600}, Ending.OUT_OF_MEMORY),
        ({"tmp/dev%2Fshm/a": 600}, Ending.OUT_OF_MEMORY),
        ({"box/dev:shm": 600}, None),
    ],
)
async def test_space_beyond_the_bound_is_found(
    root: Path, places: dict[str, int], exceeded: Ending | None
) -> None:
    """What was there before the run does not count; all places count together."""
    watch = DiskWatch(root, BOUND)
    for place, kib in places.items():
        fill(root / place, kib)

    assert exceeded == await watch.exceeded()


@pytest.mark.parametrize(("depth", "exceeded"), [(99, None), (3_000, Ending.DISK)])
async def test_tree_of_any_depth_is_walked(root: Path, depth: int, exceeded: Ending | None) -> None:
    """A directory is a file; the walk neither recurses nor holds a descriptor for each level."""
    watch = DiskWatch(root, BOUND)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    here = os.open(root / "box", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    found = await watch.exceeded()
    after = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    top = os.open(root / "box", os.O_RDONLY)
    empty(top)  # pytest's own cleaning would recurse
    os.close(top)

    assert (exceeded, before) == (found, after)


async def test_links_are_not_followed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link counts as one file, wherever it leads."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(elsewhere / "large", 2_000)
    watch = DiskWatch(root, BOUND)
    (root / "box/folder").symlink_to(elsewhere)
    (root / "box/file").symlink_to(elsewhere / "large")

    assert await watch.exceeded() is None
    (root / "tmp/tmp").rmdir()
    (root / "tmp/tmp").symlink_to(elsewhere)

    assert await watch.exceeded() is None


async def test_watch_ends_when_the_bound_is_exceeded(root: Path) -> None:
    """The loss of the file system is what makes the daemon look."""
    watch = DiskWatch(root, BOUND)
    fill(root / "box/a", 2_000)

    assert Ending.DISK == await watch.watch(0)


@pytest.mark.parametrize(
    ("listed", "exceeded"),
    [
        (Captured(b"8 /tmp\n0 /dev/shm\n"), None),
        (Captured(b"1200 /tmp\n1000 /tmp\n"), Ending.DISK),
        (Captured(b"1200 /dev/shm\n"), Ending.OUT_OF_MEMORY),
        (Captured(b"0 /tmp\n" * 101), Ending.DISK),
        (Captured(b"0 /tmp\n0 /t", truncated=True), Ending.DISK),
    ],
)
async def test_files_that_are_hidden_are_counted_from_a_list(
    root: Path, listed: Captured, exceeded: Ending | None
) -> None:
    """A set-uid isolate gives /tmp to the box's user: there, find prints blocks and places."""
    assert exceeded == DiskWatch(root, BOUND).listed(listed)


@pytest.mark.parametrize("makes", [True, False])
async def test_hidden_directories_are_listed_whatever_the_disk_has_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch, makes: bool
) -> None:
    """Neighbours that free as many files as a tree takes do not hide it."""
    walk = Walk(None)
    walk.hidden = True
    monkeypatch.setattr("verdictd.sandbox.disk.measure", lambda *_: walk)
    monkeypatch.setattr("os.access", lambda *_: False)
    watch = DiskWatch(root, replace(BOUND, disk_kib=2**40, disk_files=2**40, memory_kib=None))
    if makes:
        (root / "tmp/tmp/d").mkdir()
    await watch.exceeded()

    assert makes == watch.unseen
