"""Run again what took little longer than its CPU time limit: on another try it may be within it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from verdictd.judging.checkers.judgement import Run
from verdictd.sandbox.model import Ending, Report

_NEAR = 1.1  # of the limit
_TOO_SLOW = {Ending.CPU_TIME, Ending.WALL_TIME}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Timed:
    """The run that counts, and the CPU times of others that were near the limit."""

    run: Run
    others_s: tuple[float, ...] = ()


async def best_run(
    run: Callable[[], Awaitable[Run]], *, limit_s: float, retries: int, begin_before_s: float
) -> Timed:
    """Run, and run again up to `retries` times while the best run is near the limit.

    A run within the time limits counts, whatever its verdict; without one, the quickest does. No run is begun
    after `begin_before_s`, by the clock of the event loop. Raises SandboxBroken.
    """
    best = await run()
    others_s: list[float] = []
    now_s = asyncio.get_running_loop().time
    while len(others_s) < retries and _is_near(best.report, limit_s) and now_s() < begin_before_s:
        log.info("run.near_limit", cpu_time_s=best.report.cpu_time_s, limit_s=limit_s)
        again = await run()
        if _is_better(again.report, best.report):
            best, again = again, best
        others_s.append(again.report.cpu_time_s)
    return Timed(best, tuple(others_s))


def _is_near(report: Report, limit_s: float) -> bool:
    """Return False for a program that was killed: nobody knows how long it would have taken."""
    return (
        report.ending is Ending.CPU_TIME
        and not report.killed
        and limit_s < report.cpu_time_s <= _NEAR * limit_s
    )


def _is_better(report: Report, other: Report) -> bool:
    if report.ending not in _TOO_SLOW:
        return True
    return report.ending is other.ending and report.cpu_time_s < other.cpu_time_s
