"""Keep what compilers made: a bounded directory that all daemons of a host share.

Each entry is one file, named by its key, written under another name first and then renamed. It begins with a
digest of its key and its content: one that a crash left half written, or that is not ours, is not used.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from verdictd import metrics
from verdictd.errors import file_error
from verdictd.sandbox.files import UnusableFile, open_regular, read
from verdictd.sandbox.walk import DIRECTORY

T = TypeVar("T")

_MAGIC = b"verdictd artifact 1\n"
_HEAD_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_BLOCK_BYTES = 4_096
_SLACK = 16  # part of the bound that is written before the directory is listed again
_ENTRY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}")
_ABANDONED_S = 3_600
_WRITABLE_BY_OTHERS = 0o022

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CacheState:
    """Number of entries and the space that they take; `problem` says why the directory cannot be used."""

    entries: int = 0
    size_bytes: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    used_ns: int
    size_bytes: int
    name: str


def default_directory() -> Path:
    """Return the directory that systemd made for the service (CacheDirectory=), or else one of the user."""
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/cache/verdictd")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "verdictd")


class ArtifactCache:
    """Directory of entries, of which the least recently used one leaves first.

    A directory that cannot be read or written only means that nothing is found in it. `refusal`: the reason
    why it must not be used. State: how much may be written before the directory is listed again, and whether
    the last attempt to write failed.
    """

    def __init__(self, directory: Path, *, max_bytes: int, refusal: str = "") -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._refusal = refusal
        self._slack_bytes = max_bytes // _SLACK
        self._left_bytes = 0
        self._making_room = threading.Lock()
        self._failing = False

    async def get(self, key: str) -> bytes | None:
        """Return the content of an entry, which is the most recently used one then; None if there is none."""
        return await self._attempt(partial(self._read, key))

    async def put(self, key: str, content: bytes) -> None:
        """Write an entry, unless it is too large."""
        if await self._attempt(partial(self._write, key, content)) and self._failing:
            self._failing = False
            log.info("artifact_cache.usable", directory=str(self.directory))

    async def open(self) -> CacheState:
        """Try to write, count what is there, and log it."""
        try:
            state = await asyncio.to_thread(self._state)
        except OSError as error:
            self._failed(error)
            return CacheState(problem=file_error(error))
        log.info(
            "artifact_cache.opened",
            directory=str(self.directory),
            entries=state.entries,
            size_bytes=state.size_bytes,
        )
        return state

    async def _attempt(self, work: Callable[[], T]) -> T | None:
        """Use the directory in a thread; log the first failure, and count each."""
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            self._failed(error)
            return None

    def _failed(self, error: OSError) -> None:
        metrics.ARTIFACT_CACHE_ERRORS.inc()
        if not self._failing:
            effect = "programs are compiled each time"
            log.warning("artifact_cache.unusable", error=file_error(error), effect=effect)
        self._failing = True

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the directory, and make it where it is missing; refuse one that others can write to."""
        if self._refusal:
            raise PermissionError(errno.EPERM, self._refusal, str(self.directory))
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(self.directory, DIRECTORY)
        try:
            status = os.fstat(directory)
            if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
                reason = f"must belong to user {os.geteuid()}, and nobody else may write to it"
                raise PermissionError(errno.EPERM, reason, str(self.directory))
            yield directory
        finally:
            os.close(directory)

    def _read(self, key: str) -> bytes | None:
        with self._opened() as directory:
            try:
                owner = os.stat(key, dir_fd=directory, follow_symlinks=False).st_uid
            except FileNotFoundError:
                return None
            try:
                with open_regular(directory, key) as file:
                    found = read(file, _HEAD_BYTES + self.max_bytes)
            except UnusableFile:
                found = b""
            content = found[_HEAD_BYTES:]
            if owner == os.geteuid() and found.startswith(_head(key, content)):
                with suppress(OSError):  # on a read-only file system
                    os.utime(key, dir_fd=directory, follow_symlinks=False)
                return content
            log.warning("artifact_cache.damaged", entry=key)
            _unlink(directory, key)
            return None

    def _write(self, key: str, content: bytes) -> bool:
        size_bytes = _on_disk(_HEAD_BYTES + len(content))
        if size_bytes > self.max_bytes - self._slack_bytes:
            return False
        with self._opened() as directory:
            self._make_room(directory, size_bytes)
            name = f".{key}.{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
                    file.write(_head(key, content))
                    file.write(content)
                os.rename(name, key, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                _unlink(directory, name)
                raise
        metrics.ARTIFACT_CACHE_BYTES.inc(size_bytes)
        return True

    def _make_room(self, directory: int, size_bytes: int) -> None:
        """Remove the least recently used entries until there is room for another one.

        Another daemon may write as well, up to the slack, before this one looks again.
        """
        with self._making_room:
            self._left_bytes -= size_bytes
            if self._left_bytes >= 0:
                return
            entries = _entries(directory)
            total_bytes = sum(entry.size_bytes for entry in entries)
            goal_bytes = self.max_bytes - self._slack_bytes - size_bytes
            for entry in sorted(entries, key=lambda entry: entry.used_ns):
                if total_bytes <= goal_bytes:
                    break
                _unlink(directory, entry.name)
                total_bytes -= entry.size_bytes
            self._left_bytes = self._slack_bytes
            metrics.ARTIFACT_CACHE_BYTES.set(total_bytes)

    def _state(self) -> CacheState:
        with self._opened() as directory:
            name = f".{'0' * 64}.{secrets.token_hex(8)}"
            os.close(
                os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
            )
            _unlink(directory, name)
            entries = _entries(directory)
        size_bytes = sum(entry.size_bytes for entry in entries)
        metrics.ARTIFACT_CACHE_BYTES.set(size_bytes)
        return CacheState(len(entries), size_bytes)


def _head(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return _MAGIC + digest.digest()


def _entries(directory: int) -> list[_Entry]:
    """List the entries, and remove what a daemon has left that was killed while it wrote."""
    entries = []
    with os.scandir(directory) as found:
        for file in found:
            if not (_ENTRY.fullmatch(file.name) or _UNFINISHED.fullmatch(file.name)):
                continue
            try:
                status = file.stat(follow_symlinks=False)
            except FileNotFoundError:  # through another daemon
                continue
            if file.name.startswith(".") and time.time() - status.st_mtime > _ABANDONED_S:
                _unlink(directory, file.name)
            else:
                entries.append(_Entry(status.st_mtime_ns, _on_disk(status.st_size), file.name))
    return entries


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _unlink(directory: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=directory)
