"""Trees of files that untrusted programs made: of any depth, name and mode. Links are never followed."""

from __future__ import annotations

import os

from verdictd.sandbox.embedded.faults import BoxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def empty(top: int) -> None:
    """Remove everything in the directory with the descriptor `top`."""

    def visit(here: int) -> list[str]:
        folders = []
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=here)
        return folders

    _walk(top, visit, lambda above, name: os.rmdir(name, dir_fd=above))


def hand_over(top: int, uid: int, *, guest: int) -> None:
    """Change the owner of the directory and all files in it; remove what is neither a file nor a directory.

    A file with a second name keeps its owner unless the guest owns it already: the other name may lie where
    the guest must not write.
    """

    def visit(here: int) -> list[str]:
        folders = []
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif not entry.is_file(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=here)
                else:
                    status = os.lstat(entry.name, dir_fd=here)
                    if status.st_nlink == 1 or status.st_uid == guest:
                        os.chown(entry.name, uid, uid, dir_fd=here, follow_symlinks=False)
        os.fchown(here, uid, uid)
        return folders

    _walk(top, visit, lambda _above, _name: None)


def _walk(top: int, visit: Callable[[int], list[str]], leave: Callable[[int, str], None]) -> None:
    """Visit every directory, parents first, and call `leave` for each when everything below it is done.

    `visit` returns the names of the directories to enter. Only one descriptor is open at a time: the way up
    is `..`, and is checked to lead to the directory of before.
    """
    here = os.dup(top)
    trail: list[tuple[str, tuple[int, int], list[str]]] = []
    try:
        folders = visit(here)
        while folders or trail:
            if folders:
                name = folders.pop()
                trail.append((name, _identity(here), folders))
                here = _move(here, name)
                folders = visit(here)
            else:
                name, expected, folders = trail.pop()
                here = _move(here, "..")
                if _identity(here) != expected:
                    raise BoxError("The box was changed while it was being cleaned up")

                leave(here, name)
    finally:
        os.close(here)


def _move(here: int, name: str) -> int:
    there = os.open(name, _DIRECTORY, dir_fd=here)
    os.close(here)
    return there


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
