"""A command on a terminal, as a person sees it."""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from support.boxes import own_boxes
from support.daemon import COMMAND, environment
from support.forkserver import DIES_WITH_US


class Terminal:
    """A terminal with a command on it, and what was drawn so far."""

    def __init__(self, fd: int, process: asyncio.subprocess.Process) -> None:
        self._fd = fd
        self.process = process
        self.text = ""

    def read(self) -> str:
        """Return all that was drawn so far."""
        try:
            while data := os.read(self._fd, 65_536):
                self.text += data.decode(errors="replace")
        except (BlockingIOError, OSError):  # no more for now, or for ever
            pass
        return self.text

    def close(self) -> None:
        """Take in what is left; the descriptor is another file's from now on."""
        self.read()
        self._fd = -1

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())


@asynccontextmanager
async def on_terminal(*arguments: str, **settings: str) -> AsyncIterator[Terminal]:
    """Run `verdictd` on a terminal, which is gone when the block has ended."""
    with _pseudo_terminal() as (ours, theirs), own_boxes(settings) as own:
        process = await asyncio.create_subprocess_exec(
            *("setsid", "--ctty"),
            *DIES_WITH_US,
            *COMMAND,
            *arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(**own) | {"TERM": "xterm-256color"},
        )
        terminal = Terminal(ours, process)
        try:
            yield terminal
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            terminal.close()


@contextmanager
def _pseudo_terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 30 lines with 120 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    os.set_blocking(ours, False)
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)
