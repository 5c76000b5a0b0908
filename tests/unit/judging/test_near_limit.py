"""A run near its time limit is made again: the quickest counts, and no program that is too slow is hidden."""

import asyncio
from typing import Any

import pytest

from verdictd.judging.checkers.judgement import Run
from verdictd.judging.near_limit import Timed, best_run
from verdictd.sandbox.model import Captured, Ending, Report

pytestmark = pytest.mark.anyio

FOREVER = 1e9


def report(ending: Ending, cpu_time_s: float, *, killed: bool = False) -> Report:
    return Report(ending, 0, None, cpu_time_s, cpu_time_s, 0, Captured(), Captured(), killed=killed)


def slow(cpu_time_s: float) -> Report:
    return report(Ending.CPU_TIME, cpu_time_s)


FINE = report(Ending.EXITED, 1.95)
CRASHED = report(Ending.SIGNALLED, 1)
KILLED = report(Ending.CPU_TIME, 2.1, killed=True)
ASLEEP = report(Ending.WALL_TIME, 2.05, killed=True)


async def best(*reports: Report, **options: Any) -> tuple[Timed, int]:
    """The outcome over runs that end like this, and how many of them were made."""
    left = list(reports)

    async def run() -> Run:
        return Run(left.pop(0))

    timed = await best_run(run, **({"limit_s": 2, "retries": 1, "begin_before_s": FOREVER} | options))
    return timed, len(reports) - len(left)


@pytest.mark.parametrize(
    ("reports", "expected", "others_s"),
    [
        ([FINE], FINE, ()),
        ([slow(2.1), FINE], FINE, (2.1,)),
        ([slow(2.2), FINE], FINE, (2.2,)),
        ([slow(2.21)], slow(2.21), ()),
        ([KILLED], KILLED, ()),
        ([ASLEEP], ASLEEP, ()),
        ([slow(2.1), slow(2.05)], slow(2.05), (2.1,)),
        ([slow(2.1), slow(2.15)], slow(2.1), (2.15,)),
        ([slow(2.1), slow(4)], slow(2.1), (4,)),
        ([slow(2.1), ASLEEP], slow(2.1), (2.05,)),
        ([slow(2.1), CRASHED], CRASHED, (2.1,)),
    ],
)
async def test_best_run_counts(reports: list[Report], expected: Report, others_s: tuple[float, ...]) -> None:
    """One within the limits whatever became of it, else the quickest; a killed one says nothing."""
    timed, made = await best(*reports)

    assert Timed(Run(expected), others_s) == timed
    assert len(reports) == made


@pytest.mark.parametrize(("retries", "made"), [(0, 1), (1, 2), (3, 4)])
async def test_runs_are_made_again_as_often_as_the_operator_allows(retries: int, made: int) -> None:
    """While the best one is near the limit."""
    assert made == (await best(*[slow(2.1)] * 5, retries=retries))[1]


async def test_no_run_is_begun_that_could_take_longer_than_a_submission_may() -> None:
    """It would be a fault of ours."""
    now_s = asyncio.get_running_loop().time()

    assert 1 == (await best(slow(2.1), FINE, begin_before_s=now_s))[1]
