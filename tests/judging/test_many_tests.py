"""Submissions of many tests: built once, each test in a clean box with its own input, limits and verdict."""

import asyncio
from typing import Any

import pytest

from judging.conftest import Judge
from support.waiting import wait_until
from verdictd.contract.result import Cause, Result, Status
from verdictd.judging.judgehost import Judgehost

pytestmark = pytest.mark.anyio

DOUBLE = "print(2 * int(input()))"
"""Right for every number, but for what a test says."""


def doubled(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"stdin": str(number), "expected_output": str(2 * number), **fields} for number in numbers]


def statuses(result: Result) -> list[Status]:
    return [test.status for test in result.tests]


async def test_each_test_has_its_own_input_and_verdict(judge: Judge) -> None:
    """Figures of the whole are the greatest; the deciding test gives status, message and output."""
    wrong = {"name": "wrong", "stdin": "4", "expected_output": "9", "points": 0.5}
    result = await judge("python", DOUBLE, tests=[*doubled(1, 2, points=0.25), wrong])

    assert (Status.WRONG_ANSWER, "8\n") == (result.status, result.stdout)
    assert [("1", 0.25), ("2", 0.25), ("wrong", 0)] == [(test.name, test.points) for test in result.tests]
    assert [Status.ACCEPTED, Status.ACCEPTED, Status.WRONG_ANSWER] == statuses(result)
    assert ["", "", "8\n"] == [test.stdout for test in result.tests]
    assert (0.5, 1) == (result.points, result.max_points)
    assert result.time == max(test.time for test in result.tests if test.time is not None)
    assert result.memory == max(test.memory for test in result.tests if test.memory is not None)


async def test_submission_without_tests_has_empty_fields(judge: Judge) -> None:
    """As it was before there were tests."""
    result = await judge("bash", "echo 1", expected_output=b"1")

    assert (Status.ACCEPTED, "1\n", (), (), None, None) == (
        result.status,
        result.stdout,
        result.tests,
        result.groups,
        result.points,
        result.max_points,
    )


async def test_program_is_compiled_once(judge: Judge) -> None:
    """The compiler prints a number by chance, which is that of every test."""
    source = "printf '#!/bin/bash\\necho %s\\n' $RANDOM$RANDOM > main"
    result = await judge("made", source, tests=[{}] * 3, return_output="all")

    assert Status.ACCEPTED == result.status
    assert 1 == len({test.stdout for test in result.tests})


async def test_program_that_does_not_compile_has_all_tests_skipped(judge: Judge) -> None:
    """No test has run, and no group has points."""
    groups = [{"name": "a", "points": 10}]
    result = await judge("c", "int main( {", tests=[{"group": "a"}] * 2, groups=groups)

    assert (Status.COMPILATION_ERROR, 0, 10) == (result.status, result.points, result.max_points)
    assert [Status.SKIPPED] * 2 == statuses(result)
    assert [("a", Status.SKIPPED)] == [(group.name, group.status) for group in result.groups]
    assert "error" in result.compile_output


LEAVES = """
import contextlib, os, sys
for place in ("/box", "/tmp", "/dev/shm"):
    os.chdir(place)
    assert {*os.listdir()} <= {"main.py"}, os.listdir()
    assert oct(os.stat(".").st_mode) == "0o40700" and not os.listxattr("."), oct(os.stat(".").st_mode)
    match sys.argv[1] if place in sys.argv[2:] else "nothing":
        case "files":
            os.symlink("/etc/passwd", "link"), os.mkfifo("pipe"), open(".a", "w"), os.link(".a", "b")
        case "directory":
            os.makedirs("a/b")
        case "many":
            [open(f"{number}", "w") for number in range(200)]
        case "modes":
            open("locked", "w"), os.chmod("locked", 0), os.chmod(".", 0o1070)
        case "attributes":
            with contextlib.suppress(OSError):
                os.setxattr(".", "user.mark", b"x")
"""


async def test_tests_leave_nothing_to_each_other(judge: Judge) -> None:
    """Whatever a test has left in /box, /tmp and /dev/shm is gone in the next."""
    everywhere = ["/box", "/tmp", "/dev/shm"]  # noqa: S108 - paths in a box
    left = [[what, *everywhere] for what in ("files", "directory", "many", "modes", "attributes")]
    left += [["many", "/tmp"], ["directory", "/dev/shm"], ["nothing"]]  # noqa: S108
    result = await judge("python", LEAVES, tests=[{"command_line_arguments": words} for words in left])

    assert [Status.ACCEPTED] * len(left) == statuses(result), result.stderr


async def test_test_may_have_its_own_limits_and_arguments(judge: Judge) -> None:
    """What it does not give is the submission's."""
    source = "echo $1; while [ $1 = busy ]; do :; done"
    listed = [
        {"expected_output": "idle"},
        {"command_line_arguments": "busy", "limits": {"cpu_time_limit": 0.1, "cpu_extra_time": 0}},
        {"command_line_arguments": ["x y"], "expected_output": "x y"},
    ]
    fields = {"command_line_arguments": ["idle"], "stop_on_failure": False}
    result = await judge("bash", source, tests=listed, **fields)

    assert [Status.ACCEPTED, Status.TIME_LIMIT_EXCEEDED, Status.ACCEPTED] == statuses(result)
    assert (Cause.CPU_TIME, "Used more than 0.1 s of CPU time.") == (result.cause, result.tests[1].message)


async def test_tests_after_a_failure_are_skipped(judge: Judge) -> None:
    """Without points nothing more can change."""
    result = await judge("python", "print(1)", tests=doubled(0, 1, 2))

    assert [Status.WRONG_ANSWER, Status.SKIPPED, Status.SKIPPED] == statuses(result)
    assert (None, None) == (result.tests[1].time, result.points)


@pytest.mark.parametrize(
    ("returned", "outputs"), [("none", ["", ""]), ("failed", ["", "fine\n"]), ("all", ["fine\n", "fine\n"])]
)
async def test_outputs_are_returned_as_asked_for(judge: Judge, returned: str, outputs: list[str]) -> None:
    """The output of the submission is that of its deciding test."""
    listed = [{"expected_output": "fine"}, {"expected_output": "bad"}]
    result = await judge("bash", "echo fine", tests=listed, return_output=returned)

    assert outputs == [test.stdout for test in result.tests]
    assert outputs[1] == result.stdout


async def test_runs_of_each_test_are_repeated(judge: Judge) -> None:
    """`number_of_runs` counts for each test."""
    result = await judge("bash", "true", tests=[{}] * 2, number_of_runs=2)

    assert [2, 2] == [test.runs.count for test in result.tests if test.runs]


async def test_parallel_tests_use_idle_boxes(judge: Judge) -> None:
    """Two tests that wait for each other's time run at once: three seconds of sleep pass in less."""
    source = "import time\ntime.sleep(0.7)"
    result = await judge("python", source, tests=[{}] * 4, parallel_tests=2)
    took_s = (result.finished_at - result.started_at).total_seconds()

    assert [Status.ACCEPTED] * 4 == statuses(result)
    assert took_s < sum(test.wall_time or 0 for test in result.tests)


async def test_parallel_tests_give_their_box_to_others(judge: Judge, host: Judgehost) -> None:
    """A submission that comes meanwhile does not wait for the end of a test."""
    sleeping = "import time\ntime.sleep(20)"
    fields = {"wall_time_limit": 60, "cpu_time_limit": 1}
    long = asyncio.ensure_future(judge("python", sleeping, tests=[{}] * 2, parallel_tests=2, **fields))
    await wait_until(lambda: len(host.judge.running) == 2)
    other = await judge("bash", "echo fine", expected_output=b"fine")
    first = long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)

    assert (Status.ACCEPTED, False) == (other.status, first)
