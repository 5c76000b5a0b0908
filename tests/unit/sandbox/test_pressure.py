"""What the host tells of others that had the processors."""

import time
from pathlib import Path

import pytest

from verdictd.sandbox import pressure
from verdictd.sandbox.model import Noise
from verdictd.sandbox.pressure import NoiseMeter

QUOTA = Path("/sys/fs/cgroup/a/cpu.stat")
OUTER = Path("/sys/fs/cgroup/cpu.stat")


class Host:
    """Files below /proc and /sys, as the next reading finds them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, str] = {}
        self.now_s = 100.0
        for name in ("read", "read_again"):
            monkeypatch.setattr(pressure, name, lambda path: self.files.get(path, "").encode())
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        pressure._with_quota.cache_clear()  # noqa: SLF001 - found once for each process
        monkeypatch.setattr(pressure, "_lately_stolen", pressure._stolen)  # noqa: SLF001


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def waited(total_us: int) -> str:
    return f"some avg10=1.00 avg60=1.00 avg300=1.00 total={total_us}\nfull avg10=0.00 total=9\n"


def ticks(busy: int, stolen: int) -> str:
    return f"cpu  {busy} 0 0 0 0 0 0 {stolen} 7 7\ncpu0 1 1 1\nintr 5\n"


def quota(periods: int, throttled: int) -> str:
    return f"usage_usec 5\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 9\n"


def test_each_part_is_that_of_the_run(host: Host) -> None:
    """Of the group that was throttled most; of all processors."""
    host.files = {
        "/proc/self/cgroup": "4:memory:/x\n0::/a\n",
        "/proc/pressure/cpu": waited(1_000_000),
        "/proc/stat": ticks(1_000, 50),
        str(QUOTA): quota(10, 1),
        str(OUTER): quota(10, 0),
    }
    meter = NoiseMeter()
    host.now_s += 2
    host.files |= {
        "/proc/pressure/cpu": waited(1_500_000),
        "/proc/stat": ticks(1_300, 150),
        str(QUOTA): quota(30, 6),
        str(OUTER): quota(0, 0),
    }

    assert Noise(cpu_pressure=0.25, throttled=0.25, steal=0.25) == meter.noise()


def test_stolen_time_is_not_told_of_a_short_run(host: Host) -> None:
    """The kernel counts it in hundredths of a second: one of them would be a tenth of this run."""
    host.files = {"/proc/stat": ticks(1_000, 50)}
    meter = NoiseMeter()
    host.now_s += 0.09
    host.files["/proc/stat"] = ticks(1_009, 51)

    assert meter.noise().steal is None
    host.now_s += 0.01
    assert 0.1 == meter.noise().steal


def test_host_that_tells_nothing_is_not_called_quiet(host: Host) -> None:
    """Unknown is not none."""
    assert Noise(None, None, None) == NoiseMeter().noise()
    assert {} == host.files


def test_version_1_of_control_groups_is_read_too(host: Host) -> None:
    """Where the processors have a hierarchy of their own; a group without a quota is not throttled."""
    host.files = {
        "/proc/self/cgroup": "3:cpu,cpuacct:/docker/1\n2:memory:/docker/1\n",
        "/sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
    }

    assert Noise(throttled=0) == NoiseMeter().noise()


def test_parts_of_this_host_are_parts() -> None:
    """Whatever happens on it."""
    pressure._with_quota.cache_clear()  # noqa: SLF001
    noise = NoiseMeter().noise()

    assert all(part is None or 0 <= part <= 1 for part in (noise.cpu_pressure, noise.throttled, noise.steal))
