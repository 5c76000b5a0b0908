"""How cost grows with size: sources, input and output, tests, the queue; linear at most."""

import time
from collections.abc import Callable, Iterator

from harness.bench.cost import TRIVIAL, require_accepted
from harness.bench.figures import Figure
from harness.bench.rig import Rig, body, rig
from support.boxes import boxes

KIB, MIB = 1024, 1024 * 1024
_SLACK = 1.25  # of what is linear: the smaller of two sizes is measured less exactly


async def growth(isolate: str, *, waiting: int) -> list[Figure]:
    """Measure each dimension at two sizes, of which the larger is several times the smaller."""
    figures = []
    with boxes(2) as numbers:
        async with rig(isolate, numbers) as bench:
            await bench.judge_all([TRIVIAL] * 20)
            for what, unit, sizes, make in _dimensions():
                small_s, large_s = [await _each_s(bench, make(size)) for size in sizes]
                times = sizes[1] / sizes[0]
                figures += [
                    Figure("growth", f"{what}, {sizes[1] // unit[1]} {unit[0]}", 1000 * large_s, "ms"),
                    Figure(
                        "growth",
                        f"{what}: {times:g} times as much / {times:g}",
                        large_s / small_s / times,
                        at_most=_SLACK,
                    ),
                ]
            figures += await _queue(bench, waiting)
    return figures


def _dimensions() -> Iterator[tuple[str, tuple[str, int], tuple[int, int], Callable[[int], bytes]]]:
    kib, mib, one = ("KiB", KIB), ("MiB", MIB), ("tests", 1)
    yield "source", kib, (128 * KIB, 1000 * KIB), lambda size: body("perl", "\n" * size)
    yield (
        "input",
        mib,
        (2 * MIB, 15 * MIB),
        lambda size: body("perl", "1 while <>", stdin="x\n" * (size // 2)),
    )
    yield (
        "output",
        mib,
        (2 * MIB, 15 * MIB),
        lambda size: body("perl", f"print 'x' x {size}", max_output_size=16 * KIB),
    )
    yield (
        "tests",
        one,
        (100, 1000),
        lambda count: body(
            "perl", "print 42", tests=[{"expected_output": "42", "limits": {"wall_time_limit": 1}}] * count
        ),
    )


async def _each_s(bench: Rig, submission: bytes) -> float:
    best = float("inf")
    for _ in range(3):
        began_s = time.monotonic()
        require_accepted(await bench.judge_all([submission]))
        best = min(best, time.monotonic() - began_s)
    return best


async def _queue(bench: Rig, waiting: int) -> list[Figure]:
    """Measure a submission of a short and of a long queue."""
    each_s = []
    for count in (waiting // 10, waiting):
        began_s = time.monotonic()
        await bench.judge_all([TRIVIAL] * count)
        each_s.append((time.monotonic() - began_s) / count)
    return [
        Figure(
            "growth",
            f"a submission of {waiting} waiting / of {waiting // 10}",
            each_s[1] / each_s[0],
            at_most=_SLACK,
        )
    ]
