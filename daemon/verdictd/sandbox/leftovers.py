"""Trees that programs leave in a box: removed, whatever their depth, before the sandbox resets the box.

Isolate opens a descriptor for each level of a tree. If that fails in its --init, it runs no command in the
box any more, and an ordinary user could never remove what belongs to the user of the box.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from verdictd.sandbox.embedded.faults import BoxError
from verdictd.sandbox.embedded.trees import empty
from verdictd.sandbox.model import PROBE_LIMITS, Command
from verdictd.sandbox.walk import DIRECTORY, places

_LINKS_WITHOUT_DIRECTORIES = 2  # each directory in a directory is one more

_FILES = "/tmp /dev/shm -mindepth 1"  # noqa: S108 - in a box
_ALL = f"/usr/bin/find {_FILES} -delete"
_OPEN = f"/usr/bin/find {_FILES} -type d ! -perm -700 -execdir /bin/chmod 700 {{}} ';'"

REMOVE = Command(
    argv=("/bin/sh", "-c", f"{_ALL} 2> /dev/null || {{ {_OPEN}; {_ALL}; }}"),
    constraints=replace(
        PROBE_LIMITS, cpu_time_s=240, wall_time_s=240, memory_kib=262_144, file_size_kib=1, processes=16
    ),
)
"""Removes, as the user of the box, what an isolate that is set-uid hides from its caller."""


def trees(root: Path) -> list[str]:
    """Return the places of a box in which there are directories."""
    return [place for place in places(root) if _holds_directories(place)]


def _holds_directories(place: str) -> bool:
    try:
        return os.lstat(place).st_nlink != _LINKS_WITHOUT_DIRECTORIES
    except FileNotFoundError:
        return False


def remove_trees(found: Sequence[str]) -> bool:
    """Remove what this user may remove; return False if it must not enter one of the places.

    What is left of the others is left to the sandbox, which has more rights.
    """
    entered = True
    for place in found:
        try:
            top = os.open(place, DIRECTORY)
        except PermissionError:
            entered = False
            continue
        try:
            with suppress(OSError, BoxError):
                empty(top)
        finally:
            os.close(top)
    return entered
