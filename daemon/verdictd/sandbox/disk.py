"""Files of a program: watch how much of the disk they take, and end the program that takes too much."""

import asyncio
import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from verdictd.sandbox.model import PROBE_LIMITS, Captured, Command, Constraints, Ending, Sandbox
from verdictd.sandbox.usage import ProcessTree

_INTERVAL_S = 0.1
_SHORTEST_S = 0.005
_SHARE = 0.05  # of the time, for walks: while neighbours write, each box is suspected again and again
_BEARABLE_FILES = 20_000  # that may appear where nobody sees whose they are: removing them takes seconds
_SHARE_OF_DESCRIPTORS = 3
_FASTEST_FILES_S = 400_000  # made by one program on a fast disk, each of which
_LEAST_SYSTEM_S = 3e-6  # costs so much time of the kernel
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED = ("dev:shm", "dev%2Fshm")
"""Names that the two sandboxes give, below tmp, to what is /dev/shm inside."""

LIST = Command(
    argv=("/usr/bin/find", "/tmp", "/dev/shm", "-mindepth", "1", "-printf", "%b %H\\n"),  # noqa: S108 - in a box
    constraints=replace(PROBE_LIMITS, output_bytes=1024 * 1024),
)
"""Prints the size and the place of each file that an isolate which is set-uid hides from its caller."""


def bearable_files(sandbox: Sandbox) -> int:
    """Return the number of files that may appear unseen: whatever their depth, they can be removed."""
    if os.geteuid() == 0:
        return sys.maxsize  # root sees all
    if sandbox.name == "embedded":
        return _BEARABLE_FILES
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_BEARABLE_FILES, descriptors // _SHARE_OF_DESCRIPTORS)


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

    A walk through the files is expensive. So they are walked only when the file system has lost as much, to
    whomever, as is missing to the bound. State: what it has lost, and what the last walk found.

    A set-uid isolate hides the files from an ordinary user, and walks them itself after the run, with a
    descriptor for each level: a tree that is too deep for that could never be removed. So a run is ended
    when the file system has lost more than `bearable_files`, and it had the time to make them. Then
    `on_suspicion` is true, for they may be a neighbour's.
    """

    def __init__(self, root: Path, constraints: Constraints, *, bearable_files: int = sys.maxsize) -> None:
        self._root = root
        self._constraints = constraints
        self._used = _measure(root, None).used
        self._bearable_files = bearable_files
        self._interval_s = max(_SHORTEST_S, min(bearable_files / _FASTEST_FILES_S, _INTERVAL_S))
        self._disk_files = min(constraints.disk_files, bearable_files)
        shared_kib = constraints.disk_kib if constraints.memory_kib is None else constraints.memory_kib
        self._bound = DiskUsage(
            kib=self._used.kib + constraints.disk_kib,
            files=self._used.files + self._disk_files,
            shared_kib=self._used.shared_kib + shared_kib,
        )
        self._free = self._read_free()
        self._most_free_files = self._free[1]
        self.on_suspicion = False
        self._lost = (0, 0)
        self._lost_in_all = (0, 0)
        self._hidden = False
        self._rest_until = 0.0

    async def watch(self, keeper: int) -> Ending:
        """Return the limit that the files exceeded, as soon as they do."""
        tree = ProcessTree(keeper)
        while True:
            await asyncio.sleep(self._interval_s)
            if not self._is_suspected():
                continue
            if exceeded := await self.exceeded():
                return exceeded
            tree.refresh()
            unnamed_kib = tree.unnamed_kib(self._root.stat().st_dev)
            if self._used.kib + unnamed_kib > self._bound.kib:
                return Ending.DISK
            able_files = tree.system_time_s / _LEAST_SYSTEM_S
            if self._hidden and self._bearable_files < self._missing_files <= able_files:
                self.on_suspicion = True
                return Ending.DISK

    async def exceeded(self) -> Ending | None:
        """Walk through the files; return the limit that they exceed."""
        began = time.monotonic()
        self._lost = (0, 0)
        walk = await asyncio.to_thread(_measure, self._root, self._bound)
        self._used, self._hidden = walk.used, walk.hidden
        now = time.monotonic()
        self._rest_until = now + (now - began) / _SHARE
        return self._bound.exceeded_by(self._used)

    def _is_suspected(self) -> bool:
        """Return True if the file system lost so much since the last walk that the bound may be exceeded."""
        self._lose()
        missing_kib = min(self._bound.kib - self._used.kib, self._bound.shared_kib - self._used.shared_kib)
        suspected = (
            self._lost[0] > missing_kib
            or self._lost[1] > self._bound.files - self._used.files
            or self._missing_files > self._bearable_files
        )
        return suspected and time.monotonic() >= self._rest_until

    def _lose(self) -> None:
        """Add what is lost; what a neighbour frees meanwhile must not hide what this program takes."""
        before, self._free = self._free, self._read_free()
        lost_kib, lost_files = (max(0, was - now) for was, now in zip(before, self._free, strict=True))
        self._lost = self._lost[0] + lost_kib, self._lost[1] + lost_files
        self._lost_in_all = self._lost_in_all[0] + lost_kib, self._lost_in_all[1] + lost_files
        self._most_free_files = max(self._most_free_files, self._free[1])

    @property
    def _missing_files(self) -> int:
        """Files that are there now, whosever they are, and were not when there were fewest."""
        return self._most_free_files - self._free[1]

    @property
    def unseen(self) -> bool:
        """True if files that this daemon must not read may exceed the bound: see `LIST`."""
        self._lose()
        limits = self._constraints
        least_kib = min(limits.disk_kib, limits.memory_kib or limits.disk_kib)
        lost_kib, lost_files = self._lost_in_all
        return self._hidden and (self.on_suspicion or lost_kib > least_kib or lost_files > self._disk_files)

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
    for place in places(root):
        try:
            walk.measure(os.open(place, _DIRECTORY), shared=place.name in _SHARED)
        except PermissionError:
            walk.hidden = True
        except OSError:
            continue
    return walk


def places(root: Path) -> list[Path]:
    """Return the directories in which a program can write; their parents belong to the sandbox."""
    try:
        return [root / "box", *(root / "tmp").iterdir()]
    except FileNotFoundError:
        return [root / "box"]


class _Walk:
    """A walk through trees of any depth, by descriptor; links are not followed.

    State: what it found so far; `hidden`, if there are places that this daemon must not read.

    The program may move its directories meanwhile, and make them unreadable for a daemon that is not root:
    these are hidden. After the run nothing moves any more.
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
                    except PermissionError:
                        self.hidden = True
                        continue
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
        folders: list[str] = []
        try:
            with os.scandir(here) as entries:
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
        except PermissionError:
            self.hidden = True
        except OSError:
            return folders
        return folders


def _move(here: int, name: str) -> int:
    there = os.open(name, _DIRECTORY, dir_fd=here)
    os.close(here)
    return there
