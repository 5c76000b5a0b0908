"""Test data of the operator: a directory, whose files are copied into the cache."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO
from pathlib import Path

from verdictd import metrics
from verdictd.errors import DataUnavailable, file_error
from verdictd.judging.data_cache import DataCache, WrongData, digest_of
from verdictd.sandbox.model import Descriptor
from verdictd.sandbox.walk import DIRECTORY

_CHUNK_BYTES = 256 * 1024
_KNOWN_FILES = 100_000
_NOT_A_FILE = {ENOENT, ELOOP, ENOTDIR, ENXIO, ENAMETOOLONG}


class ProvidedFiles:
    """Files below a directory of the operator, copied into the cache.

    So an error of a network file system, or a change in mid run, is never a verdict, and programs get a file
    that only the daemon can change. State: the digests of files, by what differs if their bytes do.
    """

    def __init__(self, directory: Path, cache: DataCache) -> None:
        self._directory = directory
        self._cache = cache
        self._digests: dict[tuple[int, ...], str] = {}

    def open(self, name: str) -> Descriptor:
        """Open the copy of a file; blocks. Raises WrongData, DataUnavailable, and OSError of the cache."""
        source = _open_provided(self._directory, name)
        try:
            digest = self._digest(source, name)
            found = self._cache.open(digest)
            metrics.TEST_DATA.labels(
                metrics.DataLookup.FETCHED if found is None else metrics.DataLookup.HIT
            ).inc()
            if found is None:
                self._copy(source, name, digest)
                found = self._cache.open(digest)
        finally:
            os.close(source)
        if found is None:
            raise DataUnavailable(f"{name!r} did not stay in the cache (data.cache_kib)")
        return found

    def _digest(self, source: int, name: str) -> str:
        status = os.fstat(source)
        self._cache.check_size(status.st_size)
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if identity not in self._digests:
            if len(self._digests) >= _KNOWN_FILES:
                self._digests.clear()
            with _reading(name):
                self._digests[identity] = digest_of(source)
        return self._digests[identity]

    def _copy(self, source: int, name: str, digest: str) -> None:
        with self._cache.incoming() as incoming:
            while chunk := self._read(source, name):
                incoming.write(chunk)
            if incoming.digest != digest:
                raise DataUnavailable(f"{name!r} in data.directory changed while it was read")
            incoming.keep()

    @staticmethod
    def _read(source: int, name: str) -> bytes:
        with _reading(name):
            return os.read(source, _CHUNK_BYTES)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataUnavailable(f"{name!r} in data.directory cannot be read: {error.strerror}") from error


def _open_provided(directory: Path, name: str) -> int:
    """Open a regular file below the directory, following no link below it.

    Raises WrongData if there is none, DataUnavailable if it cannot be read now.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DataUnavailable(f"data.directory: {file_error(error)}") from error
    try:
        *parents, last = name.split("/")
        for parent in parents:
            above, here = here, os.open(parent, DIRECTORY, dir_fd=here)
            os.close(above)
        fd = os.open(last, flags, dir_fd=here)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise WrongData("there is no such file in the directory of test data of this judge") from error
        raise DataUnavailable(f"{name!r} in data.directory cannot be read: {error.strerror}") from error
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise WrongData("is not a regular file")
    return fd
