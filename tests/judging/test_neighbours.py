"""A program and the programs in other boxes: each box has its share of the host."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from judging.conftest import Judge
from verdictd.concurrency import background
from verdictd.contract.result import Result, Status
from verdictd.judging.judgehost import Judgehost

pytestmark = pytest.mark.anyio

AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


async def run(judging: Awaitable[Result]) -> None:
    await judging


async def test_many_busy_processes_do_not_starve_another_box(judge: Judge, host: Judgehost) -> None:
    """Boxes share the processors, not their processes: by control groups, or else by sessions."""
    if not host.sandbox.control_groups and AUTOGROUP.read_text() != "1\n":
        pytest.skip("this kernel does not share processors between sessions")
    # Without control groups, a process that makes a session of its own has a share of its own.
    own_session = "setsid" if host.sandbox.control_groups else ""
    greedy = f"for i in $(seq 40); do {own_session} bash -c 'while :; do :; done' & done; echo; wait"
    async with background(run(judge("bash", greedy, cpu_time_limit=60, wall_time_limit=60))):
        await asyncio.sleep(0.5)
        innocent = "import time\nwhile time.process_time() < 0.3: pass"
        result = await judge("python", innocent, wall_time_limit=60)

    assert Status.ACCEPTED == result.status
    assert result.wall_time is not None
    assert result.wall_time < 4  # 40 times as long if processes had equal shares, by the number of processors
