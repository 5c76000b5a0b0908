"""A report becomes a status."""

import re
from dataclasses import replace

import pytest

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import Submission
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.model import Captured, Ending, Report

LIMITS = Submission(language="c", source_code=b"").effective_limits()


def ran(ending: Ending = Ending.EXITED, *, exit_code: int | None = 0, memory_kib: int = 1_000) -> Report:
    return Report(
        ending=ending,
        exit_code=exit_code,
        signal=None,
        cpu_time_s=0.1,
        wall_time_s=0.1,
        memory_kib=memory_kib,
        stdout=Captured(b"out\n"),
        stderr=Captured(),
    )


def test_memory_above_the_limit_comes_before_the_ending() -> None:
    """Without control groups a program is not killed at its memory limit; its peak decides."""
    for report in (
        ran(memory_kib=262_145),
        ran(Ending.SIGNALLED, memory_kib=262_145),
        ran(exit_code=1, memory_kib=262_145),
    ):
        found = verdict(report, LIMITS)
        assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (found.status, found.cause)
    assert Status.ACCEPTED is verdict(ran(memory_kib=262_144), LIMITS).status


def test_memory_below_the_floor_of_the_sandbox_decides_nothing() -> None:
    """Memory of the sandbox itself does not count."""
    small = LIMITS.model_copy(update={"memory_limit": 4_096})

    assert Status.ACCEPTED is verdict(ran(memory_kib=9_000), small, memory_floor_kib=16_384).status
    assert Status.MEMORY_LIMIT_EXCEEDED is verdict(ran(memory_kib=9_000), small).status
    found = verdict(ran(memory_kib=17_000), small, memory_floor_kib=16_384)
    assert Status.MEMORY_LIMIT_EXCEEDED is found.status


def test_exit_code_other_than_0_is_a_failure() -> None:
    """A program that says that it failed is believed, before anybody looks at what it printed."""
    assert Status.RUNTIME_ERROR_NZEC is verdict(ran(exit_code=1), LIMITS).status


@pytest.mark.parametrize(
    ("exit_code", "signal", "text", "status"),
    [
        (1, None, b"x\nMemoryError: no\n", Status.MEMORY_LIMIT_EXCEEDED),
        (None, 6, b"MemoryError", Status.MEMORY_LIMIT_EXCEEDED),
        (1, None, b"MemoryError" + b"\n" * 65_000, Status.MEMORY_LIMIT_EXCEEDED),
        (1, None, b"MemoryError" + b"\n" * 66_000, Status.RUNTIME_ERROR_NZEC),
        (1, None, b"NoMemoryErrors", Status.RUNTIME_ERROR_NZEC),
        (None, 11, b"MemoryError", Status.RUNTIME_ERROR_SIGSEGV),
        (0, None, b"MemoryError", Status.ACCEPTED),
    ],
)
@pytest.mark.parametrize("redirected", [False, True])
def test_last_words_of_a_failed_program_tell_that_memory_is_out(
    exit_code: int | None, signal: int | None, text: bytes, status: Status, *, redirected: bool
) -> None:
    """They count at the end of stderr, of a program that exited with a failure or by SIGABRT."""
    report = replace(
        ran(Ending.SIGNALLED if signal else Ending.EXITED, exit_code=exit_code),
        signal=signal,
        stdout=Captured(text if redirected else b"out"),
        stderr=Captured(b"" if redirected else text),
    )
    decided = verdict(report, LIMITS, out_of_memory=[re.compile(r"(?m)^MemoryError\b")])

    assert status == decided.status
