"""Files of a program: watch how much of the disk they take, and end the program that takes too much."""

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from verdictd.concurrency import tick
from verdictd.sandbox.model import PROBE_LIMITS, Captured, Command, Constraints, Ending
from verdictd.sandbox.usage import ProcessTree

_INTERVAL_S = 0.1
_SHARE = 0.01  # of the time, for walks: while neighbours write, each box is suspected again and again
_URGENT_SHARE = 0.05  # when the disk has lost the whole bound once more
_WALK_EVERY_S = 2.0
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED = ("dev:shm", "dev%2Fshm")
"""Names that the two sandboxes give, below tmp, to what is /dev/shm inside."""

LIST = Command(
    argv=("/usr/bin/find", "/tmp", "/dev/shm", "-mindepth", "1", "-printf", "%b %H\\n"),  # noqa: S108 - in a box
    constraints=replace(PROBE_LIMITS, output_bytes=1024 * 1024),
)
"""Prints the size and the place of each file that an isolate which is set-uid hides from its caller."""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Space and number of files. `shared_kib`: the part of the space that lies in /dev/shm."""

    kib: int = 0
    files: int = 0
    shared_kib: int = 0

    def exceeded_by(self, used: "DiskUsage") -> Ending | None:
        """Return the limit that is exceeded: files in /dev/shm are shared memory."""
        if used.shared_kib > self.shared_kib:
            return Ending.OUT_OF_MEMORY
        return Ending.DISK if used.kib > self.kib or used.files > self.files else None


class DiskWatch:
    """Bounds the files that one run adds to a box.

    A walk through the files is expensive. So they are walked when the file system has lost as much, to
    whomever, as is missing to the bound; and seldom otherwise, since what others free at the same moment
    hides a loss. State: what it has lost, and what the last walk found and took.
    """

    def __init__(self, root: Path, constraints: Constraints) -> None:
        self._root = root
        self._constraints = constraints
        self._used = _measure(root, None).used
        shared_kib = constraints.disk_kib if constraints.memory_kib is None else constraints.memory_kib
        self._bound = DiskUsage(
            kib=self._used.kib + constraints.disk_kib,
            files=self._used.files + constraints.disk_files,
            shared_kib=self._used.shared_kib + shared_kib,
        )
        self._free = self._read_free()
        self._lost = (0, 0)
        self._lost_in_all = (0, 0)
        self._hidden = False
        self._walked_at = time.monotonic()
        self._walk_s = 0.0

    async def watch(self, keeper: int) -> Ending:
        """Return the limit that the files exceeded, as soon as they do."""
        while True:
            await tick(_INTERVAL_S)
            if not self._is_suspected():
                continue
            if exceeded := await self.exceeded():
                return exceeded
            with ProcessTree(keeper) as tree:
                tree.refresh()
                unnamed_kib = tree.unnamed_kib(self._root.stat().st_dev)
            if self._used.kib + unnamed_kib > self._bound.kib:
                return Ending.DISK

    async def exceeded(self) -> Ending | None:
        """Walk through the files; return the limit that they exceed."""
        began = time.monotonic()
        self._lost = (0, 0)
        walk = await asyncio.to_thread(_measure, self._root, self._bound)
        self._used, self._hidden = walk.used, walk.hidden
        self._walked_at = time.monotonic()
        self._walk_s = self._walked_at - began
        return self._bound.exceeded_by(self._used)

    def _is_suspected(self) -> bool:
        """Return True if it is time for a walk: the bound may be exceeded, and the last one was long ago."""
        self._lose()
        missing_kib = min(self._bound.kib - self._used.kib, self._bound.shared_kib - self._used.shared_kib)
        over_kib = self._lost[0] - missing_kib
        over_files = self._lost[1] - (self._bound.files - self._used.files)
        urgent = over_kib > self._constraints.disk_kib or over_files > self._constraints.disk_files
        rest_s = self._walk_s / (_URGENT_SHARE if urgent else _SHARE)
        if over_kib <= 0 and over_files <= 0:
            rest_s = max(rest_s, _WALK_EVERY_S)
        return time.monotonic() >= self._walked_at + rest_s

    def _lose(self) -> None:
        """Add what is lost; what a neighbour frees meanwhile must not hide what this program takes."""
        before, self._free = self._free, self._read_free()
        lost_kib, lost_files = (max(0, was - now) for was, now in zip(before, self._free, strict=True))
        self._lost = self._lost[0] + lost_kib, self._lost[1] + lost_files
        self._lost_in_all = self._lost_in_all[0] + lost_kib, self._lost_in_all[1] + lost_files

    @property
    def unseen(self) -> bool:
        """True if files that this daemon must not read may exceed the bound: see `LIST`."""
        self._lose()
        limits = self._constraints
        least_kib = min(limits.disk_kib, limits.memory_kib or limits.disk_kib)
        return self._hidden and (self._lost_in_all[0] > least_kib or self._lost_in_all[1] > limits.disk_files)

    def listed(self, listed: Captured) -> Ending | None:
        """Return the limit that the files exceed together with those that `LIST` has printed."""
        used = self._used
        if listed.truncated:
            return Ending.DISK
        for line in listed.data.decode(errors="replace").splitlines():
            blocks, _, place = line.partition(" ")
            kib = int(blocks) * _BLOCK_BYTES // 1024
            shared_kib = kib if place == "/dev/shm" else 0  # noqa: S108 - a path in the box
            used = DiskUsage(used.kib + kib, used.files + 1, used.shared_kib + shared_kib)
        return self._bound.exceeded_by(used)

    def _read_free(self) -> tuple[int, int]:
        disk = os.statvfs(self._root)
        return disk.f_bfree * disk.f_frsize // 1024, disk.f_ffree


def _measure(root: Path, bound: DiskUsage | None) -> "_Walk":
    """Walk through a box, until the bound is exceeded."""
    walk = _Walk(bound)
    for place in _places(root):
        try:
            walk.measure(os.open(place, _DIRECTORY), shared=place.name in _SHARED)
        except PermissionError:
            walk.hidden = True
        except OSError:
            continue
    return walk


def _places(root: Path) -> list[Path]:
    """Return the directories in which a program can write; their parents belong to the sandbox."""
    try:
        return [root / "box", *(root / "tmp").iterdir()]
    except FileNotFoundError:
        return [root / "box"]


class _Walk:
    """A walk through trees of any depth, by descriptor; links are not followed.

    State: what it found so far; `hidden`, if there are places that this daemon must not read.

    The program may move its directories meanwhile, and make them unreadable for a daemon that is not root:
    these do not count. After the run nothing moves any more.
    """

    def __init__(self, bound: DiskUsage | None) -> None:
        self._bound = bound
        self.used = DiskUsage()
        self.hidden = False

    @property
    def _enough(self) -> bool:
        return self._bound is not None and self._bound.exceeded_by(self.used) is not None

    def measure(self, here: int, *, shared: bool) -> None:
        """Add everything below an open directory, which is closed. `shared`: it is /dev/shm of the box."""
        trail: list[tuple[os.stat_result, list[str]]] = []
        try:
            folders = self._add(here, shared=shared)
            while (folders or trail) and not self._enough:
                if folders:
                    name, above = folders.pop(), os.fstat(here)
                    try:
                        here = _move(here, name)
                    except OSError:
                        continue
                    trail.append((above, folders))
                    folders = self._add(here, shared=shared)
                else:
                    above, folders = trail.pop()
                    here = _move(here, "..")
                    if not os.path.samestat(os.fstat(here), above):
                        return
        finally:
            os.close(here)

    def _add(self, here: int, *, shared: bool) -> list[str]:
        """Add the entries of a directory; return the names of the directories among them."""
        folders = []
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                if self._enough:
                    break
                with contextlib.suppress(FileNotFoundError):
                    kib = entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES // 1024
                    used = self.used
                    shared_kib = used.shared_kib + (kib if shared else 0)
                    self.used = DiskUsage(used.kib + kib, used.files + 1, shared_kib)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
        return folders


def _move(here: int, name: str) -> int:
    there = os.open(name, _DIRECTORY, dir_fd=here)
    os.close(here)
    return there
