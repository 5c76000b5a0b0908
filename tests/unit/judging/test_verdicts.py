"""A report and an expected output become a status."""

import re
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import Submission
from verdictd.judging.checkers.comparison import same_output
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.model import Captured, Ending, Report

OUT = OpenData(b"out")
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


def are_same(actual: bytes, expected: bytes) -> bool:
    return same_output(BytesIO(actual), BytesIO(expected))


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        (b"a b\n", b"a b", True),
        (b"a b  \n\n\n", b"a b\n", True),
        (b"a\r\nb\r\n", b"a\nb\n", True),
        (b"a\t \nb", b"a\nb", True),
        (b"", b"\n\n", True),
        (b"   \n", b"", True),
        (b"a  b\n", b"a b\n", False),
        (b" a\n", b"a\n", False),
        (b"\na\n", b"a\n", False),
        (b"a\n\nb\n", b"a\nb\n", False),
        (b"A\n", b"a\n", False),
        (b"1.0\n", b"1\n", False),
        (b"a\0\n", b"a\n", False),
        (b"\xff", b"\xfe", False),
        (b"a\xc2\xa0\n", b"a\n", False),
    ],
)
def test_only_white_space_at_the_end_of_lines_and_empty_lines_at_the_end_do_not_count(
    actual: bytes, expected: bytes, same: bool
) -> None:
    """All else counts: inner space, leading space, empty lines between, case, and bytes that are not text."""
    assert same == are_same(actual, expected)
    assert same == are_same(expected, actual)


lines = st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=6)


@given(
    lines,
    st.lists(st.sampled_from([b"", b" ", b"\t", b"\r", b" \t"]), min_size=6, max_size=6),
    st.integers(0, 3),
)
def test_trailing_space_never_changes_a_verdict(text: list[bytes], trailing: list[bytes], empty: int) -> None:
    """Whatever white space is put at the ends of lines and of the text, it is the same output."""
    spaced = [line + space for line, space in zip(text, trailing, strict=False)]

    assert are_same(b"\n".join(spaced) + b"\n" * empty, b"\n".join(text))


@given(lines, lines)
def test_comparison_is_that_of_the_lines_without_trailing_space(one: list[bytes], other: list[bytes]) -> None:
    """The rule in one sentence, computed in another way."""

    def rule(text: list[bytes]) -> list[bytes]:
        stripped = [line.rstrip() for line in text]
        while stripped and not stripped[-1]:
            stripped.pop()
        return stripped

    assert (rule(one) == rule(other)) == are_same(b"\n".join(one), b"\n".join(other))


def test_memory_above_the_limit_comes_before_the_ending() -> None:
    """Without control groups a program is not killed at its memory limit; its peak decides."""
    for report in (
        ran(memory_kib=262_145),
        ran(Ending.SIGNALLED, memory_kib=262_145),
        ran(exit_code=1, memory_kib=262_145),
    ):
        found = verdict(report, LIMITS, OUT)
        assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (found.status, found.cause)
    assert Status.ACCEPTED is verdict(ran(memory_kib=262_144), LIMITS, OUT).status


def test_memory_below_the_floor_of_the_sandbox_decides_nothing() -> None:
    """Memory of the sandbox itself does not count."""
    small = LIMITS.model_copy(update={"memory_limit": 4_096})

    assert Status.ACCEPTED is verdict(ran(memory_kib=9_000), small, None, memory_floor_kib=16_384).status
    assert Status.MEMORY_LIMIT_EXCEEDED is verdict(ran(memory_kib=9_000), small, None).status
    found = verdict(ran(memory_kib=17_000), small, None, memory_floor_kib=16_384)
    assert Status.MEMORY_LIMIT_EXCEEDED is found.status


def test_exit_code_comes_before_the_output() -> None:
    """A program that says that it failed is not accepted for what it printed."""
    assert Status.RUNTIME_ERROR_NZEC is verdict(ran(exit_code=1), LIMITS, OUT).status


def test_empty_expectation_is_one() -> None:
    """Expecting nothing to be printed is not the same as expecting nothing."""
    assert Status.WRONG_ANSWER is verdict(ran(), LIMITS, OpenData(b"")).status
    assert Status.ACCEPTED is verdict(ran(), LIMITS, None).status


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
    decided = verdict(report, LIMITS, None, out_of_memory=[re.compile(r"(?m)^MemoryError\b")])

    assert status == decided.status
