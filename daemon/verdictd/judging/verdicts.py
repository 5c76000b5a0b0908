"""Pure: a report and an expected output become a status."""

import signal
from dataclasses import dataclass
from typing import Literal, assert_never

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.judging.checkers.comparison import same_output
from verdictd.sandbox.model import Ending, Report

_SIGNALS: dict[int, tuple[Status, Cause]] = {
    signal.SIGSEGV: (Status.RUNTIME_ERROR_SIGSEGV, Cause.SIGNAL),
    signal.SIGXFSZ: (Status.RUNTIME_ERROR_SIGXFSZ, Cause.FILE_SIZE),
    signal.SIGFPE: (Status.RUNTIME_ERROR_SIGFPE, Cause.SIGNAL),
    signal.SIGABRT: (Status.RUNTIME_ERROR_SIGABRT, Cause.SIGNAL),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, what decided it, and a sentence for a person."""

    status: Status
    cause: Cause | None
    message: str


INVALID = Verdict(Status.INVALID_SUBMISSION, Cause.VALIDATION, "The submission is invalid; see errors.")


def internal_error(message: str) -> Verdict:
    """The fault is ours, and says nothing about the program."""
    return Verdict(Status.INTERNAL_ERROR, Cause.SANDBOX, message)


def verdict(
    report: Report, limits: EffectiveLimits, expected_output: bytes | None, *, memory_floor_kib: int = 0
) -> Verdict:
    """What the run of a program means under these limits.

    A peak of memory up to `memory_floor_kib` says nothing about the program.
    """
    # Without control groups no one ends a program at its memory limit: the peak tells.
    if report.memory_kib > max(limits.memory_limit, memory_floor_kib):
        return _exceeded(Ending.OUT_OF_MEMORY, limits)
    match report.ending:
        case Ending.OUT_OF_MEMORY | Ending.OUTPUT | Ending.CPU_TIME | Ending.WALL_TIME:
            return _exceeded(report.ending, limits)
        case Ending.NOT_EXECUTED:
            return Verdict(Status.EXEC_FORMAT_ERROR, Cause.EXEC, "The program could not be executed.")
        case Ending.SIGNALLED:
            return _signalled(report.signal or 0)
        case Ending.EXITED:
            return _exited(report, expected_output)
        case _ as unreachable:
            assert_never(unreachable)


def _exceeded(
    ending: Literal[Ending.OUT_OF_MEMORY, Ending.OUTPUT, Ending.CPU_TIME, Ending.WALL_TIME],
    limits: EffectiveLimits,
) -> Verdict:
    match ending:
        case Ending.OUT_OF_MEMORY:
            status, cause = Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY
            bound = f"{limits.memory_limit} KiB of memory"
        case Ending.OUTPUT:
            status, cause = Status.OUTPUT_LIMIT_EXCEEDED, Cause.OUTPUT
            bound = f"{limits.max_output_size} KiB of output"
        case Ending.CPU_TIME:
            status, cause = Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME
            bound = f"{limits.cpu_time_limit:g} s of CPU time"
        case Ending.WALL_TIME:
            status, cause = Status.TIME_LIMIT_EXCEEDED, Cause.WALL_TIME
            bound = f"{limits.wall_time_limit:g} s of wall time"
        case _ as unreachable:
            assert_never(unreachable)
    return Verdict(status, cause, f"Used more than {bound}.")


def _exited(report: Report, expected_output: bytes | None) -> Verdict:
    if report.exit_code != 0:
        return Verdict(Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, f"Exited with code {report.exit_code}.")
    if expected_output is None:
        return Verdict(Status.ACCEPTED, None, "Ended well; no output was asked for.")
    if same_output(report.stdout.data, expected_output):
        return Verdict(Status.ACCEPTED, None, "The output is as expected.")
    return Verdict(Status.WRONG_ANSWER, None, "The output differs from the expected one.")


def _signalled(number: int) -> Verdict:
    status, cause = _SIGNALS.get(number, (Status.RUNTIME_ERROR_OTHER, Cause.SIGNAL))
    description = signal.strsignal(number) or "unknown"
    return Verdict(status, cause, f"Killed by signal {number} ({description}).")
