"""Guardian of the boxes: ends the programs in them when the daemon dies, for nobody watches them any more.

The daemon runs this file as a script that imports nothing else of the package, and holds its standard input.
"""

import os
import signal
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path


def processes() -> list[Path]:
    """Return the folders in /proc of all processes."""
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def keepers(executable: Sequence[str], boxes: Collection[int]) -> list[int]:
    """Return the processes that run this executable on one of these boxes."""
    program = [os.fsencode(word) for word in executable]
    wanted = {f"--box-id={number}".encode() for number in boxes}
    found = []
    for process in processes():
        with suppress(FileNotFoundError, ProcessLookupError):
            argv = (process / "cmdline").read_bytes().split(b"\0")
            if argv[: len(program)] == program and not wanted.isdisjoint(argv[len(program) :][:1]):
                found.append(int(process.name))
    return found


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _guard(first: int, last: int, executable: Sequence[str]) -> None:
    while os.read(0, 1):
        pass
    for keeper in keepers(executable, range(first, last + 1)):
        send(keeper, signal.SIGTERM)


if __name__ == "__main__":
    _guard(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
