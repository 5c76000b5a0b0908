"""What a test of a submission with 100 costs beside a bare init and run; C++ from the cache of artifacts."""

import asyncio
import statistics
import tempfile
from datetime import datetime
from typing import Any

from harness.bench import bare
from harness.bench.cost import require_accepted
from harness.bench.figures import Figure
from harness.bench.rig import body, rig
from support.boxes import boxes

_CPP = '#include <bits/stdc++.h>\nint main() { std::map<int, int> m{{1, 42}}; std::cout << m[1] << "\\n"; }\n'
_TESTS = 100


async def many_tests(isolate: str, *, rounds: int) -> list[Figure]:
    """Measure both, in turn with the bare loop."""
    submission = body("perl", "print 42", tests=[{"expected_output": "42"}] * _TESTS)
    ratios = []
    with boxes(1) as numbers, tempfile.TemporaryDirectory() as cache:
        sandbox = await bare.found(isolate, numbers)
        kept = {"judge__cache_directory": cache, "judge__cache_kib": str(1024 * 1024)}
        async with rig(isolate, numbers, **kept) as bench:
            await bench.judge_all([submission])
            compiled = []
            for stdin in ("cold", "cached"):
                cpp = body("cpp", _CPP, expected_output="42", stdin=stdin)
                compiled += [_beside_the_run_s(result) for result in await bench.judge_all([cpp])]
            taken_s = []
            for _ in range(rounds):
                before = bench.spent()
                require_accepted(await bench.judge_all([submission]))
                taken_s.append(bench.spent().since(before, _TESTS).at_s)
        loops_s = [
            (await asyncio.to_thread(bare.cycle, sandbox, numbers, _TESTS)).wall_s for _ in range(rounds)
        ]
    ratios = [test_s / loop_s for test_s, loop_s in zip(taken_s, loops_s, strict=True)]
    return [
        Figure("tests", "a test of 100", 1000 * statistics.median(taken_s), "ms"),
        Figure("tests", "a test of 100 / bare init and run", statistics.median(ratios), at_most=1.15),
        Figure("tests", "C++, cold: beside the run", compiled[0], "s"),
        Figure("tests", "C++, cold / from the cache", compiled[0] / compiled[1], at_least=20),
    ]


def _beside_the_run_s(result: dict[str, Any]) -> float:
    require_accepted([result])
    began, ended = (datetime.fromisoformat(result[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds() - float(result["wall_time"])
