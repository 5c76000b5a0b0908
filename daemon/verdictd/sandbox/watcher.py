"""Watch a run that no control group limits: end it when its processes together use too much.

Their sessions together get the share of the processors that one has.
"""

import time

from verdictd.concurrency import tick
from verdictd.sandbox.model import Constraints, Ending, Watched
from verdictd.sandbox.procfs import HostMemory
from verdictd.sandbox.sessions import Sessions
from verdictd.sandbox.usage import ProcessTree

# A program that takes memory at full speed, in huge pages, is to be found before it has 256 MiB more than its
# limit. A part of that is for the time in which it is killed.
_SPEED_KIB_S = 6 * 1024 * 1024  # measured with pages of 2 MiB on two processors
_UNSEEN_KIB = 96 * 1024  # that may be added between two readings of the host's memory
_OTHERS_KIB = 32 * 1024  # that others on this host may add, before the processes of this run are read for it
_SHARE = 0.003  # of one processor, for reading processes
_READ_EVERY_S = 0.1
_READ_AT_LEAST_EVERY_S = 1.0


class Watcher:
    """Watches one run. State: the largest figures so far, the memory in use at the last reading of processes,
    and the part in files in memory that nobody maps, at the last look for those.

    To read all processes is expensive, to read how much memory the whole host uses is not. So processes are
    read when the host has added, for whomever, as much as is missing to the limit; and for the rest, CPU time
    above all, as often as a small share of a processor allows.

    `floor_kib`: memory up to which a figure says nothing about the program.
    """

    def __init__(self, constraints: Constraints, *, floor_kib: int = 0) -> None:
        limit_kib = constraints.memory_kib
        self._memory_kib = None if limit_kib is None else max(limit_kib, floor_kib)
        self._cpu_time_s = constraints.cpu_time_s
        self._killed_at_s = constraints.cpu_time_s + constraints.cpu_extra_time_s
        self._used_kib = 0
        self._unnamed_kib = 0
        self.watched = Watched()

    def __repr__(self) -> str:
        return f"Watcher({self.watched})"

    @property
    def exceeded(self) -> Ending | None:
        """The limit that a program exceeded which ended by itself."""
        return Ending.CPU_TIME if self.watched.cpu_time_s > self._cpu_time_s else None

    @property
    def first_look_s(self) -> float:
        """Time after its start before which a program need not be watched."""
        return self._pause_s(0)

    async def watch(self, keeper: int) -> Ending:
        """Return the limit that the processes below this keeper exceeded, as soon as they do."""
        read_at = 0.0
        sessions = Sessions()
        with ProcessTree(keeper) as tree, HostMemory() as host:
            while True:
                if time.monotonic() < read_at and self._left_kib(host.added_kib) > -_OTHERS_KIB:
                    await tick(self._pause_s(host.added_kib))
                    host.read()
                    continue
                began_s = time.thread_time()
                host.added_kib = 0
                tree.refresh()
                sessions.share(tree)
                self._take(tree, host)
                if self._memory_kib is not None and self._used_kib > self._memory_kib:
                    return Ending.OUT_OF_MEMORY
                if self.watched.cpu_time_s > self._killed_at_s:
                    return Ending.CPU_TIME
                rest_s = (time.thread_time() - began_s) / _SHARE
                read_at = time.monotonic() + min(max(rest_s, _READ_EVERY_S), _READ_AT_LEAST_EVERY_S)

    def _left_kib(self, added_kib: int) -> int:
        """Return the memory that is certainly left, below 0 if the run may have exceeded its limit."""
        return _UNSEEN_KIB if self._memory_kib is None else self._memory_kib - self._used_kib - added_kib

    def _pause_s(self, added_kib: int) -> float:
        """Return the time that memory can grow unseen."""
        return (max(0, self._left_kib(added_kib)) + _UNSEEN_KIB) / _SPEED_KIB_S

    def _take(self, tree: ProcessTree, host: HostMemory) -> None:
        """Keep the largest figures, and the memory in use, or an upper bound below the limit."""
        used_kib = tree.at_most_kib
        peak_kib = self.watched.memory_kib
        limit_kib = self._memory_kib
        if limit_kib is not None:
            if used_kib > limit_kib or (len(tree) > 1 and used_kib > peak_kib):
                used_kib = tree.memory_kib(limit_kib)
                peak_kib = max(peak_kib, used_kib)
            # Files in memory show in nothing but a figure of the whole host, unless one looks for them.
            if used_kib + self._unnamed_kib + host.added_shared_kib > limit_kib >= used_kib:
                host.added_shared_kib = 0
                self._unnamed_kib = tree.unmapped_kib()
                if self._unnamed_kib:
                    used_kib = tree.memory_kib(limit_kib - self._unnamed_kib)
            used_kib += self._unnamed_kib
            if used_kib > limit_kib:
                peak_kib = max(peak_kib, used_kib)
        self._used_kib = used_kib
        self.watched = Watched(peak_kib, max(self.watched.cpu_time_s, tree.cpu_time_s))
