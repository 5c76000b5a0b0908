"""Turn the report of a run into a verdict: pure functions."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.sandbox.model import DISK_FILES, Ending, Report

_LAST_WORDS_BYTES = 65_536  # a Java stack trace of 1,024 frames follows its message

_SIGNALS: dict[int, tuple[Status, Cause]] = {
    signal.SIGSEGV: (Status.RUNTIME_ERROR_SIGSEGV, Cause.SIGNAL),
    signal.SIGXFSZ: (Status.RUNTIME_ERROR_SIGXFSZ, Cause.FILE_SIZE),
    signal.SIGFPE: (Status.RUNTIME_ERROR_SIGFPE, Cause.SIGNAL),
    signal.SIGABRT: (Status.RUNTIME_ERROR_SIGABRT, Cause.SIGNAL),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, the limit or event that decided it, and a sentence for a person."""

    status: Status
    cause: Cause | None
    message: str


CANCELLED = Verdict(Status.CANCELLED, None, "Cancelled by request.")
INVALID = Verdict(Status.INVALID_SUBMISSION, Cause.VALIDATION, "The submission is invalid; see errors.")


def internal_error(message: str, cause: Cause = Cause.SANDBOX) -> Verdict:
    """Return the verdict for a failure of the judge, which says nothing about the program."""
    return Verdict(Status.INTERNAL_ERROR, cause, message)


def expired(deadline: datetime) -> Verdict:
    """Return the verdict for a submission that no box was found for in time."""
    return Verdict(Status.EXPIRED, None, f"Not begun by its deadline, {deadline.isoformat()}.")


def superseded(successor_id: str) -> Verdict:
    """Return the verdict for a submission that gave way to another one."""
    message = f"Superseded by the submission {successor_id}, which has the same supersede_key."
    return Verdict(Status.SUPERSEDED, None, message)


def verdict(
    report: Report,
    limits: EffectiveLimits,
    *,
    memory_floor_kib: int = 0,
    out_of_memory: Sequence[re.Pattern[str]] = (),
) -> Verdict:
    """Return the verdict of one run under these limits: accepted if it ended well, whatever it printed.

    A peak of memory up to `memory_floor_kib` says nothing about the program. `out_of_memory`: messages with
    which its runtime ends when it gets no more memory.
    """
    # Without control groups a program is not killed at its memory limit: its peak decides.
    if report.memory_kib > max(limits.memory_limit, memory_floor_kib):
        return _exceeded(Ending.OUT_OF_MEMORY, limits)
    match report.ending:
        case Ending.OUT_OF_MEMORY | Ending.OUTPUT | Ending.DISK | Ending.CPU_TIME | Ending.WALL_TIME:
            return _exceeded(report.ending, limits)
        case Ending.STOPPED if report.cpu_time_s > limits.cpu_time_limit:
            return _exceeded(Ending.CPU_TIME, limits)
        case Ending.STOPPED:
            return Verdict(Status.ACCEPTED, None, "Was ended, since nothing depended on it any more.")
        case Ending.NOT_EXECUTED:
            return Verdict(Status.EXEC_FORMAT_ERROR, Cause.EXEC, "The program could not be executed.")
        case Ending.SIGNALLED | Ending.EXITED if _says_out_of_memory(report, out_of_memory):
            message = f"Failed for lack of memory under a limit of {limits.memory_limit} KiB; see stderr."
            return Verdict(Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY, message)
        case Ending.SIGNALLED:
            return _signalled(report.signal or 0)
        case Ending.EXITED:
            return _exited(report, limits)
        case _ as unreachable:
            assert_never(unreachable)


def output_exceeded(limits: EffectiveLimits) -> Verdict:
    """Return the verdict on a program that wrote too much."""
    return _exceeded(Ending.OUTPUT, limits)


def _exceeded(
    ending: Literal[Ending.OUT_OF_MEMORY, Ending.OUTPUT, Ending.DISK, Ending.CPU_TIME, Ending.WALL_TIME],
    limits: EffectiveLimits,
) -> Verdict:
    match ending:
        case Ending.OUT_OF_MEMORY:
            status, cause = Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY
            message = f"Used more than {limits.memory_limit} KiB of memory."
        case Ending.OUTPUT:
            status, cause = Status.OUTPUT_LIMIT_EXCEEDED, Cause.OUTPUT
            message = f"Wrote more than {limits.max_output_size} KiB of output."
        case Ending.DISK:
            status, cause = Status.OUTPUT_LIMIT_EXCEEDED, Cause.DISK
            message = f"Wrote more than {limits.max_disk_usage} KiB, or more than {DISK_FILES} files."
        case Ending.CPU_TIME:
            status, cause = Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME
            message = f"Used more than {limits.cpu_time_limit:g} s of CPU time."
        case Ending.WALL_TIME:
            status, cause = Status.TIME_LIMIT_EXCEEDED, Cause.WALL_TIME
            message = f"Took longer than {limits.wall_time_limit:g} s (wall time)."
        case _ as unreachable:
            assert_never(unreachable)
    return Verdict(status, cause, message)


def _says_out_of_memory(report: Report, messages: Sequence[re.Pattern[str]]) -> bool:
    """Return whether a failed program's last words are those of a runtime that gets no more memory.

    A program can print them too, but then it fails in any case.
    """
    if report.exit_code == 0 or report.signal not in {None, signal.SIGABRT}:
        return False
    stream = report.stderr.data or report.stdout.data  # they may be one
    text = stream[-_LAST_WORDS_BYTES:].decode(errors="replace")
    return any(message.search(text) for message in messages)


def _exited(report: Report, limits: EffectiveLimits) -> Verdict:
    if report.exit_code != 0:
        message = f"Exited with code {report.exit_code} instead of 0."
        return Verdict(Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, message)
    if report.output_file is not None and report.output_file.truncated:
        return _exceeded(Ending.OUTPUT, limits)
    message = "Exited normally; there was no expected output to compare with."
    return Verdict(Status.ACCEPTED, None, message)


def _signalled(number: int) -> Verdict:
    status, cause = _SIGNALS.get(number, (Status.RUNTIME_ERROR_OTHER, Cause.SIGNAL))
    description = signal.strsignal(number) or "unknown"
    return Verdict(status, cause, f"Killed by signal {number} ({description}).")
