"""Child processes with a deadline, bounded output, and SIGTERM before SIGKILL."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from verdictd.concurrency import finish, offload
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.child import Child
from verdictd.sandbox.model import Captured, Descriptor, Ending

T = TypeVar("T")
Watch = Callable[[int], Coroutine[Any, Any, Ending]]
"""Watches the child with this pid; returns when it has to be ended, with the reason."""

_GRACE_S = 3.0  # for a child that was asked to end, and for its output once it has ended
_KILL_GRACE_S = 5.0
_LARGE_BYTES = 256 * 1024

# Programs have another user id than the daemon, and open their streams again by name.
_READABLE_BY_ALL = 0o444
_WRITABLE_BY_ALL = 0o666
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """Exit code and output of a child. `ended_for`: the limit for which it was ended here, if it was."""

    returncode: int
    stdout: Captured
    stderr: Captured
    ended_for: Ending | None


@dataclass(frozen=True, slots=True)
class _Room:
    """Output of a stream that is kept, and that which is dropped after it; more is too much."""

    kept_bytes: int
    dropped_bytes: int


@dataclass(frozen=True, slots=True)
class _Watching:
    """Watches of a child, begun if it has not ended after so many seconds: most have."""

    watches: Sequence[Watch]
    after_s: float


async def execute(
    argv: list[str],
    *,
    stdin: bytes | Descriptor,
    output_bytes: int,
    deadline_s: float,
    grace_s: float = _GRACE_S,
    dropped_bytes: int = 0,
    stderr: Path | None = None,
    watches: Sequence[Watch] = (),
    watched_after_s: float = 0,
) -> ProcessResult:
    """Run a child process to its end.

    The child gets descriptors opened here: a file without a name to read, and for each output stream a pipe,
    of which `output_bytes` are kept and the next `dropped_bytes` are read and dropped. If it writes more, if
    one of `watches` returns, or if the deadline passes, it is terminated; the watches begin if it has not
    ended after `watched_after_s`. Processes that hold one of the descriptors can open it again, also as
    another user: /dev/stdin, /dev/stdout, /proc/self/fd/2.
    Raises SandboxBroken if the deadline passed, if the child or a process of its own outlives the end, and if
    the host has no memory, process or open file left for it.

    `stderr` names the pipe for standard error, so that others can write to it too.
    """
    try:
        room = _Room(output_bytes, dropped_bytes)
        watched = _Watching(watches, watched_after_s)
        return await _execute(argv, stdin, room, deadline_s, grace_s, stderr=stderr, watched=watched)
    except OSError as error:
        raise SandboxBroken(f"cannot start {argv[0]}: {error}", FaultKind.START) from error


async def _execute(
    argv: list[str],
    stdin: bytes | Descriptor,
    room: _Room,
    deadline_s: float,
    grace_s: float,
    *,
    stderr: Path | None,
    watched: _Watching,
) -> ProcessResult:
    overflow: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def overflowed() -> None:
        if not overflow.done():
            overflow.set_result(Ending.OUTPUT)

    async with _readable(stdin) as stdin_fd:
        with (
            _capture(room, overflowed) as (output, out),
            _capture(room, overflowed, stderr) as (errors, err),
        ):
            try:
                child = Child(argv, stdin=stdin_fd, stdout=out, stderr=err)
            finally:
                out.close()
                err.close()
            ended_for = await _wait(child, overflow, watched, deadline_s, grace_s)
            returncode = _exit_code(child)
            if overflow.done():
                ended_for = ended_for or Ending.OUTPUT
            else:
                await _drained(output, errors, limit_s=grace_s)
            return ProcessResult(returncode, output.captured(), errors.captured(), ended_for)


async def _wait(
    child: Child,
    overflow: asyncio.Future[Ending],
    watched: _Watching,
    deadline_s: float,
    grace_s: float,
) -> Ending | None:
    """Wait for the child; terminate it if there is a reason to, which is returned, or the deadline passes."""
    waiting: set[asyncio.Future[Any]] = {child.ended, overflow}
    watching: list[asyncio.Task[Ending]] = []
    try:
        done = await _first(waiting, watched.after_s) if watched.after_s else set()
        if not done:
            watching += [asyncio.ensure_future(watch(child.pid)) for watch in watched.watches]
            done = await _first({*waiting, *watching}, deadline_s)
    finally:
        for watch in watching:
            watch.cancel()
        if not child.ended.done():
            await finish(_end(child, grace_s))
    if not done:
        raise SandboxBroken(f"the sandbox did not end within {deadline_s:.1f} s", FaultKind.DEADLINE)
    return next((reason.result() for reason in (overflow, *watching) if reason in done), None)


async def _first(waiting: set[asyncio.Future[Any]], limit_s: float) -> set[asyncio.Future[Any]]:
    done, _ = await asyncio.wait(waiting, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    return done


def _exit_code(child: Child) -> int:
    if not child.ended.done():
        raise SandboxBroken(
            f"process {child.pid} of the sandbox does not end, even after SIGKILL", FaultKind.SURVIVORS
        )
    return child.ended.result()


async def _end(child: Child, grace_s: float) -> None:
    """Terminate the child; if it does not end, kill it, its own children first.

    Killing isolate's keeper alone would free the program from its limits. The child of a keeper that does not
    respond is the first process of the sandbox: when that dies, the kernel kills everything inside.
    """
    child.send(signal.SIGTERM)
    done, _ = await asyncio.wait({child.ended}, timeout=grace_s)
    if done:
        return
    for grandchild in children(child.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(grandchild, signal.SIGKILL)
    child.send(signal.SIGKILL)
    await asyncio.wait({child.ended}, timeout=_KILL_GRACE_S)


def children(pid: int) -> list[int]:
    """Return the live child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class _Pipe:
    """Reading end of a stream: keeps the first bytes, drops more, and calls `on_overflow` beyond both."""

    def __init__(self, fd: int, room: _Room, on_overflow: Callable[[], None]) -> None:
        self._fd = fd
        self._to_keep = room.kept_bytes
        self._to_read = room.kept_bytes + room.dropped_bytes
        self._on_overflow = on_overflow
        self._data = bytearray()
        self._truncated = False
        self.done = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, 65_536)
        except BlockingIOError:
            return
        self._data += chunk[: self._to_keep]
        self._truncated |= len(chunk) > self._to_keep
        self._to_keep = max(0, self._to_keep - len(chunk))
        self._to_read -= len(chunk)
        if self._to_read < 0:
            self._on_overflow()
        if not chunk or self._to_read < 0:
            self.stop()

    def stop(self) -> None:
        """Stop reading."""
        if not self.done.is_set():
            asyncio.get_running_loop().remove_reader(self._fd)
            self.done.set()

    def captured(self) -> Captured:
        """Return the bytes kept so far."""
        return Captured(bytes(self._data), self._truncated)


@contextmanager
def _capture(
    room: _Room, on_overflow: Callable[[], None], named: Path | None = None
) -> Iterator[tuple[_Pipe, FileIO]]:
    """Open a pipe: yield our end, and the end for the child, to be closed once the child has it."""
    if named is None:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read_fd, False)
    else:
        read_fd = os.open(named, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        write_fd = os.open(named, os.O_WRONLY | os.O_CLOEXEC)
    os.fchmod(write_fd, _WRITABLE_BY_ALL)
    pipe = _Pipe(read_fd, room, on_overflow)
    try:
        with FileIO(write_fd, "wb") as written:
            yield pipe, written
    finally:
        pipe.stop()
        os.close(read_fd)


async def _drained(*pipes: _Pipe, limit_s: float) -> None:
    if all(pipe.done.is_set() for pipe in pipes):
        return
    try:
        async with asyncio.timeout(limit_s):
            for pipe in pipes:
                await pipe.done.wait()
    except TimeoutError:
        raise SandboxBroken(
            "a program outlived its sandbox: it still holds an output stream", FaultKind.SURVIVORS
        ) from None


@asynccontextmanager
async def _readable(content: bytes | Descriptor) -> AsyncIterator[int]:
    """Open a read-only descriptor of a file, at its beginning; bytes become a file in memory."""
    if isinstance(content, bytes):
        fd = await offload(partial(_sealed, content), len(content), large=_LARGE_BYTES)
    elif os.fstat(content).st_nlink:
        fd = _reopened(content)
    else:
        # The embedded sandbox could not mount it read-only, and the program may be its owner.
        raise SandboxBroken("the file for standard input was removed", FaultKind.FILES)
    try:
        yield fd
    finally:
        os.close(fd)


def _sealed(content: bytes) -> int:
    # Seals also bind the owner of a file, who could give himself the right to write: in the embedded sandbox
    # of an ordinary user, programs have the user id of the daemon.
    with FileIO(os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+b") as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        os.fchmod(file.fileno(), _READABLE_BY_ALL)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        return _reopened(file.fileno())


def _reopened(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
