"""Watch a run that no control group limits: end it when its processes together use too much."""

import asyncio
import time

from verdictd.sandbox.model import Constraints, Ending, Watched
from verdictd.sandbox.usage import ProcessTree, host_shared_kib

# A program that takes memory at full speed, in huge pages, is to be found before it has 256 MiB more than its
# limit.
_SPEED_KIB_S = 8 * 1024 * 1024
_OVERSHOOT_KIB = 128 * 1024  # half of that: the other half is for the time in which it is killed
_LONGEST_S = 0.1
_LONGEST_FOR_COST_S = 0.25
_SHARE = 0.01  # of one processor, for watching
_LOOK_AT_ALL_S = 0.25  # between two looks at what takes longer: children of other threads, files in memory


class Watcher:
    """Watches one run. State: the largest figures so far, and the shared memory of the host before the run.

    `floor_kib`: memory up to which a figure says nothing about the program.
    """

    def __init__(self, constraints: Constraints, *, floor_kib: int = 0) -> None:
        limit_kib = constraints.memory_kib
        self._memory_kib = None if limit_kib is None else max(limit_kib, floor_kib)
        self._cpu_time_s = constraints.cpu_time_s
        self._killed_at_s = constraints.cpu_time_s + constraints.cpu_extra_time_s
        self._host_kib = 0
        self.watched = Watched()

    def __repr__(self) -> str:
        return f"Watcher({self.watched})"

    @property
    def exceeded(self) -> Ending | None:
        """The limit that a program exceeded which ended by itself."""
        return Ending.CPU_TIME if self.watched.cpu_time_s > self._cpu_time_s else None

    async def watch(self, keeper: int) -> Ending:
        """Return the limit that the processes below this keeper exceeded, as soon as they do."""
        tree = ProcessTree(keeper)
        self._host_kib = host_shared_kib()
        look_at_all_at = 0.0
        used_kib = 0
        pause_s = 0.0
        while True:
            await asyncio.sleep(max(self._pause_s(used_kib), min(pause_s, _LONGEST_FOR_COST_S)))
            began_s = time.thread_time()
            look_at_all = time.monotonic() >= look_at_all_at
            if look_at_all:
                look_at_all_at = time.monotonic() + _LOOK_AT_ALL_S
            tree.refresh(all_threads=look_at_all)
            used_kib = self._take(tree, look_at_all=look_at_all)
            if self._memory_kib is not None and used_kib > self._memory_kib:
                return Ending.OUT_OF_MEMORY
            if self.watched.cpu_time_s > self._killed_at_s:
                return Ending.CPU_TIME
            pause_s = (time.thread_time() - began_s) / _SHARE

    def _pause_s(self, used_kib: int) -> float:
        """Return the time that memory can grow unseen."""
        if self._memory_kib is None:
            return _LONGEST_S
        left_kib = max(0, self._memory_kib - used_kib) + _OVERSHOOT_KIB
        return min(left_kib / _SPEED_KIB_S, _LONGEST_S)

    def _take(self, tree: ProcessTree, *, look_at_all: bool) -> int:
        """Keep the largest figures; return the memory in use, or an upper bound below the limit."""
        used_kib = tree.at_most_kib
        peak_kib = self.watched.memory_kib
        limit_kib = self._memory_kib
        if limit_kib is not None and (used_kib > limit_kib or (len(tree) > 1 and used_kib > peak_kib)):
            used_kib = tree.memory_kib(limit_kib)
            peak_kib = max(peak_kib, used_kib)
        if limit_kib is not None and look_at_all and host_shared_kib() - self._host_kib > limit_kib:
            # Files in memory show in nothing but this figure of the whole host, unless one looks for them.
            used_kib = max(used_kib, tree.unnamed_kib())
            peak_kib = max(peak_kib, used_kib) if used_kib > limit_kib else peak_kib
        self.watched = Watched(peak_kib, max(self.watched.cpu_time_s, tree.cpu_time_s))
        return used_kib
