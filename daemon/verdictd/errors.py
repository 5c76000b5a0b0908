"""The three failures that are ours, because there are three things to do about them."""

from dataclasses import dataclass
from enum import StrEnum


class VerdictdError(Exception):
    """Base of every error raised on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a submission.

    `path` is a JSON pointer into the message's body, empty for the body as a whole.
    """

    path: str
    message: str


class InvalidSubmission(VerdictdError):
    """The message can never be judged: answer it, then dead-letter it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path or '/'}: {problem.message}" for problem in problems))
        self.problems = problems


class FaultKind(StrEnum):
    """In what the sandbox failed: to start, to end in time, to manage a box, to run a program and say how it
    ended, to let us at the files of a box, to end what it had started.
    """

    START = "start"
    DEADLINE = "deadline"
    MANAGE = "manage"
    RUN = "run"
    FILES = "files"
    SURVIVORS = "survivors"


class SandboxBroken(VerdictdError):
    """This box cannot be trusted: retire it and requeue the message, a bounded number of times."""

    def __init__(self, message: str, kind: FaultKind) -> None:
        super().__init__(message)
        self.kind = kind


class SandboxUnusable(SandboxBroken):
    """No program can be run on this host now, whatever it is: take no messages until that has changed."""


class BrokerUnavailable(VerdictdError):
    """Nothing can be sent now: wait for the connection, then try again."""
