"""Pressure on the processors of this host, which tells whose fault a long time is."""

import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cachetools import TTLCache, cached

from verdictd.sandbox.model import Noise
from verdictd.sandbox.procfs import read, read_again

_GROUPS = Path("/sys/fs/cgroup")
_OF_ISOLATE = _GROUPS / "system.slice" / "isolate.service" / "cpu.stat"
"""The group in which isolate makes those of its boxes, where it is a service of systemd."""
_STEAL = 7  # the field of /proc/stat; guests, behind it, count as user too
_STEAL_S = 0.1
"""Shortest run of which stolen time is told. The kernel counts it in hundredths of a second, and takes long
to tell it where there are many processors."""


class NoiseMeter:
    """Measures how much others have disturbed this host since it was made."""

    def __init__(self) -> None:
        self._stolen = _lately_stolen()
        self._throttled = _quotas()
        self._waited_s = _waited_for_cpu_s()
        self._since_s = time.monotonic()

    def noise(self) -> Noise:
        """Return what the host tells."""
        took_s = time.monotonic() - self._since_s
        steal = None
        if took_s >= _STEAL_S:
            before, now = self._stolen, _stolen()
            steal = _part(before.ticks, now.ticks, max(now.of_ticks - before.of_ticks, 1))
        return Noise(
            cpu_pressure=_part(self._waited_s, _waited_for_cpu_s(), max(took_s, 0.001)),
            throttled=_throttled(self._throttled, _quotas()),
            steal=steal,
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


class _Stolen(NamedTuple):
    """Ticks of all processors that the hypervisor gave to others, and of how many in all."""

    ticks: int | None
    of_ticks: int


def _stolen() -> _Stolen:
    ticks = [int(field) for field in read_again("/proc/stat").partition(b"\n")[0].split()[1 : _STEAL + 2]]
    return _Stolen(ticks[_STEAL] if len(ticks) > _STEAL else None, sum(ticks))


_lately_stolen = cached(TTLCache(1, _STEAL_S))(_stolen)
"""The same, a tenth of a second old at most."""


def _quotas() -> Quotas:
    return {file: _quota(file) for file in _with_quota()}


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
