"""Memory and CPU time of the processes in a box, read from /proc while they run.

No figure that decides is more than what was used, but for one exception: a daemon that may not read
`smaps_rollup` of the box's user (an isolate that is set-uid) counts memory that processes map together once
for each of them.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from verdictd.sandbox.procfs import PAGE_KIB, Process, pids, read, size_kib

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MAPPED_BY_TABLES = 500  # bytes that one byte of page tables maps: 512, less the tables above the lowest
_KEPT_PROCESSES = 128  # whose files stay open, of each run


class ProcessTree:
    """The processes of one run: all that descend from process 1 of the sandbox, which is not one of them.

    Orphans become children of process 1, so the tree is whole. State: the processes that are alive, with
    open files in /proc until `close`; CPU time and faults of those that ended; the last exact figure of
    memory.
    """

    def __init__(self, keeper: int) -> None:
        self._keeper = keeper
        self._first: Process | None = None
        self._alive: dict[int, Process] = {}
        self._ended_ticks = 0
        self._ended_faults = 0
        self._exact: tuple[int, int, int] | None = None
        """Memory of all, the sum in which shared memory counts for each, and the faults until then."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._alive.values())

    def close(self) -> None:
        """Close the files in /proc."""
        for process in self._alive.values():
            process.close()
        if self._first is not None:
            self._first.close()

    def refresh(self) -> None:
        """Read all processes again, and find new ones."""
        if self._first is None:
            pid = next(pids(read(f"/proc/{self._keeper}/task/{self._keeper}/children")), None)
            if pid is None:
                return
            self._first = Process(pid, keep=True)
        self._first.read()
        seen = set(self._alive)
        pending = [*self._alive.values(), *self._new(self._first, seen)]
        while pending:
            process = pending.pop()
            if process.read():
                self._alive[process.pid] = process
                pending += self._new(process, seen)
            else:
                self._end(process)

    def _new(self, parent: Process, seen: set[int]) -> Iterator[Process]:
        for pid in parent.children():
            if pid not in seen:
                seen.add(pid)
                yield Process(pid, keep=len(seen) <= _KEPT_PROCESSES)

    def _end(self, process: Process) -> None:
        process.close()
        if self._alive.pop(process.pid, None) is not None:
            self._ended_ticks += process.last.own_ticks
            self._ended_faults += process.last.faults

    @property
    def cpu_time_s(self) -> float:
        """CPU time of all processes, those that have ended included.

        A process that ended is counted by the parent that waited for it, or else by its last reading: nobody
        waits for the children of a process that ignores SIGCHLD.
        """
        own = sum(each.last.own_ticks for each in self._alive.values())
        waited_for = sum(each.last.children_ticks for each in self._alive.values())
        waited_for += self._first.last.children_ticks if self._first else 0
        return (own + max(waited_for, self._ended_ticks)) / _TICKS_PER_S

    @property
    def system_time_s(self) -> float:
        """Time in the kernel: of the processes that are alive, and of those that were waited for."""
        alive = sum(each.last.system_ticks for each in self._alive.values())
        return ((self._first.last.system_ticks if self._first else 0) + alive) / _TICKS_PER_S

    @property
    def at_most_kib(self) -> int:
        """Upper bound of the memory in use: resident sets, and page tables of everything that is mapped."""
        return sum(
            each.last.resident_kib + each.last.mapped_kib // _MAPPED_BY_TABLES
            for each in self._alive.values()
        )

    def memory_kib(self, enough_kib: int) -> int:
        """Return the memory in use; where several processes share some, perhaps only a bound of it.

        That bound is on the same side of `enough_kib`. Memory is what belongs to processes: anonymous and
        shared pages and page tables; and the file pages of the one that has most of them, as pages of
        programs and libraries are the same for all.
        """
        processes = self._alive.values()
        used = [each.memory() for each in processes]
        owned_kib = sum(each.own_kib for each in processes) + sum(each.shared_kib for each in used)
        others_kib = sum(each.tables_kib for each in used) + max((each.file_kib for each in used), default=0)
        if len(used) <= 1 or owned_kib + others_kib <= enough_kib:
            return owned_kib + others_kib
        added_kib = sum(each.added_kib for each in processes)
        if added_kib > enough_kib:
            return added_kib
        return others_kib + self._without_shared(owned_kib, enough_kib - others_kib)

    def unmapped_kib(self) -> int:
        """Return a lower bound of the size of memory files beyond what processes map of them."""
        shared_kib = sum(each.memory().shared_kib for each in self._alive.values())
        return max(0, self.unnamed_kib() - shared_kib)

    def unnamed_kib(self, device: int | None = None) -> int:
        """Return the size of open files without a name: on a device, or memory files where there is none.

        Such files are in no directory, and in no resident set unless a process maps them. Those that this
        daemon must not look at do not count.
        """
        sizes: dict[tuple[int, int], int] = {}
        for process in self._alive.values():
            with contextlib.suppress(OSError), os.scandir(f"/proc/{process.thread}/fd") as entries:
                for entry in entries:
                    status = entry.stat()
                    wanted = (
                        status.st_dev == device
                        if device is not None
                        else str(Path(entry.path).readlink()).startswith("/memfd:")
                    )
                    if wanted and status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                        sizes[status.st_dev, status.st_ino] = status.st_blocks // 2
        return sum(sizes.values())

    def _without_shared(self, owned_kib: int, enough_kib: int) -> int:
        """Count memory that processes share once. The exact figure takes long, and is not read in vain.

        Shared pages become a process's own by page faults, so that their number says how far an earlier
        figure may be off.
        """
        faults = self._ended_faults + sum(each.last.faults for each in self._alive.values())
        if self._exact is not None:
            exact_kib, owned_before_kib, faults_before = self._exact
            off_kib = max(owned_kib - owned_before_kib, (faults - faults_before) * PAGE_KIB)
            if exact_kib + off_kib <= enough_kib:
                return exact_kib + off_kib
        try:
            exact_kib = sum(_proportional_kib(each.thread) for each in self._alive.values())
        except PermissionError:
            return owned_kib
        self._exact = exact_kib, owned_kib, faults
        return exact_kib


def _proportional_kib(pid: int) -> int:
    """Return the anonymous and shared memory of a process, each page divided by those who have it."""
    text = read(f"/proc/{pid}/smaps_rollup", denied=True)
    return size_kib(text, b"Pss_Anon") + size_kib(text, b"Pss_Shmem")
