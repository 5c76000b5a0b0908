"""A reward run: what trainers of code models have judged, thousands of small Python programs with tests."""

import asyncio
import os
from base64 import b64encode
from random import Random

import orjson

from harness.bench import bare
from harness.bench.figures import Figure
from harness.bench.rig import rig
from support.boxes import boxes

_DAY_S = 86_400
_PROGRAMS = [
    "def solve(n):\n    return sum(i for i in range(n) if i % {k} == 0)\n",
    "def solve(n):\n    return ''.join(sorted(str(n * {k})))\n",
    """def solve(n):
    a, b = 0, 1
    for _ in range(n % 50):
        a, b = b, a + b + {k}
    return a
""",
    """def solve(n):
    seen = set()
    while n not in seen:
        seen.add(n)
        n = (n * {k} + 1) % 97
    return len(seen)
""",
]
_MAIN = "print(solve(int(input())))\n"
_WRONG = 0.3  # of the programs


class Program:
    """A program as a model writes it, with its tests; some are wrong."""

    def __init__(self, random: Random) -> None:
        right = random.choice(_PROGRAMS).format(k=random.randint(2, 9))
        inputs = [random.randint(1, 200) for _ in range(random.randint(3, 10))]
        names: dict[str, object] = {}
        exec(right, names)  # noqa: S102 - written above
        solve = names["solve"]
        assert callable(solve)
        self.is_right = random.random() > _WRONG
        self.tests = [{"stdin": f"{n}\n", "expected_output": f"{solve(n)}"} for n in inputs]
        self.source = right.replace("return", "return 1 if n % 3 == 0 else") if not self.is_right else right
        self.source += _MAIN

    def whole(self) -> bytes:
        """One message for all tests, each of which is run."""
        fields = {"tests": self.tests, "stop_on_failure": False, "return_output": "none"}
        return orjson.dumps({"language": "python", "source_code": self.source, **fields})

    def naive(self) -> list[bytes]:
        """One message for each test."""
        return [
            orjson.dumps({"language": "python", "source_code": self.source, **test}) for test in self.tests
        ]


async def reward(isolate: str, *, programs: int) -> list[Figure]:
    """Judge them as whole problems, then as one message for each test; and run as many bare programs."""
    random = Random(42)  # noqa: S311 - the same programs each time
    batch = [Program(random) for _ in range(programs)]
    tests = sum(len(program.tests) for program in batch)
    processors = len(os.sched_getaffinity(0))
    with boxes(processors) as numbers:
        sandbox = await bare.found(isolate, numbers)
        async with rig(isolate, numbers) as bench:
            rates = []
            for bodies in ([one.whole() for one in batch], [each for one in batch for each in one.naive()]):
                before = bench.spent()
                await bench.judge_all(bodies)
                rates.append(1 / bench.spent().since(before, tests).at_s)
        source = b64encode(Program(random).source.replace("input()", "7").encode()).decode()
        program = f"/usr/bin/python3 -c \"exec(__import__('base64').b64decode('{source}'))\""
        loop = await asyncio.to_thread(bare.cycle, sandbox, numbers, tests, program)
    whole, naive = rates
    return [
        Figure("reward run", f"tests of {programs} Python programs, one message each", whole, "1/s"),
        Figure("reward run", "tests a second and processor", whole / processors, "1/s"),
        Figure("reward run", "tests a day and processor", whole / processors * _DAY_S / 1e6, "million"),
        Figure("reward run", "of the same runs as a bare loop", whole * loop.wall_s),
        Figure("reward run", "of one message for each test", whole / naive),
    ]
