"""Processes of `verdictd`, forked from one that has imported all of it.

Imports are nine tenths of what a start costs, and the tests start hundreds. What runs after them is what runs
in the command: `test_opening.py` and the virtual machine start it as it is installed.
"""

import asyncio
import ctypes
import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self

DIES_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
PR_SET_PDEATHSIG: Final = 1
LONGEST_REQUEST: Final = 1 << 20


class Process:
    """A forked process, with what the tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, state: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._state, self._writer = state, writer
        self._ended = asyncio.create_task(self._take_returncode())

    async def _take_returncode(self) -> int:
        """Wait until the server has collected it."""
        self.returncode = int(await self._state.readline())
        self._writer.close()
        return self.returncode

    async def wait(self) -> int:
        """Wait for the end; return the exit code, or the signal as a negative number."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)

    @classmethod
    async def fork(
        cls, arguments: list[str], environment: dict[str, str], *, out: IO[bytes], err: IO[bytes]
    ) -> Self:
        """Run `verdictd` with these arguments and this environment; its input is empty."""
        ours, theirs = socket.socketpair()
        request = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        with theirs:
            descriptors = [out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(_server()[0], [json.dumps(request).encode()], descriptors)
        state, writer = await asyncio.open_unix_connection(sock=ours)
        return cls(int(await state.readline()), state, writer)


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the server, which ends with this process; return the socket for requests first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [*DIES_WITH_US, sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return ours, server


def serve(link: socket.socket) -> bool:
    """Fork a child for each request until nobody can send any more; return True in a child."""
    children: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as ready:
        ready.register(link, selectors.EVENT_READ)
        for key in _events(ready):
            if key.fileobj is link:
                data, descriptors, _, _ = socket.recv_fds(link, LONGEST_REQUEST, maxfds=3)
                if not data:
                    return False
                pid = os.fork()
                if pid == 0:
                    break
                out, err, state = descriptors
                os.close(out)
                os.close(err)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = pid, socket.socket(fileno=state)
                children[pidfd][1].sendall(b"%d\n" % pid)
                ready.register(pidfd, selectors.EVENT_READ)
            else:
                ready.unregister(key.fd)
                os.close(key.fd)
                pid, reader = children.pop(key.fd)
                with reader, suppress(BrokenPipeError):
                    reader.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for pidfd, (_, reader) in children.items():
        os.close(pidfd)
        reader.close()
    _become(json.loads(data), descriptors)
    return True


def _events(ready: selectors.BaseSelector) -> Iterator[selectors.SelectorKey]:
    while True:
        for key, _ in ready.select():
            yield key


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Take the streams, the environment and the arguments of a request."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    out, err, _ = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["verdictd", *request["arguments"]]


if __name__ == "__main__":
    import verdictd.cli.batch
    import verdictd.cli.check
    import verdictd.cli.configuration
    import verdictd.cli.results
    import verdictd.service.daemon
    import verdictd.service.memory  # noqa: F401 - what the commands import when they run
    from verdictd.cli.commands import main
    from verdictd.contract.limits import Limits
    from verdictd.contract.submission import submission_model
    from verdictd.judging.languages import Registry

    # A process that has made these once makes them in half the time.
    Registry.load(None)
    submission_model(Limits())
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        forked = serve(requests)
    if forked:
        main()
