"""Runs near the time limit in a real sandbox, and what a result says of its times."""

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio

LIMIT_S = 0.4
BUSY = f"import os, time\nwhile time.process_time() < {LIMIT_S + 0.005}: pass\nos._exit(0)"


async def test_run_that_took_little_longer_than_its_limit_is_made_again(judge: Judge) -> None:
    """Once, and a program that is as slow again is too slow; the quicker run counts."""
    result = await judge("python", BUSY, cpu_time_limit=LIMIT_S)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    assert result.runs is not None
    assert result.time is not None
    (other_s,) = result.runs.near_limit
    assert 1 == result.runs.count
    assert LIMIT_S < result.time == result.runs.time.max <= other_s


async def test_run_that_was_killed_is_not_made_again(judge: Judge) -> None:
    """Nobody knows how long it would have taken."""
    result = await judge("bash", "while :; do :; done", cpu_time_limit=0.3, cpu_extra_time=0)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    assert result.runs is None


async def test_result_says_what_the_host_knows_of_disturbances(judge: Judge) -> None:
    """Linux tells of stolen time everywhere, for a run that is long enough."""
    result = await judge("bash", "sleep 0.2")

    assert result.noise is not None
    assert result.noise.steal is not None
    for part in (result.noise.cpu_pressure, result.noise.throttled, result.noise.steal):
        assert part is None or 0 <= part <= 1


async def test_nothing_is_said_where_nothing_ran(judge: Judge) -> None:
    """A compilation has no times in the result."""
    result = await judge("copied", "")

    assert Status.COMPILATION_ERROR == result.status
    assert result.noise is None
