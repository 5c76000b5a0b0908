"""Two pipes that join two boxes: what one program writes is the input of the other.

A sandbox keeps the streams that it was started with open until it ends. So programs open these pipes by name,
in a directory that only their box sees: when one closes its output, the other's input ends at that moment.
"""

import array
import asyncio
import fcntl
import os
import select
import shutil
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

from verdictd.sandbox.inotify import EventsLost, FileEvents, Noted
from verdictd.sandbox.model import NamedStreams

INPUT, OUTPUT, ERRORS = "in", "out", "err"
"""Names of the pipes in the directory of a side."""
READ_BYTES = 65_536
_PAUSE_S = 0.001  # between two pieces of what nobody reads, so that a flood costs the daemon little


class Pipes:
    """The pipes between two sides, 0 and 1.

    The daemon could read both, so that a side that writes after the other has ended is not disturbed. State:
    its ends of the pipes, by the side whose input they are, and the directory of the last closing.
    """

    def __init__(
        self, streams: Sequence[NamedStreams], readers: Sequence[FileIO], events: FileEvents
    ) -> None:
        self.streams = streams
        """The streams of each side."""
        self._directories = [each.directory for each in streams]
        self._readers = readers
        self._events = events
        self._closed_last: Path | None = None
        for directory in self._directories:
            events.watch(directory, Noted.OPENED)

    async def opened(self) -> None:
        """Wait until the programs of both sides have opened their streams."""
        missing = {path: {INPUT, OUTPUT, ERRORS} for path in self._directories}
        while any(missing.values()):
            await readable(self._events.fd)
            for event in self._events.read():
                missing[event.directory].discard(event.name)
                if not missing[event.directory]:  # the program may open them again, as often as it likes
                    self._events.unwatch(event.directory)

    def note_closings(self) -> None:
        """Note from now on which side closes a stream."""
        for directory in self._directories:
            self._events.watch(directory, Noted.CLOSED)

    def ended_last(self) -> int | None:
        """Return the side that ended after the other, however late this is asked; None if it is not known.

        A program that ends closes its streams from the highest number to the lowest: the kernel's task_work
        is last in, first out. The other one can react to the end of its output: that comes after the end of
        its errors, and before that of its input, which tells nothing therefore.
        """
        try:
            for event in self._events.read():
                if event.name != INPUT:
                    self._closed_last = event.directory
        except EventsLost:
            self._closed_last = None
        return None if self._closed_last is None else self._directories.index(self._closed_last)

    def is_silent(self, side: int) -> bool:
        """Return True if a side has closed its output, perhaps since it has ended."""
        return has_no_writer(self._readers[1 - side])

    def unread(self, side: int) -> int:
        """Return the number of bytes that wait to be read by a side."""
        return waiting_bytes(self._readers[side])

    async def drop(self, side: int, most_bytes: int) -> None:
        """Read what is still written for a side that has ended; return after `most_bytes`.

        From then on the other side gets SIGPIPE, or EPIPE.
        """
        reader = self._readers[side]
        while most_bytes > 0:
            piece = await read_piece(reader)
            if not piece:  # nobody can write any more
                await asyncio.Event().wait()
            most_bytes -= len(piece)
            await asyncio.sleep(_PAUSE_S)
        reader.close()


@contextmanager
def open_pipes(directory: Path) -> Iterator[tuple[Pipes, ExitStack]]:
    """Make two pipes in a directory, which is made for them, and removed at the end.

    While the second value is open, programs open their streams without waiting for each other, and no input
    ends.
    """
    with pipe_directory(directory), ExitStack() as stack:
        inputs = [make_pipe(directory / f"input-{side}") for side in (0, 1)]
        streams = named_streams(directory, inputs, outputs=inputs[::-1])
        readers = [stack.enter_context(open_end(path, "rb")) for path in inputs]
        held = stack.enter_context(ExitStack())
        for path in inputs:
            held.enter_context(open_end(path, "wb"))
        yield Pipes(streams, readers, stack.enter_context(FileEvents())), held


@contextmanager
def pipe_directory(directory: Path) -> Iterator[None]:
    """Make a directory that is removed at the end."""
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.mkdir()
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_pipe(path: Path) -> Path:
    """Make a pipe that the programs of all boxes may open, who have other user ids."""
    os.mkfifo(path)
    path.chmod(0o666)
    return path


def named_streams(directory: Path, inputs: Sequence[Path], outputs: Sequence[Path]) -> Sequence[NamedStreams]:
    """Give the pipes names by which the programs of each side open them.

    The daemon uses other names, so that what it opens and closes is not noted.
    """
    return [
        _named(directory / f"side-{side}", given, said, make_pipe(directory / f"errors-{side}"))
        for side, (given, said) in enumerate(zip(inputs, outputs, strict=True))
    ]


def _named(directory: Path, given: Path, said: Path, errors: Path) -> NamedStreams:
    directory.mkdir()
    directory.chmod(0o755)  # regardless of the umask
    for path, name in ((given, INPUT), (said, OUTPUT), (errors, ERRORS)):
        os.link(path, directory / name)
    return NamedStreams(directory, errors)


def open_end(path: Path, mode: str) -> FileIO:
    """Open an end of a pipe, without waiting for the other; for reading first."""
    access = os.O_RDONLY if mode == "rb" else os.O_WRONLY
    return FileIO(os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC), mode)


def waiting_bytes(reader: FileIO) -> int:
    """Return the number of bytes in a pipe."""
    waiting = array.array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, waiting)
    return waiting[0]


def has_no_writer(reader: FileIO) -> bool:
    """Return True if nobody has the other end of a pipe open any more."""
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poller.poll(0))


async def read_piece(reader: FileIO) -> bytes:
    """Wait for the next bytes in a pipe; empty at its end."""
    while True:
        await readable(reader.fileno())
        piece = reader.read(READ_BYTES)
        if piece is not None:  # else another reader was quicker
            return piece


async def readable(fd: int) -> None:
    """Wait until there is something to read, or the end."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Wait until there is room, or nobody reads any more."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
