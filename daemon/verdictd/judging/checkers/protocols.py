"""Protocols of checkers and interactors: what their exit codes, words and files mean. Pure functions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from verdictd.judging.checkers.judgement import Judgement, accepted, fault, wrong

By = Literal["checker", "interactor"]
"""Kinds of such programs."""
FEEDBACK = ("judgemessage.txt", "teammessage.txt", "score.txt")
"""Files that Kattis' protocol reads from the feedback directory."""
_NUMBER = re.compile(rb"[0-9]{1,20}(\.[0-9]{0,30})?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)

_OK, _FAIL, _POINTS = 0, 3, 7
_WRONG = {1, 2, 4, 8}
"""Wrong answer, wrong format, more output than expected, less output than expected."""
_SAYS_WRONG = re.compile(rb"\s*$|wrong answer|wrong output format|unexpected eof")
_PARTIAL_BASES = (0, 50)
"""quitf(_pc(n), ...) exits with n, or with 50 + n if it was compiled for a certain contest system."""
_PARTIAL = re.compile(rb"partially correct \(([0-9]{1,3})\)")
_GIVEN = re.compile(rb"points (\S+)")

KATTIS_ACCEPTED, _KATTIS_WRONG = 42, 43


@dataclass(frozen=True, slots=True)
class Answer:
    """The traces of such a program: exit code, streams, and files in the feedback directory."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    feedback: Mapping[str, bytes]
    by: By = "checker"

    @property
    def accepted(self) -> str:
        """Return the message for a correct output."""
        return f"The {self.by} accepted the output."

    @property
    def rejected(self) -> str:
        """Return the message for a wrong one."""
        return f"The {self.by} rejected the output."

    @property
    def written(self) -> bytes:
        """Return what it wrote for the author of the problem."""
        return b"\n".join(filter(None, (self.feedback.get(FEEDBACK[0]), self.stderr, self.stdout)))


def judged_by_testlib(answer: Answer, points: float | None) -> Judgement:
    """Return the judgement of a program that was made with testlib.h, or behaves as one.

    `points`: those of the test, of which quitp() gives some; None: it gives a part of 1.
    """
    said, code = answer.stderr, answer.exit_code
    partial = _PARTIAL.match(said)
    if partial and code in {base + int(partial[1]) for base in _PARTIAL_BASES}:
        return _partial(answer, partial[1], 100)
    if code == _POINTS:
        given = _GIVEN.match(said)
        return _partial(answer, given[1] if given else b"", points)
    if code == _OK:
        return accepted(answer.accepted, said)
    if code in _WRONG:
        # Runtimes of many languages exit with 1 or 2 after an error of the checker itself, and say so.
        return wrong(answer.rejected, said) if _SAYS_WRONG.match(said) else _crashed(answer)
    if code == _FAIL:
        return fault(f"The {answer.by} failed, and blames the problem or itself.", answer.written)
    return _unknown(answer)


def may_accept_by_testlib(exit_code: int | None, said: bytes) -> bool:
    """Return True unless the output gets no points."""
    return exit_code in {_OK, _POINTS} or _PARTIAL.match(said) is not None


def judged_by_kattis(answer: Answer, points: float | None) -> Judgement:
    """Return the judgement of an output validator of Kattis.

    `points`: those of the test, of which score.txt gives some; None: it gives a part of 1.
    """
    said, to_team = (answer.feedback.get(name, b"") for name in FEEDBACK[:2])
    if answer.exit_code == _KATTIS_WRONG:
        return wrong(answer.rejected, said, to_team=to_team)
    if answer.exit_code != KATTIS_ACCEPTED:
        return _unknown(answer)
    score = answer.feedback.get(FEEDBACK[2])
    fraction = 1.0 if score is None else _fraction(score.strip(), points)
    if fraction is None:
        return _unusable(answer, score or b"", points)
    return accepted(answer.accepted, said, fraction=fraction, to_team=to_team)


def _partial(answer: Answer, given: bytes, points: float | None) -> Judgement:
    """Return the judgement of testlib.h on an output that gets a part of the points: all is accepted."""
    fraction = _fraction(given, points)
    if fraction is None:
        return _unusable(answer, given, points)
    if fraction == 1:
        return accepted(answer.accepted, answer.stderr)
    return wrong(f"The {answer.by} gave {fraction:.4g} of the points.", answer.stderr, fraction=fraction)


def _fraction(given: bytes, points: float | None) -> float | None:
    """Return the part of the points that a number means, or None if it is not one from 0 to all of them."""
    most = 1.0 if points is None else points
    if not _NUMBER.fullmatch(given) or float(given) > most:
        return None
    return float(given) / most if most else 1.0


def _unusable(answer: Answer, given: bytes, points: float | None) -> Judgement:
    shown = given[:40].decode(errors="replace")
    most = 1.0 if points is None else points
    return fault(
        f"The {answer.by} failed: it gave {shown!r} points, which is not 0 to {most:g}.", answer.written
    )


def _crashed(answer: Answer) -> Judgement:
    return fault(
        f"The {answer.by} failed: it exited with code {answer.exit_code}, but its standard error does not "
        'begin with "wrong answer" or "wrong output format".',
        answer.written,
    )


def _unknown(answer: Answer) -> Judgement:
    return fault(f"The {answer.by} failed: its protocol has no exit code {answer.exit_code}.", answer.written)
