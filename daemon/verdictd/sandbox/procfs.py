"""Figures of processes and of the host, read from /proc again and again."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import NamedTuple, Self

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
_READ_BYTES = 16_384
_CHUNK_BYTES = 2_048  # the kernel gives lists in pieces of a page; what is shorter than this is whole
_ZOMBIE = b"Z"
_UNKNOWN_KIB = 2**62


class HostMemory:
    """Memory that all processes of this host have together: no run has added more than they have.

    State: an open file, the last reading, and what was added since: `added_kib` of all kinds, and
    `added_shared_kib` of shared memory, files in memory included. Both begin with all that is in use, and are
    very much where the host does not tell. What others free meanwhile does not hide what a program takes
    between two readings.
    """

    def __init__(self) -> None:
        self._file = _File("/proc/meminfo", keep=True)
        self._used_kib = self._shared_kib = 0
        self.added_kib = self.added_shared_kib = 0
        self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> None:
        """Read the figures again."""
        text = self._file.read()
        anonymous_kib = size_kib(text, b"AnonPages")
        if anonymous_kib == 0:
            self.added_kib = self.added_shared_kib = _UNKNOWN_KIB
            return
        shared_kib = size_kib(text, b"Shmem")
        used_kib = anonymous_kib + shared_kib + size_kib(text, b"PageTables")
        self.added_kib += max(0, used_kib - self._used_kib)
        self.added_shared_kib += max(0, shared_kib - self._shared_kib)
        self._used_kib, self._shared_kib = used_kib, shared_kib


class Figures(NamedTuple):
    """Fields of /proc/PID/stat. CPU time in ticks; that of children counts those that were waited for.

    `system_ticks`: the part of both that was spent in the kernel.
    """

    started: int = 0
    faults: int = 0
    own_ticks: int = 0
    children_ticks: int = 0
    threads: int = 0
    resident_kib: int = 0
    mapped_kib: int = 0
    system_ticks: int = 0
    session: int = 0


class Memory(NamedTuple):
    """Fields of /proc/PID/status: resident memory by its kind, and page tables."""

    anonymous_kib: int = 0
    file_kib: int = 0
    shared_kib: int = 0
    tables_kib: int = 0


class Process:
    """One process. State: the last reading, and open files where it `keep`s them.

    `thread`: the pid, or another thread once the first has ended, which leaves nothing to be read of memory
    and open files there. `inherited_kib`: anonymous memory at the beginning.
    """

    __slots__ = ("_children", "_memory", "_memory_of", "_stat", "inherited_kib", "last", "pid", "thread")

    def __init__(self, pid: int, *, keep: bool) -> None:
        self.pid = self.thread = pid
        self.last = Figures()
        self._stat = _File(f"/proc/{pid}/stat", keep=keep)
        self._children = _File(f"/proc/{pid}/task/{pid}/children", keep=keep)
        self._memory = Memory()
        self._memory_of: Figures | None = None
        self.inherited_kib = _anonymous_kib(pid)

    def close(self) -> None:
        """Close the files."""
        self._stat.close()
        self._children.close()

    def read(self) -> bool:
        """Read the figures again; return False if the process is gone."""
        fields = _fields(self._stat.read())
        if not fields:
            return False
        figures = _figures(fields)
        if figures.started != self.last.started and self.last.started:
            return False  # another process with the same pid
        if fields[0] == _ZOMBIE and figures.threads > 1:
            figures = self._of_another_thread(figures)
        self.last = figures
        return True

    def _of_another_thread(self, figures: Figures) -> Figures:
        """Add what only a thread that lives tells."""
        for thread in _threads(self.pid):
            fields = _fields(read(f"/proc/{self.pid}/task/{thread}/stat"))
            if fields and fields[0] != _ZOMBIE:
                self.thread = thread
                memory = _figures(fields)
                return figures._replace(resident_kib=memory.resident_kib, mapped_kib=memory.mapped_kib)
        return figures

    def children(self) -> Iterator[int]:
        """Return the pids of the children of all threads."""
        yield from pids(self._children.read())
        if self.last.threads > 1:
            for thread in _threads(self.pid):
                if thread != self.pid:
                    yield from pids(read(f"/proc/{self.pid}/task/{thread}/children"))

    def memory(self) -> Memory:
        """Return its memory by kind. That takes long, and is read again only when something has changed."""
        of, last = self._memory_of, self.last
        if of is None or (of.faults, of.resident_kib, of.mapped_kib) != last[1:2] + last[5:7]:
            text = read(f"/proc/{self.thread}/status")
            self._memory_of = last
            self._memory = Memory(
                size_kib(text, b"RssAnon"),
                size_kib(text, b"RssFile"),
                size_kib(text, b"RssShmem"),
                size_kib(text, b"VmPTE"),
            )
        return self._memory

    @property
    def added_kib(self) -> int:
        """Anonymous memory that it has added since the beginning, which is certainly its own."""
        return max(0, self._memory.anonymous_kib - self.inherited_kib)

    @property
    def own_kib(self) -> int:
        """Anonymous memory that may be its own: inherited pages become so by faults."""
        return min(self._memory.anonymous_kib, max(self.added_kib, self.last.faults * PAGE_KIB))


def _fields(text: bytes) -> list[bytes]:
    # The name of the program, in parentheses, may hold any character.
    return text.rpartition(b")")[2].split(None, 22)


def _figures(fields: list[bytes]) -> Figures:
    return Figures(
        int(fields[19]),
        int(fields[7]),
        int(fields[11]) + int(fields[12]),
        int(fields[13]) + int(fields[14]),
        int(fields[17]),
        int(fields[21]) * PAGE_KIB,
        int(fields[20]) // 1024,
        int(fields[12]) + int(fields[14]),
        int(fields[3]),
    )


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - a path for each is slow
    except OSError:
        return []


def pids(text: bytes) -> Iterator[int]:
    """Return the numbers of a list."""
    return map(int, text.split())


def _anonymous_kib(pid: int) -> int:
    pages = read(f"/proc/{pid}/statm").split()
    return (int(pages[1]) - int(pages[2])) * PAGE_KIB if pages else 0


def size_kib(text: bytes, name: bytes) -> int:
    """Return the size of this name in a list of sizes; 0 if it is missing."""
    at = text.find(b"\n" + name + b":")
    return 0 if at < 0 else int(text[at + len(name) + 2 : text.index(b" kB", at)])


class _File:
    """A file in /proc, which may stay open: to open one takes as long as to read it."""

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str, *, keep: bool) -> None:
        self._path = path
        self._fd = -1
        if keep:
            with contextlib.suppress(OSError):
                self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Return the content; empty once the process is gone."""
        if self._fd < 0:
            return read(self._path)
        try:
            return _whole(self._fd)
        except OSError:
            return b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(path: str, *, denied: bool = False) -> bytes:
    """Read a file of a process, empty once that is gone; `denied`: let a PermissionError through."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _whole(fd)
        finally:
            os.close(fd)
    except PermissionError:
        if denied:
            raise
        return b""
    except OSError:
        return b""


def read_again(path: str) -> bytes:
    """Read a file of the host that is read for each run, and stays open; empty where there is none."""
    return _kept(path).read()


@functools.cache
def _kept(path: str) -> _File:
    return _File(path, keep=True)


def _whole(fd: int) -> bytes:
    text = part = os.pread(fd, _READ_BYTES, 0)
    while len(part) >= _CHUNK_BYTES:
        part = os.pread(fd, _READ_BYTES, len(text))
        text += part
    return text
