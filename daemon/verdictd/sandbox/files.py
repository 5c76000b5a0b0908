"""Files in a box, by descriptor: a file that a program may have made is never opened by its path."""

import contextlib
import errno
import fnmatch
import os
import stat
from collections.abc import Iterable, Sequence

from verdictd.files import File

_MAX_ENTRIES = 10_000


class UnusableFile(Exception):
    """The program left something other than regular files within the size limit: its own fault."""


def place(directory: int, files: Iterable[File], *, mode: int = 0o644) -> None:
    """Write new files below an open directory in which no program has run since its reset."""
    for file in files:
        *parents, name = file.name.split("/")
        parent = _make_directories(directory, parents)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=parent)
            with os.fdopen(fd, "wb", buffering=0) as opened:
                view = memoryview(file.content)
                while view:
                    view = view[opened.write(view) :]
                os.fchmod(fd, 0o755 if file.executable else mode)
        finally:
            os.close(parent)


def _make_directories(directory: int, parents: Sequence[str]) -> int:
    current = os.dup(directory)
    try:
        for name in parents:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=current)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = inner
    except OSError:
        os.close(current)
        raise
    return current


def take(directory: int, patterns: Sequence[str], max_bytes: int) -> tuple[File, ...]:
    """Read the files directly in an open directory whose names match, at most `max_bytes` in all.

    Raises UnusableFile if one is not a regular file or has a second name, or if they are too large.
    """
    files = []
    left = max_bytes
    for name in _names(directory, patterns):
        content = read_regular(directory, name, left)
        left -= len(content)
        files.append(File(name, content))
    return tuple(files)


def _names(directory: int, patterns: Sequence[str]) -> list[str]:
    names = []
    with os.scandir(directory) as entries:
        for count, entry in enumerate(entries):
            if count == _MAX_ENTRIES:
                raise UnusableFile(f"more than {_MAX_ENTRIES} files")
            if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                names.append(entry.name)
    return sorted(names)


def read_regular(directory: int, name: str, max_bytes: int) -> bytes:
    """Read a file that a program may have made; raises UnusableFile.

    Links are not followed, pipes and devices are not waited for, files with a second name are not read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG}:
            raise UnusableFile(f"{name!r} is missing or not a regular file") from error
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise UnusableFile(f"{name!r} is missing or not a regular file")
        if status.st_size > max_bytes:
            raise UnusableFile(f"{name!r} has {status.st_size} bytes, at most {max_bytes} are allowed")

        with open(fd, "rb", closefd=False) as opened:
            return opened.read(max_bytes)
    finally:
        os.close(fd)
