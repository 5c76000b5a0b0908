"""What a test costs: a submission of 100 tests beside a bare shell loop over the same sandbox, in turn.

Run as `python tests/harness/bench/many_tests.py [--sandbox PATH] [--tests N] [--rounds N]`.
The loop does init and run and nothing else. Then the same C++ program twice: the second time from the cache.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.boxes import boxes
from support.waiting import wait_until
from verdictd.contract.result import Result
from verdictd.contract.submission import submission_model
from verdictd.judging.judgehost import Judgehost, open_judgehost, use_pidfd_watcher
from verdictd.sandbox.pool import BoxState
from verdictd.settings import JudgeSettings, SandboxSettings, Settings

CPP = '#include <bits/stdc++.h>\nint main() { std::map<int, int> m{{1, 42}}; std::cout << m[1] << "\\n"; }\n'


def loop(host: Judgehost, number: int, count: int) -> float:
    """Seconds of a bare run."""
    sandbox = f"{' '.join(host.sandbox.executable)} --box-id={number}"
    sandbox += " --cg" if host.sandbox.control_groups else ""
    limits = "--time=2 --wall-time=6 --processes=60 --open-files=256 --silent"
    with tempfile.TemporaryDirectory() as folder:
        script = (
            f"for n in $(seq {count}); do {sandbox} --init > /dev/null;"
            f" {sandbox} {limits} --meta={folder}/meta --run -- /bin/bash -c 'echo 42' > /dev/null; done;"
            f" {sandbox} --cleanup; {sandbox} --init > /dev/null"
        )
        began_s = time.monotonic()
        subprocess.run(["/bin/sh", "-c", script], check=True)
        return (time.monotonic() - began_s) / count


async def judged(host: Judgehost, settings: Settings, **fields: Any) -> Result:
    submission = submission_model(settings.limits).model_validate(fields)
    result = await host.judge.judge(host.admission.admit(submission))
    if result.status != "accepted":
        raise SystemExit(f"not accepted: {result.message}\n{result.compile_output}")
    return result


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sandbox", default="auto", help="auto, embedded, or the path of isolate")
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with boxes(1) as numbers, tempfile.TemporaryDirectory() as cache:
        settings = Settings(
            sandbox=SandboxSettings(isolate=arguments.sandbox, boxes=1, first_box=numbers.start),
            judge=JudgeSettings(cache_directory=Path(cache)),
        )
        async with open_judgehost(settings) as host:
            groups = "with" if host.sandbox.control_groups else "without"
            print(f"{host.sandbox.name} {host.sandbox.version} {groups} control groups")
            ratios = []
            for _ in range(arguments.rounds):
                await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})
                bare_s = await asyncio.to_thread(loop, host, numbers.start, arguments.tests)
                began_s = time.monotonic()
                tests = [{"expected_output": "42"}] * arguments.tests
                await judged(host, settings, language="bash", source_code="echo 42", tests=tests)
                test_s = (time.monotonic() - began_s) / arguments.tests
                ratios.append(test_s / bare_s)
                print(f"bare {1000 * bare_s:.2f} ms, test {1000 * test_s:.2f} ms: {ratios[-1]:.2f}")
            print(f"median {statistics.median(ratios):.2f}")
            for word in ("cold", "cached"):
                result = await judged(host, settings, language="cpp", source_code=CPP, expected_output="42")
                took_s = (result.finished_at - result.started_at).total_seconds() - (result.wall_time or 0)
                print(f"C++ {word}: {1000 * took_s:.1f} ms beside the run")


if __name__ == "__main__":
    use_pidfd_watcher()  # as the daemon does
    asyncio.run(main())
