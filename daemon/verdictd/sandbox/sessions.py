"""Sessions of a run: without control groups, the kernel shares processors between sessions (autogroup).

Each run is one. A program that makes more of them would have as many shares; so all of its sessions together
are given the weight of one. Only root may do that for the user of a box.
"""

import contextlib
import math
import os
from collections.abc import Iterable

from verdictd.sandbox.procfs import Process

_STEP = 1.25  # between the weights of two nice values
_LEAST_WEIGHT = 19


class Sessions:
    """The sessions of one run. State: whether their weight was changed."""

    def __init__(self) -> None:
        self._changed = False

    def share(self, processes: Iterable[Process]) -> None:
        """Let the sessions of these processes share one share; a program may have undone that meanwhile."""
        members = {process.last.session: process.pid for process in processes}
        nice = min(round(math.log(max(len(members), 1), _STEP)), _LEAST_WEIGHT)
        if nice or self._changed:
            self._changed = nice > 0
            for pid in members.values():
                _set_nice(pid, nice)


def _set_nice(pid: int, nice: int) -> None:
    """Set the nice value of a session, by any process in it; it may be gone."""
    with contextlib.suppress(OSError):
        autogroup = os.open(f"/proc/{pid}/autogroup", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(autogroup, b"%d" % nice)
        finally:
            os.close(autogroup)
