"""Processors of this host: pressure on them, which tells whose fault a long wall time is, and shares."""

import os
import time
from pathlib import Path

from verdictd.sandbox.model import Sandbox
from verdictd.sandbox.procfs import read

_ISOLATE_GROUP = Path("/run/isolate/cgroup")
"""Where isolate names the control group above those of its boxes."""


class CpuPressure:
    """Part of the time, since it was made, in which some process of this host waited for a processor."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._waited_before_s = _waited_for_cpu_s()

    @property
    def share(self) -> float:
        """From 0 to 1. Where the kernel does not tell, the load of the last minute decides."""
        waited_s, before_s = _waited_for_cpu_s(), self._waited_before_s
        if waited_s is None or before_s is None:
            return min(1.0, max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1))
        return min(1.0, (waited_s - before_s) / max(time.monotonic() - self._began_s, 0.001))


def _waited_for_cpu_s() -> float | None:
    some = read("/proc/pressure/cpu").partition(b"\n")[0]
    total_us = some.rpartition(b"total=")[2]
    return int(total_us) / 1e6 if total_us else None


def boxes_have_equal_shares(sandbox: Sandbox) -> bool:
    """Return False if all programs in control groups of isolate are one group for the scheduler.

    Then one with many processes delays those in other boxes. Isolate does not enable the controller itself.
    """
    if sandbox.name == "embedded" or not sandbox.control_groups:
        return True
    try:
        group = Path(_ISOLATE_GROUP.read_text().strip())
        return "cpu" in (group / "cgroup.subtree_control").read_text().split()
    except OSError:
        return True  # the group is named elsewhere, in isolate's configuration
