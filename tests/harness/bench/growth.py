"""How cost grows with size: sources, input and output, tests, the queue; linear at most.

And how long the daemon answers nobody meanwhile: no step of it holds the event loop for long.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from harness.bench.cost import TRIVIAL, require_accepted
from harness.bench.figures import Figure
from harness.bench.rig import Rig, body, rig
from support.boxes import boxes

KIB, MIB = 1024, 1024 * 1024
_SLACK = 1.25  # of what is linear: the smaller of two sizes is measured less exactly

# In a process of its own, as this one has large messages to write and to read.
_PROBE = """
import http.client, sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
longest_s = 0.0
while not ended.wait(0.005):
    began_s = time.monotonic()
    connection.request("GET", "/livez")
    connection.getresponse().read()
    longest_s = max(longest_s, time.monotonic() - began_s)
print(longest_s)
"""


async def growth(isolate: str, *, waiting: int) -> list[Figure]:
    """Measure each dimension at two sizes, of which the larger is several times the smaller."""
    figures = []
    with boxes(2) as numbers:
        async with rig(isolate, numbers, http__enabled="true", http__port="0") as bench:
            await bench.judge_all([TRIVIAL] * 20)
            async with _probed(bench) as longest_s:
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
            (held_s,) = longest_s
            figures.append(
                Figure("growth", "longest wait for /livez meanwhile", 1000 * held_s, "ms", at_most=50)
            )
            figures += await _queue(bench, waiting)
    return figures


@asynccontextmanager
async def _probed(bench: Rig) -> AsyncIterator[list[float]]:
    """Ask whether the daemon is alive, again and again; the list gets the longest time of an answer."""
    (listens,) = bench.daemon.logged("http.listening")
    prober = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROBE,
        str(listens["port"]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    longest_s: list[float] = []
    try:
        yield longest_s
    finally:
        said, _ = await prober.communicate(b"")  # the end of its input ends it
        longest_s.append(float(said))


def _dimensions() -> Iterator[tuple[str, tuple[str, int], tuple[int, int], Callable[[int], bytes]]]:
    kib, mib, one = ("KiB", KIB), ("MiB", MIB), ("tests", 1)
    yield "source", kib, (128 * KIB, 1000 * KIB), lambda size: body("perl", "\n" * size)
    yield (
        "input",
        mib,
        (2 * MIB, 14 * MIB),
        lambda size: body("perl", "1 while <>", stdin=f"{'x' * 15}\n" * (size // 16)),
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
