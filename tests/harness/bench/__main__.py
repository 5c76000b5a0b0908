"""Measure the daemon beside the bare sandbox in one run; print figures and their bounds.

Run as `make bench`, or in the folder of the tests as `python -m harness.bench [--sandbox PATH] [PART ...]`.
"""

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.bench import bare
from harness.bench.chart import draw
from harness.bench.cost import cost, latency
from harness.bench.figures import Figure, write_json
from harness.bench.growth import growth
from harness.bench.many_tests import many_tests
from harness.bench.memory import memory
from harness.bench.reward import reward
from harness.bench.scale import fidelity, scale
from support.boxes import boxes

Part = Callable[[], Awaitable[list[Figure]]]


def parts(isolate: str, *, quick: bool) -> dict[str, Part]:
    """Return what can be measured."""
    return {
        "cost": lambda: cost(isolate, count=200 if quick else 800),
        "latency": lambda: latency(isolate, count=50 if quick else 200),
        "tests": lambda: many_tests(isolate, rounds=1 if quick else 5),
        "reward": lambda: reward(isolate, programs=30 if quick else 2_000),
        "memory": lambda: memory(isolate),
        "growth": lambda: growth(isolate, waiting=200 if quick else 5_000),
        "scale": lambda: scale(isolate, each=10 if quick else 40),
        "fidelity": lambda: fidelity(isolate, rounds=2 if quick else 5),
    }


async def main() -> int:
    """Measure; return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sandbox", default="auto", help="auto, embedded, or the path of isolate")
    parser.add_argument("--quick", action="store_true", help="small numbers: to try it, not to quote it")
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--png", type=Path, help="also draw the part cost; needs matplotlib")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts('', quick=True))}")
    options = parser.parse_args()
    known = parts(options.sandbox, quick=options.quick)
    unknown = {*options.parts} - known.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    about = await _about(options.sandbox)
    print(*(f"{name}: {value}" for name, value in about.items()), sep="\n")
    figures: list[Figure] = []
    for name in options.parts or known:
        figures += (new := await known[name]())
        print(*new, sep="\n", flush=True)
    if options.png:
        processors = len(os.sched_getaffinity(0))
        title = f"CPU time of a trivial submission: {about['sandbox']}, {processors} processors"
        draw(figures, title, options.png)
    if options.json:
        write_json(figures, about, options.json)
    return int(not all(figure.passed for figure in figures))


async def _about(isolate: str) -> dict[str, str]:
    with boxes(1) as numbers:
        sandbox = await bare.found(isolate, numbers)
    groups = "with" if sandbox.control_groups else "without"
    return {
        "sandbox": f"{sandbox.name} {sandbox.version} {groups} control groups",
        "machine": f"{len(os.sched_getaffinity(0))} processors, Linux {platform.release()}",
        "Python": platform.python_version(),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
