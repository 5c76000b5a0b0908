"""Box numbers for tests and harnesses: nobody else on this machine has the same ones meanwhile."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from verdictd.settings import SandboxSettings

# A daemon takes over what a killed one left in a box, an executable alone expects that the box does not
# exist: each kind has its own numbers. isolate allows 0 to 999; a daemon that this machine may be running
# begins at 0, and 900 is what systemd/README.md tells operators to use, whose companions come after it.
FOR_DAEMONS: Final = range(400, 900)
FOR_EXECUTABLES: Final = range(910, 1000)


@contextmanager
def boxes(count: int = 2, among: range = FOR_DAEMONS) -> Iterator[range]:
    """Lend consecutive box numbers for as long as the block lasts; as many after them are for companions."""
    for first in range(among.start, among.stop - 2 * count + 1, 2 * count):
        with ExitStack() as locks:
            try:
                for number in range(first, first + 2 * count):
                    _lock(locks, number)
            except OSError:
                continue
            yield range(first, first + count)
            return
    pytest.fail(f"no {count} of the box numbers {among} are free")


def _lock(locks: ExitStack, number: int) -> None:
    """Bind the name of a socket: the kernel gives it to one process at a time, and frees it at its end."""
    locks.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0verdictd-tests-box-{number}")


@contextmanager
def own_boxes(settings: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Add box numbers to the settings of a daemon, unless the test chose them."""
    if "sandbox__first_box" in settings:
        yield dict(settings)
        return
    count = int(settings.get("sandbox__boxes", SandboxSettings().box_count))
    with boxes(max(1, count)) as numbers:  # some tests ask for 0 boxes, and are refused
        yield {**settings, "sandbox__first_box": str(numbers.start)}
