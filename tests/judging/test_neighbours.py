"""A program and the programs in other boxes: each box has its share of the host."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from judging.conftest import Judge, judge_on
from support.boxes import boxes
from verdictd.concurrency import background
from verdictd.contract.result import Result, Status
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.sandbox.pool import BoxState
from verdictd.settings import SandboxSettings, Settings

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


async def run(judging: Awaitable[Result]) -> None:
    await judging


async def test_many_busy_processes_do_not_starve_another_box(judge: Judge, host: Judgehost) -> None:
    """Boxes share the processors, not their processes or sessions."""
    if not host.sandbox.control_groups and AUTOGROUP.read_text() != "1\n":
        pytest.skip("this kernel does not share processors between sessions")
    # Only root may change the weight of a session that belongs to the user of a box.
    own_session = "setsid" if host.sandbox.control_groups or os.geteuid() == 0 else ""
    greedy = f"for i in $(seq 40); do {own_session} bash -c 'while :; do :; done' & done; echo; wait"
    async with background(run(judge("bash", greedy, cpu_time_limit=60, wall_time_limit=60))):
        await asyncio.sleep(0.5)
        innocent = "import time\nwhile time.process_time() < 0.3: pass"
        result = await judge("python", innocent, wall_time_limit=60)

    assert Status.ACCEPTED == result.status
    assert result.wall_time is not None
    assert result.wall_time < 4  # 40 times as long if processes had equal shares, by the number of processors


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The embedded sandbox has its boxes on a file system of 100 MiB."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root can mount a small disk")
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=100m,mode=700", "none", tmp_path], check=True)
    monkeypatch.setenv("VERDICTD_BOX_ROOT", str(tmp_path))
    try:
        yield tmp_path
    finally:
        subprocess.run([umount, "--lazy", tmp_path], check=True)


async def test_program_that_fills_the_disk_is_a_fault_of_its_own_run_alone(small_disk: Path) -> None:
    """Its neighbour is run again when there is room, and no box is retired."""
    fills = "for i in $(seq 12); do head -c 10M /dev/zero > $i; done; sleep 20"
    writes = "sleep 0.5; head -c 1M /dev/zero > file || exit 9; sleep 0.5; stat -c %s file"
    with boxes(2) as numbers:
        sandbox = SandboxSettings(isolate="embedded", boxes=2, first_box=numbers.start)
        settings = Settings(sandbox=sandbox)
        async with open_judgehost(settings) as host:
            judge = judge_on(host, settings)
            neighbour = asyncio.ensure_future(judge("bash", writes))
            with pytest.raises(SandboxBroken, match=f"disk of {small_disk}.* is full") as fault:
                await judge("bash", fills, wall_time_limit=60)
            result = await neighbour
            states = set(host.pool.states.values())

    assert (FaultKind.FILES, True) == (fault.value.kind, fault.value.box_works)
    assert (Status.ACCEPTED, "1048576\n") == (result.status, result.stdout)
    assert BoxState.RETIRED not in states
