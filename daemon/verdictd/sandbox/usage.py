"""Memory and CPU time of the processes in a box, read from /proc while they run.

No figure that decides is more than what was used, but for one exception: a daemon that may not read
`smaps_rollup` of the box's user (an isolate that is set-uid) counts memory that processes map together once
for each of them.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_MAPPED_BY_TABLES = 500  # bytes that one byte of page tables maps: 512, less the tables above the lowest
_KIB_FIELD = re.compile(rb"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Stat:
    """Fields of /proc/PID/stat. CPU time in ticks; that of children counts those that were waited for.

    `system_ticks`: the part of both that was spent in the kernel.
    """

    started: int
    faults: int
    own_ticks: int
    children_ticks: int
    system_ticks: int
    threads: int
    resident_kib: int
    mapped_kib: int


class ProcessTree:
    """The processes of one run: all that descend from process 1 of the sandbox, which is not one of them.

    Orphans become children of process 1, so the tree is whole. State: the last reading of each process that
    is alive, CPU time and faults of those that ended, and the last exact figure of memory.
    """

    def __init__(self, keeper: int) -> None:
        self._keeper = keeper
        self._first: int | None = None
        self._first_children_ticks = 0
        self._first_system_ticks = 0
        self._alive: dict[int, _Stat] = {}
        self._inherited_kib: dict[int, int] = {}
        """Anonymous memory of each process at its first reading."""
        self._ended_ticks = 0
        self._ended_faults = 0
        self._exact: tuple[int, int, int] | None = None
        """Memory of all, the sum in which shared memory counts for each, and the faults until then."""

    def __len__(self) -> int:
        return len(self._alive)

    def refresh(self, *, all_threads: bool = True) -> None:
        """Read the processes again; without `all_threads`, new children of other threads are not seen."""
        if self._first is None:
            self._first = next(_children(self._keeper), None)
        if self._first is None:
            return
        first = _stat(self._first)
        if first is not None:
            self._first_children_ticks = first.children_ticks
            self._first_system_ticks = first.system_ticks
        pending = [*self._alive, *_children(self._first)]
        seen = set(pending)
        while pending:
            pid = pending.pop()
            known, now = self._alive.get(pid), _stat(pid)
            if known is not None and (now is None or now.started != known.started):
                del self._alive[pid], self._inherited_kib[pid]
                self._ended_ticks += known.own_ticks
                self._ended_faults += known.faults
                continue
            if now is None:
                continue
            if known is None:
                self._inherited_kib[pid] = _anonymous_kib(pid)
            self._alive[pid] = now
            for child in _children(pid, all_threads=all_threads and now.threads > 1):
                if child not in seen:
                    seen.add(child)
                    pending.append(child)

    @property
    def cpu_time_s(self) -> float:
        """CPU time of all processes, those that have ended included.

        A process that ended is counted by the parent that waited for it, or else by its last reading: nobody
        waits for the children of a process that ignores SIGCHLD.
        """
        own = sum(each.own_ticks for each in self._alive.values())
        waited_for = self._first_children_ticks + sum(each.children_ticks for each in self._alive.values())
        return (own + max(waited_for, self._ended_ticks)) / _TICKS_PER_S

    @property
    def system_time_s(self) -> float:
        """Time in the kernel: of the processes that are alive, and of those that were waited for."""
        alive = sum(each.system_ticks for each in self._alive.values())
        return (self._first_system_ticks + alive) / _TICKS_PER_S

    @property
    def at_most_kib(self) -> int:
        """Upper bound of the memory in use: resident sets, and page tables of everything that is mapped."""
        return sum(each.resident_kib + each.mapped_kib // _MAPPED_BY_TABLES for each in self._alive.values())

    def memory_kib(self, enough_kib: int) -> int:
        """Return the memory in use; where several processes share some, perhaps only a bound of it.

        That bound is on the same side of `enough_kib`. Memory is what belongs to processes: anonymous and
        shared pages and page tables; and the file pages of the one that has most of them, as pages of
        programs and libraries are the same for all.
        """
        used = {pid: _sizes(_read(f"/proc/{pid}/status")) for pid in self._alive}
        owned_kib = sum(
            self._own_kib(pid, each.get(b"RssAnon", 0)) + each.get(b"RssShmem", 0)
            for pid, each in used.items()
        )
        others_kib = sum(each.get(b"VmPTE", 0) for each in used.values())
        others_kib += max((each.get(b"RssFile", 0) for each in used.values()), default=0)
        if len(used) <= 1 or owned_kib + others_kib <= enough_kib:
            return owned_kib + others_kib
        # What a process has added since the first reading is certainly its own.
        added_kib = sum(
            max(0, each.get(b"RssAnon", 0) - self._inherited_kib[pid]) for pid, each in used.items()
        )
        if added_kib > enough_kib:
            return added_kib
        return others_kib + self._without_shared(owned_kib, enough_kib - others_kib)

    def unnamed_kib(self, device: int | None = None) -> int:
        """Return the size of open files without a name: on a device, or memory files where there is none.

        Such files are in no directory, and in no resident set unless a process maps them. Those that this
        daemon must not look at do not count.
        """
        sizes: dict[tuple[int, int], int] = {}
        for pid in self._alive:
            with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
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

    def _own_kib(self, pid: int, anonymous_kib: int) -> int:
        """Return the anonymous memory that may be a process's own: inherited pages become so by faults."""
        added_kib = anonymous_kib - self._inherited_kib[pid]
        return min(anonymous_kib, max(added_kib, self._alive[pid].faults * _PAGE_KIB))

    def _without_shared(self, owned_kib: int, enough_kib: int) -> int:
        """Count memory that processes share once. The exact figure takes long, and is not read in vain.

        Shared pages become a process's own by page faults, so that their number says how far an earlier
        figure may be off.
        """
        faults = self._ended_faults + sum(each.faults for each in self._alive.values())
        if self._exact is not None:
            exact_kib, owned_before_kib, faults_before = self._exact
            off_kib = max(owned_kib - owned_before_kib, (faults - faults_before) * _PAGE_KIB)
            if exact_kib + off_kib <= enough_kib:
                return exact_kib + off_kib
        try:
            exact_kib = sum(_proportional_kib(pid) for pid in self._alive)
        except PermissionError:
            return owned_kib
        self._exact = exact_kib, owned_kib, faults
        return exact_kib


def host_shared_kib() -> int:
    """Return the shared memory of this host: files in memory included, whoever has them."""
    return _sizes(_read("/proc/meminfo")).get(b"Shmem", 0)


def _stat(pid: int) -> _Stat | None:
    """Read the figures of a process; None if it is gone."""
    text = _read(f"/proc/{pid}/stat")
    # The name of the program, in parentheses, may hold any character.
    fields = text.rpartition(b")")[2].split()
    if not fields:
        return None
    own, of_children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return _Stat(
        started=int(fields[19]),
        faults=int(fields[7]),
        own_ticks=own,
        children_ticks=of_children,
        system_ticks=int(fields[12]) + int(fields[14]),
        threads=int(fields[17]),
        resident_kib=int(fields[21]) * _PAGE_KIB,
        mapped_kib=int(fields[20]) // 1024,
    )


def _children(pid: int, *, all_threads: bool = False) -> Iterator[int]:
    threads = [str(pid)]
    if all_threads:
        with contextlib.suppress(OSError):
            threads = [task.name for task in Path(f"/proc/{pid}/task").iterdir()]
    for thread in threads:
        yield from map(int, _read(f"/proc/{pid}/task/{thread}/children").split())


def _anonymous_kib(pid: int) -> int:
    pages = _read(f"/proc/{pid}/statm").split()
    return (int(pages[1]) - int(pages[2])) * _PAGE_KIB if pages else 0


def _proportional_kib(pid: int) -> int:
    """Return the anonymous and shared memory of a process, each page divided by those who have it."""
    try:
        sizes = _sizes(_read(f"/proc/{pid}/smaps_rollup", denied=True))
    except ProcessLookupError:
        return 0
    return sizes.get(b"Pss_Anon", 0) + sizes.get(b"Pss_Shmem", 0)


def _sizes(text: bytes) -> dict[bytes, int]:
    return {name: int(kib) for name, kib in _KIB_FIELD.findall(text)}


def _read(path: str, *, denied: bool = False) -> bytes:
    """Read a file of a process, empty once that is gone; `denied`: let a PermissionError through."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 16_384)
        finally:
            os.close(fd)
    except PermissionError:
        if denied:
            raise
        return b""
    except OSError:
        return b""
