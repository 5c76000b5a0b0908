"""Kernel keys: isolate lets programs make some, and the kernel keeps those of a user until the host restarts.

The description of a key is seen in /proc/keys by all processes of its user, so by every later program in a
box. A key in the session keyring is seen by all processes that have inherited that keyring, so in every box.
The embedded sandbox refuses all system calls for keys.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.embedded import kernel
from verdictd.sandbox.processes import execute
from verdictd.sandbox.procfs import read

_USERS = "/proc/key-users"
_LIMIT = Path("/proc/sys/kernel/keys/maxkeys")
_OWN_KEYRINGS = 2
"""Keyrings that the kernel makes for each user of keys, and keeps."""

_JOIN_SESSION, _SET_PERMISSIONS = 1, 5
_SESSION = -3
_CLEAR_LIMIT_S = 10.0
_PASSES = 200
_PAUSE_S = 0.01

# As the user of the box, to which the keyrings belong; in a process of its own, which ends at once.
_CLEAR = """
import os, sys
sys.path.append(sys.argv[1])
from verdictd.sandbox.embedded import kernel
uid, gid = int(sys.argv[2]), int(sys.argv[3])
os.setgroups([])
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
for keyring in (-4, -5):
    kernel.keyctl(7, keyring)
"""


def close_session() -> None:
    """Start a session keyring that processes started from this thread can neither read nor write.

    The one that the service manager or a login has made would carry keys between all boxes.
    """
    with contextlib.suppress(OSError):  # where there are no keys, nothing can be carried
        kernel.keyctl(_JOIN_SESSION, 0)
        kernel.keyctl(_SET_PERMISSIONS, _SESSION, 0)


def can_be_left() -> bool:
    """Return whether programs in boxes of isolate can leave keys that this process cannot clear."""
    try:
        return os.geteuid() != 0 and int(_LIMIT.read_text()) >= _OWN_KEYRINGS
    except (OSError, ValueError):
        return False


def held(uid: int) -> int:
    """Return the number of keys of a user, beside the keyrings that the kernel makes."""
    for line in read(_USERS).splitlines():
        user, _, figures = line.partition(b":")
        if int(user) == uid:
            return max(0, int(figures.split()[1].partition(b"/")[0]) - _OWN_KEYRINGS)
    return 0


async def clear(uid: int, gid: int) -> None:
    """Remove the keys of a box's user; does nothing if there are none, or without the rights to do so.

    No program is running in the box. Raises SandboxBroken if keys are left.
    """
    if not held(uid) or os.geteuid() != 0:
        return
    package = str(Path(__file__).parents[2])
    argv = [sys.executable, "-I", "-S", "-c", _CLEAR, package, str(uid), str(gid)]
    await execute(argv, stdin=b"", output_bytes=4096, deadline_s=_CLEAR_LIMIT_S)
    for _ in range(_PASSES):  # the kernel removes keys in the background
        if not held(uid):
            return
        await asyncio.sleep(_PAUSE_S)
    raise SandboxBroken(f"{held(uid)} keys of user {uid} cannot be removed", FaultKind.MANAGE)
