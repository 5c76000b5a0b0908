"""The answer of a checker about one output."""

from dataclasses import dataclass

from verdictd.contract.result import Cause, Status
from verdictd.judging.verdicts import Verdict, internal_error
from verdictd.sandbox.model import Report

_MESSAGE_CHARACTERS = 4_096


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of a checker about one output; the messages are bounded."""

    verdict: Verdict
    fraction: float = 0
    """Part of the points of a test: 1 for a correct output, 0 for a wrong one."""
    checker_message: str = ""
    team_message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the tested program; `judged`: the judgement on it, if it could not be run without one."""

    report: Report
    judged: Judgement | None = None


def accepted(message: str, said: bytes = b"", *, fraction: float = 1, to_team: bytes = b"") -> Judgement:
    """Return the judgement on a correct output."""
    return Judgement(Verdict(Status.ACCEPTED, None, message), fraction, words(said), words(to_team))


def wrong(message: str, said: bytes = b"", *, fraction: float = 0, to_team: bytes = b"") -> Judgement:
    """Return the judgement on a wrong output, which may have a part of the points."""
    decided = Verdict(Status.WRONG_ANSWER, Cause.OUTPUT, message)
    return Judgement(decided, fraction, words(said), words(to_team))


def fault(message: str, said: bytes = b"") -> Judgement:
    """Return the judgement of a checker that failed, which says nothing about the output."""
    return Judgement(internal_error(message, Cause.CHECKER), 0, words(said))


def words(said: bytes) -> str:
    """Return what a checker wrote as text, cut to a few thousand characters."""
    text = said[: 4 * _MESSAGE_CHARACTERS].decode(errors="replace").strip()
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[: _MESSAGE_CHARACTERS - 1]}…"
