"""What a checker program says, by its exit code, its words and its files."""

import pytest

from verdictd.contract.result import Cause, Status
from verdictd.judging.checkers.judgement import Judgement
from verdictd.judging.checkers.protocols import Answer, judged_by_kattis, judged_by_testlib

RIGHT = (Status.ACCEPTED, None)
WRONG = (Status.WRONG_ANSWER, Cause.OUTPUT)
FAULT = (Status.INTERNAL_ERROR, Cause.CHECKER)


def decided(judgement: Judgement) -> tuple[Status, Cause | None]:
    return judgement.verdict.status, judgement.verdict.cause


@pytest.mark.parametrize(
    ("exit_code", "said", "points", "expected", "fraction"),
    [
        (0, b"ok 3 numbers\n", None, RIGHT, 1),
        (0, b"", None, RIGHT, 1),
        (1, b"wrong answer 1st numbers differ\n", None, WRONG, 0),
        (1, b"", None, WRONG, 0),
        (2, b"wrong output format Expected integer\n", None, WRONG, 0),
        (4, b"wrong output format Extra information\n", None, WRONG, 0),
        (8, b"unexpected eof\n", None, WRONG, 0),
        (1, b"Traceback (most recent call last):\n", None, FAULT, 0),
        (2, b"panic: runtime error\n", None, FAULT, 0),
        (3, b"FAIL the answer is not a number\n", None, FAULT, 0),
        (7, b"points 0.25 nearly\n", None, WRONG, 0.25),
        (7, b"points 1 all of it\n", None, RIGHT, 1),
        (7, b"points 0\n", None, WRONG, 0),
        (7, b"points 5\n", 20.0, WRONG, 0.25),
        (7, b"points 20.0000000000\n", 20.0, RIGHT, 1),
        (7, b"points 0\n", 0.0, RIGHT, 1),
        (7, b"points 20.5\n", 20.0, FAULT, 0),
        (7, b"points 2\n", None, FAULT, 0),
        (7, b"points -1\n", None, FAULT, 0),
        (7, b"points nan\n", None, FAULT, 0),
        (7, b"points points_info=a\n", None, FAULT, 0),
        (7, b"", None, FAULT, 0),
        (30, b"partially correct (30) some\n", 20.0, WRONG, 0.3),
        (80, b"partially correct (30) some\n", None, WRONG, 0.3),
        (1, b"partially correct (1) little\n", None, WRONG, 0.01),
        (0, b"partially correct (0) nothing\n", None, WRONG, 0),
        (100, b"partially correct (100) all\n", None, RIGHT, 1),
        (150, b"partially correct (150) more\n", None, FAULT, 0),
        (30, b"partially correct (31) other\n", None, FAULT, 0),
        (5, b"", None, FAULT, 0),
        (42, b"", None, FAULT, 0),
        (255, b"", None, FAULT, 0),
    ],
)
def test_exit_codes_of_testlib(
    exit_code: int, said: bytes, points: float | None, expected: tuple[Status, Cause | None], fraction: float
) -> None:
    """A wrong answer says so, or nothing; all else is a fault of the checker, with its words."""
    judgement = judged_by_testlib(Answer(exit_code, b"", said, {}), points)

    assert (expected, fraction) == (decided(judgement), judgement.fraction)
    assert said.decode().strip() == judgement.checker_message


@pytest.mark.parametrize(
    ("exit_code", "score", "points", "expected", "fraction"),
    [
        (42, None, None, RIGHT, 1),
        (43, None, None, WRONG, 0),
        (42, b"0.25\n", None, RIGHT, 0.25),
        (42, b"5", 20.0, RIGHT, 0.25),
        (43, b"5", 20.0, WRONG, 0),
        (42, b"21", 20.0, FAULT, 0),
        (42, b"", None, FAULT, 0),
        (42, b"inf", None, FAULT, 0),
        (42, b"1_0", 20.0, FAULT, 0),
        (42, b"1" * 100_000, None, FAULT, 0),
        (0, None, None, FAULT, 0),
        (1, None, None, FAULT, 0),
        (44, None, None, FAULT, 0),
    ],
)
def test_exit_codes_of_kattis(
    exit_code: int,
    score: bytes | None,
    points: float | None,
    expected: tuple[Status, Cause | None],
    fraction: float,
) -> None:
    """42 and 43 alone say something about the output; a score that is none is a fault."""
    feedback = {"judgemessage.txt": b"for the judges\n"} | ({} if score is None else {"score.txt": score})
    judgement = judged_by_kattis(Answer(exit_code, b"", b"", feedback), points)

    assert (expected, fraction) == (decided(judgement), judgement.fraction)
    assert "for the judges" == judgement.checker_message


def test_messages_of_kattis_go_to_two_places() -> None:
    """The team's is apart; what a validator prints counts only when it failed."""
    feedback = {"judgemessage.txt": b"secret", "teammessage.txt": b"think again"}
    rejected = judged_by_kattis(Answer(43, b"printed", b"debug", feedback), None)
    failed = judged_by_kattis(Answer(9, b"printed", b"debug", feedback), None)

    assert ("secret", "think again") == (rejected.checker_message, rejected.team_message)
    assert ("secret\ndebug\nprinted", "") == (failed.checker_message, failed.team_message)


def test_messages_are_bounded_text() -> None:
    """Whatever bytes the checker wrote, and however many."""
    judgement = judged_by_testlib(Answer(0, b"", b"\xff" + "é".encode() * 1_000_000, {}), None)

    assert 4_096 == len(judgement.checker_message)
    assert judgement.checker_message.startswith("\ufffdé")
    assert judgement.checker_message.endswith("é…")
