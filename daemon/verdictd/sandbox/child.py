"""A child process that the event loop waits for by its descriptor.

Those of asyncio make a transport and a protocol for each, and take three turns of the loop to tell of an end.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO

_REFUSED_S = 5.0


class Child:
    """A running child. State: `ended`, a future that gets its exit code, below 0 for a signal.

    It is in a session of its own: where the kernel shares the processors between sessions, many processes in
    a box starve neither the daemon nor other boxes. Raises OSError if it cannot be started.
    """

    def __init__(self, argv: Sequence[str], *, stdin: int, stdout: FileIO, stderr: FileIO) -> None:
        self._process = subprocess.Popen(
            argv, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
        self.pid = self._process.pid
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._refuse()
            raise
        self._loop.add_reader(self._pidfd, self._reap)

    def __repr__(self) -> str:
        return f"Child({self.pid}, {self.ended})"

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if not self.ended.done():
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.ended.set_result(self._process.wait())

    def _refuse(self) -> None:
        """End a child that nobody could wait for; it has hardly begun."""
        self._process.terminate()
        try:
            self._process.wait(_REFUSED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
