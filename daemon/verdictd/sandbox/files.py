"""Files in a box, by descriptor: a file that a program may have made is never opened by its path."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from verdictd.files import File, leads_to, matches
from verdictd.sandbox.walk import DIRECTORY

_MAX_ENTRIES = 10_000
_MAX_DEPTH = 32


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
            inner = os.open(name, DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
    except OSError:
        os.close(current)
        raise
    return current


def take(directory: int, patterns: Sequence[str], max_bytes: int) -> tuple[File, ...]:
    """Read the files below an open directory whose names match, at most `max_bytes` in all.

    Raises UnusableFile if one is not a regular file or has a second name, or if they are too large.
    """
    files = []
    left = max_bytes
    for name in _names(directory, patterns):
        *parents, last = name.split("/")
        with _opened(directory, parents) as parent:
            content = read_regular(parent, last, left)
        left -= len(content)
        files.append(File(name, content))
    return tuple(files)


def _names(directory: int, patterns: Sequence[str]) -> list[str]:
    """Return the matching names, and enter only the directories that patterns lead to."""
    names: list[str] = []
    pending: list[list[str]] = [[]]
    seen = 0
    while pending:
        parents = pending.pop()
        if len(parents) > _MAX_DEPTH:
            raise UnusableFile(f"directories more than {_MAX_DEPTH} deep")
        with _opened(directory, parents) as opened, os.scandir(opened) as entries:
            for entry in entries:
                seen += 1
                if seen > _MAX_ENTRIES:
                    raise UnusableFile(f"more than {_MAX_ENTRIES} files")
                path = [*parents, entry.name]
                name = "/".join(path)
                if entry.is_dir(follow_symlinks=False) and any(leads_to(name, rule) for rule in patterns):
                    pending.append(path)
                elif any(matches(name, rule) for rule in patterns):
                    names.append(name)
    return sorted(names)


@contextlib.contextmanager
def _opened(directory: int, parents: Sequence[str]) -> Iterator[int]:
    """Open a directory below another, following no link; raises UnusableFile."""
    current = os.dup(directory)
    try:
        for name in parents:
            try:
                inner = os.open(name, DIRECTORY, dir_fd=current)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES}:
                    raise UnusableFile(f"{name!r} is not a directory that can be read") from error
                raise
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


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
