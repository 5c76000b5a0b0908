"""Files of a program: watch how much of the disk they take, and end the program that takes too much."""

import asyncio
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from verdictd.concurrency import tick
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.leftovers import trees
from verdictd.sandbox.model import PROBE_LIMITS, Captured, Command, Constraints, Ending, Sandbox
from verdictd.sandbox.usage import ProcessTree
from verdictd.sandbox.walk import BLOCK_BYTES, DiskUsage, measure

_INTERVAL_S = 0.1
_SHORTEST_S = 0.005
_SHARE = 0.01  # of the time, for walks: while neighbours write, each box is suspected again and again
_URGENT_SHARE = 0.05  # when the disk has lost the whole bound once more
_WALK_EVERY_S = 2.0
_LEAST_FREE_BYTES = 16 * 1024 * 1024
_LEAST_FREE_FILES = 1_000
_ROOM_S = 3.0  # until a program that filled the disk is ended, and its box empty
_FEW_FILES = 64  # that are looked at in less time than a thread needs to start
_BEARABLE_FILES = 20_000  # that may appear where nobody sees whose they are: removing them takes seconds
_SHARE_OF_DESCRIPTORS = 3
_FASTEST_FILES_S = 400_000  # made by one program on a fast disk, each of which
_LEAST_SYSTEM_S = 3e-6  # costs so much time of the kernel

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


def is_full(root: Path) -> bool:
    """Return True if programs in boxes there may fail for want of room."""
    try:
        disk = os.statvfs(root)
    except OSError:
        return False
    has_files = disk.f_files == 0 or disk.f_favail >= _LEAST_FREE_FILES  # 0: without a limit of inodes
    return disk.f_bavail * disk.f_frsize < _LEAST_FREE_BYTES or not has_files


async def room(root: Path) -> bool:
    """Wait until the disk is not full any more; return False if that takes too long."""
    until = time.monotonic() + _ROOM_S
    while is_full(root):
        if time.monotonic() > until:
            return False
        await tick(_INTERVAL_S)
    return True


class DiskWatch:
    """Bounds the files that one run adds to a box.

    A walk through the files is expensive. So they are walked when the file system has lost as much, to
    whomever, as is missing to the bound; and seldom otherwise, since what others free at the same moment
    hides a loss. State: what it has lost, what the last walk found and took, and whether the disk was full.

    A set-uid isolate hides the files from an ordinary user, and walks them itself after the run, with a
    descriptor for each level: a tree that is too deep for that could never be removed. So a run is ended
    when the file system has lost more than `bearable_files`, and it had the time to make them. Then
    `on_suspicion` is true, for they may be a neighbour's.
    """

    def __init__(self, root: Path, constraints: Constraints, *, bearable_files: int = sys.maxsize) -> None:
        self._root = root
        self._constraints = constraints
        self._used = self._used_before = measure(root, None).used
        self._was_full = False
        self._bearable_files = bearable_files
        self.interval_s = max(_SHORTEST_S, min(bearable_files / _FASTEST_FILES_S, _INTERVAL_S))
        """Time between two looks at the disk."""
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
        self._walked_at = time.monotonic()
        self._walk_s = 0.0

    async def watch(self, keeper: int) -> Ending:
        """Return the limit that the files exceeded, as soon as they do; raises SandboxBroken as `check`."""
        while True:
            self._was_full |= is_full(self._root)
            if self._is_suspected() and (exceeded := await self._look(keeper)):
                return exceeded
            await tick(self.interval_s)

    async def _look(self, keeper: int) -> Ending | None:
        """Look for what the files exceed, with those that have no name any more."""
        if exceeded := await self.exceeded():
            return exceeded
        with ProcessTree(keeper) as tree:
            tree.refresh()
            unnamed_kib = tree.unnamed_kib(self._root.stat().st_dev)
        if self._used.kib + unnamed_kib > self._bound.kib:
            return Ending.DISK
        if is_full(self._root) and self._is_to_blame:
            raise self._fault()
        able_files = tree.system_time_s / _LEAST_SYSTEM_S
        if self._hidden and self._bearable_files < self._missing_files <= able_files:
            self.on_suspicion = True
            return Ending.DISK
        return None

    async def exceeded(self) -> Ending | None:
        """Walk through the files; return the limit that they exceed."""
        began = time.monotonic()
        self._lost = (0, 0)
        bound = self._bound
        few = DiskUsage(bound.kib, min(bound.files, _FEW_FILES), bound.shared_kib)
        walk = measure(self._root, few)
        if few.exceeded_by(walk.used):  # then it may take long
            walk = await asyncio.to_thread(measure, self._root, bound)
        self._used, self._hidden = walk.used, walk.hidden
        self._walked_at = time.monotonic()
        self._walk_s = self._walked_at - began
        return bound.exceeded_by(self._used)

    async def check(self) -> None:
        """Raise SandboxBroken if the disk was full: that may be why the program failed.

        A program that others left no room is run again, once they are gone. The one who took the room is not:
        it stayed below its limit, so the fault is the host's, but it would fill the disk once more.
        """
        if not self._was_full and not is_full(self._root):
            return
        if self._is_to_blame or not await room(self._root):
            raise self._fault()
        raise SandboxBroken("the disk was full for a while, through others", FaultKind.DISK)

    @property
    def _is_to_blame(self) -> bool:
        """True if the disk would not be full without the files of this run, as far as they can be seen."""
        least_kib = _LEAST_FREE_BYTES // 1024
        if self._hidden and (self._lost_in_all[0] >= least_kib or self._lost_in_all[1] >= _LEAST_FREE_FILES):
            return True
        used, before = self._used, self._used_before
        return used.kib - before.kib >= least_kib or used.files - before.files >= _LEAST_FREE_FILES

    def _fault(self) -> SandboxBroken:
        used_kib = self._used.kib - self._used_before.kib
        return SandboxBroken(f"the disk of {self._root} is full; the run had {used_kib} KiB", FaultKind.FILES)

    def _is_suspected(self) -> bool:
        """Return True if it is time for a walk: the bound may be exceeded, and the last one was long ago."""
        self._lose()
        missing_kib = min(self._bound.kib - self._used.kib, self._bound.shared_kib - self._used.shared_kib)
        over_kib = self._lost[0] - missing_kib
        over_files = self._lost[1] - (self._bound.files - self._used.files)
        pressing = is_full(self._root) or self._missing_files > self._bearable_files
        urgent = pressing or over_kib > self._constraints.disk_kib or over_files > self._disk_files
        rest_s = self._walk_s / (_URGENT_SHARE if urgent else _SHARE)
        if over_kib <= 0 and over_files <= 0 and not pressing:
            rest_s = max(rest_s, _WALK_EVERY_S)
        return time.monotonic() >= self._walked_at + rest_s

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
        lost_much = lost_kib > least_kib or lost_files > self._disk_files
        return self._hidden and (self.on_suspicion or lost_much or self._hides_directories)

    @property
    def _hides_directories(self) -> bool:
        """True if there may be a tree that no loss shows, since neighbours freed as many files meanwhile."""
        return any(not os.access(place, os.R_OK) for place in trees(self._root))

    def listed(self, listed: Captured) -> Ending | None:
        """Return the limit that the files exceed together with those that `LIST` has printed."""
        used = self._used
        if listed.truncated:
            return Ending.DISK
        for line in listed.data.decode(errors="replace").splitlines():
            blocks, _, place = line.partition(" ")
            kib = int(blocks) * BLOCK_BYTES // 1024
            shared_kib = kib if place == "/dev/shm" else 0  # noqa: S108 - a path in the box
            used = DiskUsage(used.kib + kib, used.files + 1, used.shared_kib + shared_kib)
        return self._bound.exceeded_by(used)

    def _read_free(self) -> tuple[int, int]:
        disk = os.statvfs(self._root)
        return disk.f_bfree * disk.f_frsize // 1024, disk.f_ffree
