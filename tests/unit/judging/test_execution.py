"""From limits to a command, and the repetition of a run that was killed from outside."""

import signal
from pathlib import Path

import pytest

from verdictd.contract.submission import Submission
from verdictd.judging.admission import Admitted, admitted_tests
from verdictd.judging.execution import Artifact, memory_floor_kib, repeat_if_disturbed, run_command
from verdictd.judging.languages import Language
from verdictd.sandbox.model import Captured, Command, Ending, Noise, Report, Sandbox

KIB_32 = 32_768


def command(
    *, control_groups: bool, per_process: bool = False, without: bool = False, address_space: bool = True
) -> tuple[Command, Sandbox]:
    submission = Submission(
        language="script",
        source_code=b"",
        memory_limit=KIB_32,
        enable_per_process_and_thread_memory_limit=per_process,
        enable_per_process_and_thread_time_limit=without,
    )
    language = Language(
        name="script", source_file="main.sh", run_cmd=("/bin/sh", "main.sh"), address_space=address_space
    )
    sandbox = Sandbox(("isolate",), "isolate", "2.6", control_groups, Path("/"), resident_floor_kib=7)
    limits = submission.effective_limits()
    tests = admitted_tests(submission, language, limits)
    admitted = Admitted(submission, language, limits, tests, timeout_s=60)
    return run_command(admitted, tests[0], Artifact(()), b"", open_files=64), sandbox


@pytest.mark.parametrize(
    ("modes", "memory_kib", "address_space_kib", "in_group", "floor_kib"),
    [
        ({"control_groups": True}, KIB_32, None, True, 0),
        ({"control_groups": False}, KIB_32, None, True, 7),
        ({"control_groups": True, "per_process": True}, None, KIB_32, True, 7),
        ({"control_groups": True, "per_process": True, "without": True}, None, KIB_32, False, 7),
        ({"control_groups": False, "per_process": True}, None, KIB_32, True, 7),
        ({"control_groups": True, "per_process": True, "address_space": False}, KIB_32, None, True, 0),
        ({"control_groups": False, "address_space": False}, KIB_32, None, True, 7),
    ],
)
def test_memory_is_limited_where_it_can_be(
    modes: dict[str, bool],
    memory_kib: int | None,
    address_space_kib: int | None,
    in_group: bool,
    floor_kib: int,
) -> None:
    """A runtime that reserves more than it uses keeps its group, whatever was asked for."""
    made, sandbox = command(**modes)
    constraints = made.constraints

    assert (memory_kib, address_space_kib) == (constraints.memory_kib, constraints.address_space_kib)
    assert (in_group, floor_kib) == (made.control_groups, memory_floor_kib(made, sandbox))


def report(ending: Ending, number: int | None = None) -> Report:
    return Report(ending, None, number, 0, 0, 0, Captured(), Captured())


def slow(ending: Ending, cpu_time_s: float, wall_time_s: float, pressure: float) -> Report:
    return Report(
        ending,
        None,
        None,
        cpu_time_s,
        wall_time_s,
        0,
        Captured(),
        Captured(),
        noise=Noise(cpu_pressure=pressure),
    )


@pytest.mark.parametrize(
    ("first", "runs"),
    [
        (report(Ending.SIGNALLED, signal.SIGTERM), 2),
        (report(Ending.SIGNALLED, signal.SIGKILL), 2),
        (report(Ending.SIGNALLED, signal.SIGSEGV), 1),
        (report(Ending.CPU_TIME, signal.SIGKILL), 1),
        (report(Ending.EXITED), 1),
        (slow(Ending.WALL_TIME, 0.4, 5, 0.9), 2),
        (slow(Ending.WALL_TIME, 0.4, 5, 0.1), 1),
        (slow(Ending.WALL_TIME, 4.5, 5, 0.9), 1),
        (slow(Ending.WALL_TIME, 0.4, 300, 0.9), 1),
        (slow(Ending.CPU_TIME, 0.4, 5, 0.9), 1),
    ],
)
@pytest.mark.anyio
async def test_run_that_others_may_have_disturbed_is_repeated_once(first: Report, runs: int) -> None:
    """Others may have killed it, or held it up on a host under pressure."""
    made: list[Report] = []

    async def run() -> Report:
        made.append(first)
        return first

    assert first is await repeat_if_disturbed(run)
    assert runs == len(made)
