"""Pressure on the processors of this host, which tells whose fault a long time is."""

import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verdictd.sandbox.model import Noise
from verdictd.sandbox.procfs import read, read_again

_GROUPS = Path("/sys/fs/cgroup")
_OF_ISOLATE = _GROUPS / "system.slice" / "isolate.service" / "cpu.stat"
"""The group in which isolate makes those of its boxes, where it is a service of systemd."""
_STEAL = 7  # the field of /proc/stat; guests, behind it, count as user too


class NoiseMeter:
    """Measures how much others have disturbed this host since it was made."""

    def __init__(self) -> None:
        self._before = _Sample.take()

    def noise(self) -> Noise:
        """Return what the host tells."""
        before, now = self._before, _Sample.take()
        return Noise(
            cpu_pressure=_part(before.waited_s, now.waited_s, max(now.at_s - before.at_s, 0.001)),
            throttled=_throttled(before.throttled, now.throttled),
            steal=_part(before.stolen_ticks, now.stolen_ticks, max(now.ticks - before.ticks, 1)),
        )


def pressure(noise: Noise) -> float:
    """Return the part of a run in which some process of this host waited for a processor, from 0 to 1.

    Where the host does not tell, that which the load of the last minute makes likely.
    """
    if noise.cpu_pressure is not None:
        return noise.cpu_pressure
    return min(1.0, max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1))


Quotas = dict[Path, tuple[int, int]]
"""Periods of the quota of each group, and how many of them it was throttled in."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    waited_s: float | None
    throttled: Quotas
    stolen_ticks: int | None
    ticks: int

    @classmethod
    def take(cls) -> "_Sample":
        ticks = [int(field) for field in read_again("/proc/stat").partition(b"\n")[0].split()[1 : _STEAL + 2]]
        return cls(
            at_s=time.monotonic(),
            waited_s=_waited_for_cpu_s(),
            throttled={file: _quota(file) for file in _with_quota()},
            stolen_ticks=ticks[_STEAL] if len(ticks) > _STEAL else None,
            ticks=sum(ticks),
        )


def _part(before: float | None, now: float | None, whole: float) -> float | None:
    if before is None or now is None:
        return None
    return min(1.0, max(0.0, (now - before) / whole))


def _throttled(before: Quotas, now: Quotas) -> float | None:
    """Return the part of the group that was throttled most."""
    parts = [
        (now[file][1] - throttled) / max(now[file][0] - periods, 1)
        for file, (periods, throttled) in before.items()
    ]
    return min(1.0, max(0.0, *parts, 0.0)) if parts else None


def _waited_for_cpu_s() -> float | None:
    some = read_again("/proc/pressure/cpu").partition(b"\n")[0]
    total_us = some.rpartition(b"total=")[2]
    return int(total_us) / 1e6 if total_us else None


def _quota(file: Path) -> tuple[int, int]:
    fields = dict(line.split()[:2] for line in read_again(str(file)).splitlines() if b" " in line)
    return int(fields.get(b"nr_periods", 0)), int(fields.get(b"nr_throttled", 0))


@functools.cache
def _with_quota() -> tuple[Path, ...]:
    """Return the files of the groups that can be throttled: of this process, and those above it."""
    files = [_OF_ISOLATE]
    for line in read("/proc/self/cgroup").decode(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        for top in _tops(controllers):
            below = PurePosixPath(path.lstrip("/"))
            files += [top / folder / "cpu.stat" for folder in (below, *below.parents)]
    return tuple(file for file in dict.fromkeys(files) if b"nr_throttled" in read(str(file)))


def _tops(controllers: str) -> Iterator[Path]:
    """Yield where the groups of a hierarchy may be: of version 2, or of the processors in version 1."""
    if not controllers:
        yield _GROUPS
    elif "cpu" in controllers.split(","):
        yield _GROUPS / controllers
