"""Empty a box in place of its sandbox: without control groups, --init does nothing more than that.

A program has mostly left a handful of files, and removing them costs less than starting a process.
"""

import os
from pathlib import Path

from verdictd.sandbox.walk import BLOCK_BYTES, DIRECTORY, places

_MOST_FILES = 64
_MOST_BYTES = 16 * 1024 * 1024


def emptied(root: Path) -> bool:
    """Empty the box in which a program has ended; return False if that is left to the sandbox.

    Small boxes without sub-directories are emptied. The directories of the box are made anew, as a program
    may have changed their mode and attributes.
    """
    try:
        if not all(_removed(place) for place in places(root)):
            return False
        os.mkdir(f"{root}/box", 0o700)  # noqa: PTH102 - a path object costs as much as the call
    except OSError:  # a file that must not be removed, say: the sandbox has more rights
        return False
    return True


def _removed(place: str) -> bool:
    """Remove a directory and its files; return False, and leave it, if it is not small."""
    directory = os.open(place, DIRECTORY)
    try:
        names = _few_files(directory)
        if names is None:
            return False
        for name in names:
            os.unlink(name, dir_fd=directory)
        os.rmdir(place)  # noqa: PTH106 - as above
    finally:
        os.close(directory)
    return True


def _few_files(directory: int) -> list[str] | None:
    """Return the names of the files; None if they are too many or too large, or if one is a directory."""
    names, left_bytes = [], _MOST_BYTES
    with os.scandir(directory) as entries:
        for entry in entries:
            left_bytes -= entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
            names.append(entry.name)
            if entry.is_dir(follow_symlinks=False) or len(names) > _MOST_FILES or left_bytes < 0:
                return None
    return names
