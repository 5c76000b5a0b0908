"""Walk through the files of a box: their number, and the space that they take."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from verdictd.sandbox.model import Ending

BLOCK_BYTES = 512  # of st_blocks, whatever the file system
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARED = ("/dev:shm", "/dev%2Fshm")
"""Names that the two sandboxes give, below tmp, to what is /dev/shm inside."""


class DiskUsage(NamedTuple):
    """Space and number of files. `shared_kib`: the part of the space that lies in /dev/shm."""

    kib: int = 0
    files: int = 0
    shared_kib: int = 0

    def exceeded_by(self, used: "DiskUsage") -> Ending | None:
        """Return the limit that is exceeded: files in /dev/shm are shared memory."""
        if used.shared_kib > self.shared_kib:
            return Ending.OUT_OF_MEMORY
        return Ending.DISK if used.kib > self.kib or used.files > self.files else None


def measure(root: Path, bound: DiskUsage | None) -> "Walk":
    """Walk through a box, until the bound is exceeded."""
    walk = Walk(bound)
    for place in places(root):
        try:
            walk.measure(os.open(place, DIRECTORY), shared=place.endswith(_SHARED))
        except PermissionError:
            walk.hidden = True
        except OSError:
            continue
    return walk


def places(root: Path) -> list[str]:
    """Return the paths of the directories in which a program can write; their parents belong to the sandbox.

    They are no objects, as this is done three times for each run.
    """
    temporary = f"{root}/tmp"  # noqa: S108 - a path in the box
    try:
        names = os.listdir(temporary)  # noqa: PTH208
    except FileNotFoundError:
        names = []
    return [f"{root}/box", *(f"{temporary}/{name}" for name in names)]


class Walk:
    """A walk through trees of any depth, by descriptor; links are not followed.

    State: what it found so far; `hidden`, if there are places that this daemon must not read.

    The program may move its directories meanwhile, and make them unreadable for a daemon that is not root:
    these are hidden. After the run nothing moves any more.
    """

    def __init__(self, bound: DiskUsage | None) -> None:
        self._bound = bound
        self.used = DiskUsage()
        self.hidden = False

    @property
    def _enough(self) -> bool:
        return self._bound is not None and self._bound.exceeded_by(self.used) is not None

    def measure(self, here: int, *, shared: bool) -> None:
        """Add everything below an open directory, which is closed. `shared`: it is /dev/shm of the box."""
        trail: list[tuple[os.stat_result, list[str]]] = []
        try:
            folders = self._add(here, shared=shared)
            while (folders or trail) and not self._enough:
                if folders:
                    name, above = folders.pop(), os.fstat(here)
                    try:
                        here = _move(here, name)
                    except PermissionError:
                        self.hidden = True
                        continue
                    except OSError:
                        continue
                    trail.append((above, folders))
                    folders = self._add(here, shared=shared)
                else:
                    above, folders = trail.pop()
                    here = _move(here, "..")
                    if not os.path.samestat(os.fstat(here), above):
                        return
        finally:
            os.close(here)

    def _add(self, here: int, *, shared: bool) -> list[str]:
        """Add the entries of a directory; return the names of the directories among them."""
        folders: list[str] = []
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if self._enough:
                        break
                    with contextlib.suppress(FileNotFoundError):
                        kib = entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES // 1024
                        used = self.used
                        shared_kib = used.shared_kib + (kib if shared else 0)
                        self.used = DiskUsage(used.kib + kib, used.files + 1, shared_kib)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
        except PermissionError:
            self.hidden = True
        except OSError:
            return folders
        return folders


def _move(here: int, name: str) -> int:
    there = os.open(name, DIRECTORY, dir_fd=here)
    os.close(here)
    return there
