"""Files in a box, by descriptor: a file that a program may have made is never opened by its path."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from verdictd.files import File, leads_to, matches
from verdictd.sandbox.model import Descriptor
from verdictd.sandbox.walk import DIRECTORY

_MAX_ENTRIES = 10_000
_MAX_DEPTH = 32
_COPIED_AT_ONCE = 16 * 1024 * 1024


class UnusableFile(Exception):
    """The program left something other than regular files within the size limit: its own fault."""


def place(directory: int, files: Iterable[File], *, mode: int = 0o644) -> None:
    """Write new files below an open directory in which no program has run since its reset."""
    for file in files:
        with _created(directory, file.name, 0o755 if file.executable else mode) as created:
            _write(created, file.content)


def place_input(directory: int, name: str, content: bytes | Descriptor) -> None:
    """Write a file that is only to be read, in the same place; one of the same name makes room for it."""
    with _created(directory, name, 0o444, replace=True) as created:
        if isinstance(content, bytes):
            _write(created, content)
        else:
            _copy(content, created)


@contextlib.contextmanager
def _created(directory: int, path: str, mode: int, *, replace: bool = False) -> Iterator[int]:
    *parents, name = path.split("/")
    parent = _make_directories(directory, parents)
    try:
        if replace:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        yield fd
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _copy(source: Descriptor, target: int) -> None:
    offset = 0
    while count := os.sendfile(target, source, offset, _COPIED_AT_ONCE):
        offset += count


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
    for name in matching(directory, patterns):
        with open_regular(directory, name) as fd:
            size_bytes = os.fstat(fd).st_size
            if size_bytes > left:
                raise UnusableFile(f"{name!r} has {size_bytes} bytes, at most {left} are allowed")
            content = read(fd, left)
        left -= len(content)
        files.append(File(name, content))
    return tuple(files)


def matching(directory: int, patterns: Sequence[str]) -> list[str]:
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


@contextlib.contextmanager
def open_regular(directory: int, path: str) -> Iterator[int]:
    """Open a file that a program may have made; raises UnusableFile.

    Links are not followed, pipes and devices are not waited for, files with a second name are not opened.
    """
    *parents, name = path.split("/")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with _opened(directory, parents) as parent:
        try:
            fd = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG}:
                raise UnusableFile(f"{name!r} is missing or not a regular file") from error
            raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise UnusableFile(f"{name!r} is missing or not a regular file")
        yield fd
    finally:
        os.close(fd)


def read(fd: int, max_bytes: int) -> bytes:
    """Read the first bytes of an open file."""
    with open(fd, "rb", closefd=False) as opened:
        return opened.read(max_bytes)
