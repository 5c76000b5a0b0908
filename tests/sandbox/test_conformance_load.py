"""Many runs at once: each has its own outcome, output and measures."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from sandbox.conformance import Executable, Ran, fresh_box

BOXES = 4
RUNS = 24


def test_24_concurrent_runs_over_4_boxes_are_not_mixed_up(executable: Executable, program: Path) -> None:
    """
    Sixteen callers wait for their turn in four boxes; each gets the end and the output of its own program.
    """
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=16) as callers:
        boxes = [stack.enter_context(fresh_box(executable, program=program)) for _ in range(BOXES)]

        def run(number: int) -> Ran:
            command = ["/bin/sh", "-c", f"read line; echo $line; exit {number % 100}"]
            return boxes[number % BOXES].run(command, "--wait", "--time=5", stdin=f"run {number}\n".encode())

        runs = list(callers.map(run, range(RUNS)))

    assert [(number % 100, f"run {number}\n") for number in range(RUNS)] == [
        (ran.outcome.program_exit_code, ran.stdout.decode()) for ran in runs
    ]
    assert [b""] * RUNS == [ran.stderr for ran in runs]
