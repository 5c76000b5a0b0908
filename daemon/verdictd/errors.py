"""The three failures that are ours, because there are three things to do about them."""

from dataclasses import dataclass


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


class SandboxBroken(VerdictdError):
    """This box cannot be trusted: retire it and requeue the message, a bounded number of times."""


class SandboxUnusable(SandboxBroken):
    """No program can be run on this host now, whatever it is: take no messages until that has changed."""


class BrokerUnavailable(VerdictdError):
    """Nothing can be sent now: wait for the connection, then try again."""
