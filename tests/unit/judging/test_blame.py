"""Whose fault it was: by the ends of both programs, and their order."""

import signal
from dataclasses import replace
from typing import Any

import pytest

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import Submission
from verdictd.judging.checkers.blame import blame
from verdictd.judging.checkers.judgement import Judgement, accepted, fault, wrong
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.model import Captured, Ending, Report
from verdictd.sandbox.pair import Meeting, Part

LIMITS = Submission(language="c", source_code=b"").effective_limits()
FINE = Report(Ending.EXITED, 0, None, 0.01, 5, 1000, Captured(), Captured())
CRASH = replace(FINE, ending=Ending.SIGNALLED, exit_code=None, signal=signal.SIGSEGV)
PIPE = replace(CRASH, signal=signal.SIGPIPE)
FAILED = replace(FINE, exit_code=1)
SLOW = replace(FINE, ending=Ending.CPU_TIME, cpu_time_s=2.5)
WAITED = replace(FINE, ending=Ending.WALL_TIME)
STOPPED = replace(FINE, ending=Ending.STOPPED, exit_code=None)

FIRST, LAST = True, False
RIGHT, WRONG, FAULT = accepted("accepted"), wrong("rejected"), fault("The interactor failed: somehow.")


def judged(
    report: Report, decided: Judgement, *, first: bool, partner: Report = FINE, **parts: Any
) -> Judgement:
    """What comes of a program that ended like this, before its interactor or after it."""
    program = Part(report, parts.get("unread", 0), broken=parts.get("broken", False))
    other = Part(partner, parts.get("partner_unread", 0), broken=parts.get("partner_broken", False))
    return blame(Meeting(program, other, first), verdict(report, LIMITS), decided, LIMITS)


@pytest.mark.parametrize(
    ("report", "first", "decided", "status"),
    [
        (FINE, FIRST, RIGHT, Status.ACCEPTED),
        (FINE, LAST, RIGHT, Status.ACCEPTED),
        (FINE, FIRST, WRONG, Status.WRONG_ANSWER),
        (STOPPED, LAST, WRONG, Status.WRONG_ANSWER),
        (CRASH, FIRST, WRONG, Status.RUNTIME_ERROR_SIGSEGV),
        (CRASH, FIRST, RIGHT, Status.RUNTIME_ERROR_SIGSEGV),
        (CRASH, LAST, WRONG, Status.WRONG_ANSWER),
        (CRASH, LAST, RIGHT, Status.RUNTIME_ERROR_SIGSEGV),
        (FAILED, LAST, RIGHT, Status.RUNTIME_ERROR_NZEC),
        (PIPE, LAST, RIGHT, Status.ACCEPTED),
        (PIPE, LAST, WRONG, Status.WRONG_ANSWER),
        (SLOW, LAST, WRONG, Status.TIME_LIMIT_EXCEEDED),
        (replace(STOPPED, cpu_time_s=2.5), LAST, WRONG, Status.TIME_LIMIT_EXCEEDED),
        (replace(STOPPED, memory_kib=10**9), LAST, WRONG, Status.MEMORY_LIMIT_EXCEEDED),
        (SLOW, LAST, RIGHT, Status.TIME_LIMIT_EXCEEDED),
        (FINE, FIRST, FAULT, Status.INTERNAL_ERROR),
        (FINE, LAST, FAULT, Status.INTERNAL_ERROR),
        (CRASH, LAST, FAULT, Status.INTERNAL_ERROR),
        (WAITED, LAST, FAULT, Status.INTERNAL_ERROR),
        (CRASH, FIRST, FAULT, Status.RUNTIME_ERROR_SIGSEGV),
        (WAITED, FIRST, FAULT, Status.TIME_LIMIT_EXCEEDED),
    ],
)
def test_first_failure_decides(report: Report, first: bool, decided: Judgement, status: Status) -> None:
    """Limits come before everything but a fault of the interactor; only a broken pipe is nobody's."""
    assert status == judged(report, decided, first=first).verdict.status


def test_exit_code_after_a_broken_pipe_does_not_count() -> None:
    """A program that went on writing cannot know that nobody reads."""
    assert RIGHT == judged(FAILED, RIGHT, first=LAST, broken=True)


@pytest.mark.parametrize("ending", [Ending.WALL_TIME, Ending.CPU_TIME, Ending.OUT_OF_MEMORY])
@pytest.mark.parametrize(
    ("report", "status"),
    [
        (WAITED, Status.INTERNAL_ERROR),
        (SLOW, Status.TIME_LIMIT_EXCEEDED),
        (CRASH, Status.RUNTIME_ERROR_SIGSEGV),
    ],
)
def test_interactor_that_never_answers_is_why_a_program_waited(
    ending: Ending, report: Report, status: Status
) -> None:
    """It exceeds a limit too; what a program did by itself stays its own."""
    found = judged(report, FAULT, first=FIRST, partner=replace(FINE, ending=ending))

    assert status == found.verdict.status


@pytest.mark.parametrize("report", [FINE, CRASH, SLOW, WAITED])
def test_interactor_that_writes_to_nobody_is_at_fault(report: Report) -> None:
    """Whatever the program came to while it read that."""
    found = judged(report, FAULT, first=FIRST, partner=PIPE, partner_broken=True)

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (found.verdict.status, found.verdict.cause)
    assert "went on writing after the program had ended" in found.verdict.message


@pytest.mark.parametrize(
    ("ending", "broken", "status"),
    [
        (Ending.OUT_OF_MEMORY, True, Status.OUTPUT_LIMIT_EXCEEDED),
        (Ending.CPU_TIME, True, Status.OUTPUT_LIMIT_EXCEEDED),
        (Ending.CPU_TIME, False, Status.INTERNAL_ERROR),
        (Ending.SIGNALLED, True, Status.INTERNAL_ERROR),
    ],
)
def test_program_that_floods_is_why_an_interactor_exceeds_a_limit(
    ending: Ending, broken: bool, status: Status
) -> None:
    """It goes on when nobody reads any more."""
    found = judged(PIPE, FAULT, first=LAST, broken=broken, partner=replace(FINE, ending=ending))

    assert status == found.verdict.status


@pytest.mark.parametrize(
    ("report", "partner", "parts", "message"),
    [
        (WAITED, FINE, {}, "Both waited: each had read all that the other had written."),
        (WAITED, FINE, {"unread": 6}, "The program had left 6 bytes of its input unread."),
        (WAITED, FINE, {"partner_unread": 3}, "The interactor had left 3 bytes of its input unread."),
        (WAITED, replace(FINE, cpu_time_s=4), {}, "The program waited for the interactor, which used 4.00 s"),
        (replace(WAITED, cpu_time_s=1.9), FINE, {}, "Took longer than 6 s (wall time)."),
    ],
)
def test_message_says_who_waited(
    report: Report, partner: Report, parts: dict[str, int], message: str
) -> None:
    """By what is certain: unread bytes, and CPU time."""
    assert message in judged(report, WRONG, first=FIRST, partner=partner, **parts).verdict.message


def test_words_of_the_interactor_stay() -> None:
    """Also where the program failed by itself, which gets no points."""
    found = judged(CRASH, wrong("rejected", b"end of input", fraction=0.5), first=FIRST)

    assert ("end of input", 0) == (found.checker_message, found.fraction)
