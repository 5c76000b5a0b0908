"""The errors that are raised on purpose, each with what the daemon does about it."""

from dataclasses import dataclass, field
from enum import StrEnum


class VerdictdError(Exception):
    """Base of every error raised on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a submission."""

    path: str = field(metadata={"description": "JSON pointer; empty for the message as a whole."})
    message: str


class InvalidSubmission(VerdictdError):
    """The message can never be judged: answer it, then dead-letter it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path or '/'}: {problem.message}" for problem in problems))
        self.problems = problems


def file_error(error: OSError) -> str:
    """Return the reason of an error in plain words, with the file where it has one."""
    if error.errno is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror


class FaultKind(StrEnum):
    """The step at which the sandbox failed."""

    START = "start"
    """It could not be started."""
    DEADLINE = "deadline"
    """It did not end in time."""
    MANAGE = "manage"
    """It could not initialise or clean a box."""
    RUN = "run"
    """It could not run a program, or did not say how the program ended."""
    PROGRAM = "program"
    """It failed after a program had begun, which may have made it fail."""
    FILES = "files"
    """The files of a box could not be read or written."""
    DISK = "disk"
    """The disk was full for a while, through others."""
    SURVIVORS = "survivors"
    """Processes that it had started could not be killed."""


class SandboxBroken(VerdictdError):
    """The box cannot be trusted: recover it, and begin again in another; then requeue the message.

    Both happen a bounded number of times. `box_works`: the box has proved since then that programs run in it.
    `with_checker`: a program of the problem's author was in the box, not the one that was submitted.
    """

    def __init__(self, message: str, kind: FaultKind) -> None:
        super().__init__(message)
        self.kind = kind
        self.box_works = False
        self.with_checker = False


class SandboxUnusable(SandboxBroken):
    """This host cannot run any program, whatever was submitted: requeue the message, and do not count it."""


class DataUnavailable(VerdictdError):
    """Test data cannot be had now: requeue the message, a bounded number of times."""


class BrokerUnavailable(VerdictdError):
    """Nothing can be sent now: wait for the connection, then try again."""
