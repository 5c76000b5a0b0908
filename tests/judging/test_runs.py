"""Repeated runs: figures over all of them, and the first failure decides."""

from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Result, Status
from verdictd.judging import judge as judge_module
from verdictd.judging.admission import Admitted
from verdictd.judging.judgehost import Judgehost
from verdictd.judging.results import Judged, judged_result

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


async def test_figures_of_several_runs_are_means_with_their_spread(judge: Judge) -> None:
    """Four good runs give a count, and for each figure minimum, maximum, mean and standard deviation."""
    result = await judge("python", "print(sum(range(300_000)))", number_of_runs=4)

    assert Status.ACCEPTED == result.status
    assert result.runs is not None
    assert 4 == result.runs.count
    assert result.time == result.runs.time.mean
    for spread in (result.runs.time, result.runs.wall_time, result.runs.memory):
        assert 0 <= spread.min <= spread.mean <= spread.max
        assert 0 <= spread.standard_deviation <= spread.max - spread.min + 1e-9


async def test_output_of_many_runs_is_not_kept(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of all runs are kept, and the output of the last one."""
    kept: list[Judged] = []

    def remember(admitted: Admitted, judged: Judged, **more: Any) -> Result:
        kept.append(judged)
        return judged_result(admitted, judged, **more)

    monkeypatch.setattr(judge_module, "judged_result", remember)
    result = await judge("bash", "echo out; echo error >&2", number_of_runs=3)

    assert ("out\n", "error\n") == (result.stdout, result.stderr)
    assert [0, 0, 4] == [len(report.stdout.data) for report in kept[0].deciding.reports]
    assert [0, 0, 6] == [len(report.stderr.data) for report in kept[0].deciding.reports]


async def test_single_run_has_no_spread(judge: Judge) -> None:
    """One run has nothing to compare with."""
    result = await judge("bash", "true")

    assert result.runs is None


async def test_first_failing_run_decides(judge: Judge) -> None:
    """A program that fails every other time or so is not accepted, and its figures are those of that run."""
    source = "import os, sys\nsys.exit(7 if os.urandom(1)[0] < 128 else 0)"
    result = await judge("python", source, number_of_runs=20)

    assert (Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, 7) == (result.status, result.cause, result.exit_code)
    assert result.runs is None


async def test_runs_leave_nothing_to_each_other(judge: Judge) -> None:
    """A file written in one run, in /box, /tmp or /dev/shm, is gone in the next."""
    source = "for d in /box /tmp /dev/shm; do [ -e $d/mark ] && exit 9; echo x > $d/mark; done; exit 0"
    result = await judge("bash", source, number_of_runs=3)

    assert Status.ACCEPTED == result.status


async def test_out_of_memory_in_compiling_does_not_mark_the_run(judge: Judge) -> None:
    """The memory peak of a greedy compiler is not the program's."""
    greedy = "head -c 300M /dev/zero | tail > /dev/null"
    source = f"{greedy}\nprintf '#!/bin/bash\\necho small\\n' > main"
    result = await judge("made", source, memory_limit=65_536)

    assert (Status.ACCEPTED, "small\n") == (result.status, result.stdout)
    assert result.memory is not None
    assert result.memory < 65_536


async def test_static_program_whose_parent_ends_at_once_is_judged(judge: Judge, host: Judgehost) -> None:
    """Isolate does not expect a second process so soon, and often fails; such a run is begun again."""
    source = """
        #include <unistd.h>
        int main(void) { return fork() ? 0 : pause(); }
    """
    runs = 20 if host.sandbox.name == "isolate" else 2
    result = await judge("c", source, compiler_options="-static", number_of_runs=runs, wall_time_limit=10)

    assert Status.ACCEPTED == result.status
