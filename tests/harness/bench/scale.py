"""How daemons add up, and how true CPU times stay while all boxes are busy."""

import os
import statistics
import time
from contextlib import AsyncExitStack

from harness.bench.cost import require_accepted
from harness.bench.figures import Figure
from harness.bench.rig import body, rig
from support.boxes import boxes, own_boxes
from support.daemon import daemon

_SLEEP = body("perl", "select(undef, undef, undef, 0.5)")
_WORK = body("perl", "my $x = 0; $x += $_ * $_ % 7 for 1..6000000; print $x", cpu_time_limit=20)


async def scale(isolate: str, *, each: int) -> list[Figure]:
    """Measure submissions that sleep, over 1, 2 and 4 daemons of two boxes each."""
    rates = {}
    for daemons in (1, 2, 4):
        with boxes(2) as numbers:
            async with rig(isolate, numbers) as bench, AsyncExitStack() as stack:
                for number in range(1, daemons):
                    settings = {
                        "broker__url": bench.url,
                        "sandbox__isolate": isolate,
                        "sandbox__boxes": "2",
                        "log__format": "json",
                    }
                    own = stack.enter_context(own_boxes(settings))
                    await stack.enter_async_context(daemon(bench.folder / f"daemon-{number}.log", **own))
                await bench.judge_all([_SLEEP] * 4 * daemons)
                began_s = time.monotonic()
                require_accepted(await bench.judge_all([_SLEEP] * each * daemons))
                rates[daemons] = each * daemons / (time.monotonic() - began_s)
    return [
        Figure("scale", "sleepers a second, one daemon of 2 boxes", rates[1], "1/s"),
        *(
            Figure(
                "scale",
                f"{daemons} daemons / {daemons} times one",
                rates[daemons] / daemons / rates[1],
                at_least=0.95,
            )
            for daemons in (2, 4)
        ),
    ]


async def fidelity(isolate: str, *, rounds: int) -> list[Figure]:
    """Measure the CPU time of a fixed program in all boxes at once, as many as processors, beside alone."""
    processors = len(os.sched_getaffinity(0))
    with boxes(processors) as numbers:
        async with rig(isolate, numbers) as bench:
            alone = [result["time"] for _ in range(rounds) for result in await bench.judge_all([_WORK])]
            beside = [
                result["time"]
                for _ in range(rounds)
                for result in await bench.judge_all([_WORK] * processors)
            ]
    ratio = statistics.median(beside) / statistics.median(alone)
    return [
        Figure("fidelity", "CPU time of a program alone", statistics.median(alone), "s"),
        Figure("fidelity", "with all boxes busy / alone", ratio, at_most=1.10, at_least=0.90),
    ]
