"""Cost, throughput and latency of a trivial submission, beside the bare sandbox in the same run."""

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.bench import bare
from harness.bench.figures import Figure
from harness.bench.naive import naive
from harness.bench.rig import Rig, Spent, body, rig
from support.boxes import boxes

TRIVIAL = body("perl", "print 42", expected_output="42")
_LATENCIES = 200
_RESET_S = 0.5
"""Resets of the last boxes are part of the cost."""

BARE = "bare init and run, CPU"
OWN, SANDBOX, BROKER = "daemon's own CPU", "sandbox and program, CPU", "broker, CPU"
NAIVE = "of a naive daemon: "


async def cost(isolate: str, *, count: int, box_counts: Sequence[int] = (1, 2, 4, 8)) -> list[Figure]:
    """Measure CPU time and throughput with these numbers of boxes."""
    return [figure for number in box_counts for figure in await _with_boxes(isolate, count, number)]


async def _with_boxes(isolate: str, count: int, number: int) -> list[Figure]:
    with boxes(number) as numbers:
        sandbox = await bare.found(isolate, numbers)
        async with rig(isolate, numbers) as bench:
            spent = await _spent(bench, count, number)
        async with naive(sandbox, numbers) as bench:
            naively = await _spent(bench, count, number)
        beside = await asyncio.to_thread(bare.cycle, sandbox, numbers, count)
    part = f"{number} boxes" if number > 1 else "1 box"
    return [
        *_figures(part, spent, beside, sandbox.control_groups),
        *_cpu(part, naively, NAIVE),
        Figure(part, "daemon's own CPU / that of a naive daemon", spent.own_s / naively.own_s),
        Figure(part, "throughput / that of a naive daemon", naively.at_s / spent.at_s),
    ]


async def _spent(bench: Rig, count: int, number: int) -> Spent:
    """Judge so many submissions in so many boxes; return what each of them cost."""
    await bench.judge_all([TRIVIAL] * 10 * number)  # until everything is imported and made
    before = bench.spent()
    require_accepted(await bench.judge_all([TRIVIAL] * count))
    wall_s = bench.spent().at_s - before.at_s
    await asyncio.sleep(_RESET_S)
    return replace(bench.spent().since(before, count), at_s=wall_s / count)


def _figures(part: str, spent: Spent, beside: bare.Cost, groups: bool) -> Iterator[Figure]:
    whole_s = spent.own_s + spent.children_s
    yield Figure(part, BARE, 1000 * beside.cpu_s, "ms")
    yield from _cpu(part, spent)
    yield Figure(part, "CPU on the judge box / bare CPU", whole_s / beside.cpu_s, at_most=0.95)
    yield Figure(part, "daemon's own CPU / bare CPU", spent.own_s / beside.cpu_s, at_most=0.20)
    least = 0.90 if groups else 1.05
    yield Figure(part, "submissions a second", 1 / spent.at_s, "1/s")
    yield Figure(part, "throughput / bare loop", beside.wall_s / spent.at_s, at_least=least)


def _cpu(part: str, spent: Spent, whose: str = "") -> Iterator[Figure]:
    yield Figure(part, f"{whose}{OWN}", 1000 * spent.own_s, "ms")
    yield Figure(part, f"{whose}{SANDBOX}", 1000 * spent.children_s, "ms")
    yield Figure(part, f"{whose}{BROKER}", 1000 * spent.broker_s, "ms")


async def latency(isolate: str, *, count: int = _LATENCIES) -> list[Figure]:
    """Measure the time from publication to result on an idle daemon, beside a bare run."""
    with boxes(1) as numbers:
        sandbox = await bare.found(isolate, numbers)
        async with rig(isolate, numbers) as bench:
            taken_s = await _latencies_s(bench, count)
        async with naive(sandbox, numbers) as bench:
            naively_s = await _latencies_s(bench, count)
        beside = await asyncio.to_thread(bare.runs, sandbox, numbers, count)
    above = [1000 * (one_s - beside.wall_s) for one_s in taken_s]
    naively = 1000 * (statistics.median(naively_s) - beside.wall_s)
    return [
        Figure("latency", "bare run", 1000 * beside.wall_s, "ms"),
        Figure("latency", "median above it", statistics.median(above), "ms", at_most=6),
        Figure("latency", "99th percentile above it", above[int(0.99 * count)], "ms", at_most=20),
        Figure("latency", "median above it of a naive daemon", naively, "ms"),
    ]


async def _latencies_s(bench: Rig, count: int) -> list[float]:
    await bench.latencies_s(TRIVIAL, 10)
    return sorted(await bench.latencies_s(TRIVIAL, count))


def require_accepted(results: Sequence[dict[str, object]]) -> None:
    """End the benchmark if what it measured was not what it meant to measure."""
    others = {(result["status"], result["message"]) for result in results if result["status"] != "accepted"}
    if others:
        raise SystemExit(f"not all were accepted: {others}")
