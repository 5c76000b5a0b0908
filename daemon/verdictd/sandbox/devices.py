"""Small /dev for the boxes of isolate, which shows all of the host's. The embedded sandbox makes its own."""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

DIRECTORY = Path("/run/verdictd-dev")
"""Made by systemd-tmpfiles, else by a daemon that runs as root; the same for all daemons of a host."""

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_NAMES = {*_DEVICES, *_LINKS, "shm"}


def rules() -> list[str]:
    """Return the directory rule of a small /dev; nothing where there is none and it cannot be made."""
    complete = _is_complete()
    if not complete:
        with contextlib.suppress(OSError):
            _make()
        complete = _is_complete()
    return [f"dev={DIRECTORY}:dev"] if complete else []


def _is_complete() -> bool:
    """Return whether the directory belongs to root and has every device."""
    try:
        status = DIRECTORY.lstat()
        own = status.st_uid == 0 and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
        return own and _NAMES.issubset(os.listdir(DIRECTORY))  # noqa: PTH208 - for each run
    except OSError:
        return False


def _make() -> None:
    """Make the directory at once: another daemon may do the same, and the first of them wins."""
    unfinished = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY.name}-", dir=DIRECTORY.parent))
    try:
        for name, (major, minor) in _DEVICES.items():
            os.mknod(unfinished / name, stat.S_IFCHR, os.makedev(major, minor))
            (unfinished / name).chmod(0o666)
        for name, target in _LINKS.items():
            (unfinished / name).symlink_to(f"/proc/self/{target}")
        (unfinished / "shm").mkdir()
        unfinished.chmod(0o755)
        unfinished.rename(DIRECTORY)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
