"""Openings and closings of files in directories, in the order in which the kernel notes them (inotify)."""

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Self

_OVERFLOW, _IS_DIRECTORY = 0x4000, 0x40000000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 65_536
_libc = ctypes.CDLL(None, use_errno=True)


class Noted(IntFlag):
    """Kinds of events."""

    OPENED = 0x20
    CLOSED = 0x08 | 0x10


class EventsLost(Exception):
    """There were more events than the kernel keeps."""


@dataclass(frozen=True, slots=True)
class FileEvent:
    """A file in this directory was opened, or closed, by this name."""

    directory: Path
    name: str


class FileEvents:
    """Watches directories for one kind of events each. State: what is watched, by the kernel's number.

    What is opened by a name in another directory is not seen, even if it is the same file.
    """

    def __init__(self) -> None:
        self.fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._watched: dict[int, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def watch(self, directory: Path, kind: Noted) -> None:
        """Watch a directory for this kind of events, from now on."""
        self._watched[_checked(_libc.inotify_add_watch(self.fd, os.fsencode(directory), kind))] = directory

    def unwatch(self, directory: Path) -> None:
        """Do not watch a directory any more."""
        for watch in [number for number, path in self._watched.items() if path == directory]:
            _checked(_libc.inotify_rm_watch(self.fd, watch))
            del self._watched[watch]

    def read(self) -> Iterator[FileEvent]:
        """Yield the events since the last call; raises EventsLost. Equal ones in a row may be one."""
        while True:
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                if mask & _OVERFLOW:
                    raise EventsLost
                if watch in self._watched and not mask & _IS_DIRECTORY:
                    name = os.fsdecode(data[offset - length : offset].rstrip(b"\0"))
                    yield FileEvent(self._watched[watch], name)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"inotify (see fs.inotify in sysctl): {os.strerror(number)}")
    return result
