"""Cache of test data on disk: files named by their SHA-256, shared by the daemons of a host.

Nothing is trusted for being there. A file is complete, as it is renamed to its digest when it is whole. Its
bytes are hashed when a daemon uses it for the first time, and whenever its size or its time of change differ
from what was seen then; a file with other bytes is removed, and counts as missing.
"""

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from verdictd import metrics
from verdictd.errors import DataUnavailable
from verdictd.sandbox.model import Descriptor
from verdictd.settings import DataSettings

_INCOMING = ".incoming-"
_OWN_NAME = re.compile(rf"[0-9a-f]{{64}}|{re.escape(_INCOMING)}.*")
_READABLE_BY_ALL = 0o444  # programs have another user id, and open their standard input again
_STEP_BYTES = 16 * 1024 * 1024  # of room that is made at once
_KNOWN_FILES = 100_000

log = structlog.get_logger()


class WrongData(Exception):
    """The reference can never be used: the submission is invalid."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """Attributes of a file that differ if its bytes do."""

    inode: int
    size_bytes: int
    changed_at_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


class DataCache:
    """Bounded directory of files; the one that was not used for longest leaves first, unless it is in use.

    A file is in use while a daemon holds a lock on it, and is being written while its writer holds one: both
    locks end with their process. State: the files whose bytes this daemon has seen to be right. Its methods
    block, and may run in several threads.
    """

    def __init__(self, directory: Path, *, max_bytes: int, max_file_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._verified: dict[str, _Identity] = {}

    @classmethod
    def of(cls, settings: DataSettings) -> Self:
        """Make the cache of these settings."""
        return cls(
            settings.cache_directory,
            max_bytes=settings.cache_kib * 1024,
            max_file_bytes=settings.file_kib * 1024,
        )

    def prepare(self) -> int:
        """Make the directory, and remove what dead writers left; return the bytes in it. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.directory.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            reason = "must belong to the user of the daemon, and nobody else may write to it"
            raise PermissionError(f"data.cache_directory {self.directory}: {reason}")
        return self.make_room(0)

    def open(self, digest: str) -> Descriptor | None:
        """Open a file and mark it as in use, until the descriptor is closed; None if it is missing."""
        try:
            fd = os.open(self.directory / digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            with suppress(BlockingIOError):  # it is being removed: this descriptor keeps it
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            status = os.fstat(fd)
            if self._verified.get(digest) != _Identity.of(status) and not self._verify(fd, digest):
                os.close(fd)
                return None
            os.utime(fd, ns=(time.time_ns(), status.st_mtime_ns))
        except BaseException:
            os.close(fd)
            raise
        return Descriptor(fd)

    def _verify(self, fd: int, digest: str) -> bool:
        identity = _Identity.of(os.fstat(fd))
        with suppress(OSError):  # the disk cannot read it any more
            if digest_of(fd) == digest:
                self._know(digest, identity)
                return True
        log.error("data.corrupt", file=str(self.directory / digest), effect="it is removed and fetched again")
        metrics.TEST_DATA.labels(metrics.DataLookup.CORRUPT).inc()
        (self.directory / digest).unlink(missing_ok=True)
        return False

    def _know(self, digest: str, identity: _Identity) -> None:
        if len(self._verified) >= _KNOWN_FILES:
            self._verified.clear()
        self._verified[digest] = identity

    def check_size(self, size_bytes: int) -> None:
        """Raise WrongData if a file is larger than the operator allows."""
        if size_bytes > self._max_file_bytes:
            raise WrongData(f"has more than {self._max_file_bytes // 1024} KiB (data.file_kib)")

    @contextmanager
    def incoming(self) -> Iterator["Incoming"]:
        """Write a new file; it is removed unless it is kept in the block."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, path = _temporary(self.directory)
        file = Incoming(self, fd, Path(path), step_bytes=min(_STEP_BYTES, self._max_bytes // 64))
        try:
            yield file
        finally:
            os.close(fd)
            Path(path).unlink(missing_ok=True)

    def keep(self, fd: int, path: Path, digest: str) -> None:
        """Give a whole file its name; another daemon may have done the same."""
        os.fchmod(fd, _READABLE_BY_ALL)
        path.rename(self.directory / digest)
        self._know(digest, _Identity.of(os.fstat(fd)))
        self.make_room(0)

    def make_room(self, needed_bytes: int) -> int:
        """Remove files until `needed_bytes` more fit; return the bytes that are left.

        Raises DataUnavailable if all others are in use.
        """
        kept = [(name, status) for name, status in self._entries() if not self._is_abandoned(name)]
        used_bytes = sum(status.st_size for _, status in kept)
        for name, status in sorted(kept, key=lambda entry: entry[1].st_atime_ns):
            if used_bytes + needed_bytes <= self._max_bytes:
                break
            if not name.startswith(_INCOMING) and self._remove(name):
                used_bytes -= status.st_size
        metrics.TEST_DATA_CACHE_BYTES.set(used_bytes)
        if needed_bytes and used_bytes + needed_bytes > self._max_bytes:
            raise DataUnavailable(
                f"the cache of test data has no room: {used_bytes // 1024} KiB are in use (data.cache_kib)"
            )
        return used_bytes

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the files of the cache; what else may lie there is left alone."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if _OWN_NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        yield entry.name, entry.stat(follow_symlinks=False)

    def _is_abandoned(self, name: str) -> bool:
        """Return whether this was a file of a writer that is dead; it is removed then."""
        return name.startswith(_INCOMING) and self._remove(name)

    def _remove(self, name: str) -> bool:
        """Remove a file unless somebody has a lock on it."""
        path = self.directory / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        self._verified.pop(name, None)
        return True


class Incoming:
    """A file on its way into the cache. State: its size and digest so far, and the room made for it."""

    def __init__(self, cache: DataCache, fd: int, path: Path, *, step_bytes: int) -> None:
        self._cache = cache
        self._fd = fd
        self._path = path
        self._step_bytes = step_bytes
        self._size_bytes = 0
        self._room_bytes = 0
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written so far."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises WrongData if there are too many, DataUnavailable if there is no room."""
        self._size_bytes += len(chunk)
        self._cache.check_size(self._size_bytes)
        if self._size_bytes > self._room_bytes:
            step_bytes = max(len(chunk), self._step_bytes)
            self._cache.make_room(step_bytes)
            self._room_bytes = self._size_bytes - len(chunk) + step_bytes
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._fd, view) :]

    def keep(self) -> None:
        """Put the file into the cache, under its digest."""
        self._cache.keep(self._fd, self._path, self.digest)
        metrics.TEST_DATA_BYTES.inc(self._size_bytes)


def _temporary(directory: Path) -> tuple[int, str]:
    """Make a file with a lock on it: one without is taken for a dead writer's."""
    while True:
        fd, path = tempfile.mkstemp(prefix=_INCOMING, dir=directory)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # it was removed before it had its lock


def digest_of(fd: int) -> str:
    """Return the SHA-256 of an open file, read from its beginning through an opening of its own."""
    with open(f"/proc/self/fd/{fd}", "rb", buffering=0) as file:  # noqa: PTH123 - not a path
        return hashlib.file_digest(file, "sha256").hexdigest()
