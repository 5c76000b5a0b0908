"""The result: the answer to one submission, as it crosses the wire."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from verdictd.contract.fields import Wire
from verdictd.contract.submission import EffectiveLimits

RESULT_TYPE = "verdictd.result.v1"


class Status(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    TIME_LIMIT_EXCEEDED = "time_limit_exceeded"
    MEMORY_LIMIT_EXCEEDED = "memory_limit_exceeded"
    OUTPUT_LIMIT_EXCEEDED = "output_limit_exceeded"
    COMPILATION_ERROR = "compilation_error"
    RUNTIME_ERROR_SIGSEGV = "runtime_error_sigsegv"
    RUNTIME_ERROR_SIGXFSZ = "runtime_error_sigxfsz"
    RUNTIME_ERROR_SIGFPE = "runtime_error_sigfpe"
    RUNTIME_ERROR_SIGABRT = "runtime_error_sigabrt"
    RUNTIME_ERROR_NZEC = "runtime_error_nzec"
    RUNTIME_ERROR_OTHER = "runtime_error_other"
    EXEC_FORMAT_ERROR = "exec_format_error"
    INTERNAL_ERROR = "internal_error"
    INVALID_SUBMISSION = "invalid_submission"


STATUS_IDS = {
    Status.ACCEPTED: 3,
    Status.WRONG_ANSWER: 4,
    Status.TIME_LIMIT_EXCEEDED: 5,
    Status.COMPILATION_ERROR: 6,
    Status.RUNTIME_ERROR_SIGSEGV: 7,
    Status.RUNTIME_ERROR_SIGXFSZ: 8,
    Status.RUNTIME_ERROR_SIGFPE: 9,
    Status.RUNTIME_ERROR_SIGABRT: 10,
    Status.RUNTIME_ERROR_NZEC: 11,
    Status.RUNTIME_ERROR_OTHER: 12,
    Status.INTERNAL_ERROR: 13,
    Status.EXEC_FORMAT_ERROR: 14,
    Status.MEMORY_LIMIT_EXCEEDED: 101,
    Status.OUTPUT_LIMIT_EXCEEDED: 102,
    Status.INVALID_SUBMISSION: 103,
}
"""3 to 14 are Judge0's numbers, ours start at 101."""


class Cause(StrEnum):
    """Which limit or event decided."""

    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"
    FILE_SIZE = "file_size"
    SIGNAL = "signal"
    EXIT_CODE = "exit_code"
    COMPILE = "compile"
    EXEC = "exec"
    SANDBOX = "sandbox"
    VALIDATION = "validation"


class Spread(Wire):
    """How a figure varied over the runs."""

    min: float
    max: float
    mean: float
    standard_deviation: float = Field(description="Of these runs, not an estimate for others.")


class Runs(Wire):
    """The figures of repeated runs."""

    count: int
    time: Spread = Field(description="CPU time in seconds.")
    wall_time: Spread = Field(description="Seconds.")
    memory: Spread = Field(description="Peak in KiB.")


class LanguageUsed(Wire):
    """The language that judged."""

    name: str
    version: str | None = Field(description="Of its compiler or interpreter; null where it does not say.")


class WorkerIdentity(Wire):
    """Who judged: evidence for whoever doubts a verdict."""

    host: str
    box: int | None = Field(description="Null where nothing ran.")
    sandbox: str
    sandbox_version: str
    verdictd: str = Field(description="Version.")


class ErrorDetail(Wire):
    """One thing wrong with a submission."""

    path: str = Field(description="JSON pointer; empty for the message as a whole.")
    message: str


Encoding = Literal["utf-8", "base64"]


class Result(Wire):
    """The answer to one submission."""

    id: str = Field(description="Of the submission.")
    status: Status = Field(description="What became of the submission.")
    status_id: int = Field(description="The number of the status; 3 to 14 are those of Judge0.")
    message: str = Field(description="For a person.")
    cause: Cause | None = Field(
        default=None, description="Which limit or event decided; null where the output did."
    )
    stdout: str = Field(default="", description="Output of the last run.")
    stdout_encoding: Encoding = Field(default="utf-8", description="base64 where the bytes are no UTF-8.")
    stdout_truncated: bool = Field(default=False, description="Whether the end is missing.")
    stderr: str = Field(default="", description="Errors of the last run.")
    stderr_encoding: Encoding = Field(default="utf-8", description="base64 where the bytes are no UTF-8.")
    stderr_truncated: bool = Field(default=False, description="Whether the end is missing.")
    compile_output: str = Field(default="", description="What the compiler said.")
    compile_output_encoding: Encoding = Field(
        default="utf-8", description="base64 where the bytes are no UTF-8."
    )
    compile_output_truncated: bool = Field(default=False, description="Whether the end is missing.")
    exit_code: int | None = Field(default=None, description="Null where the program was killed or never ran.")
    exit_signal: int | None = Field(default=None, description="Number of the signal that ended the program.")
    time: float | None = Field(default=None, description="CPU time in seconds; the mean of several runs.")
    wall_time: float | None = Field(default=None, description="Seconds; the mean of several runs.")
    memory: int | None = Field(default=None, description="Peak in KiB; the mean of several runs.")
    runs: Runs | None = Field(default=None, description="Null for a single run.")
    created_at: AwareDatetime | None = Field(
        default=None, description="The timestamp of the message; null where it has none."
    )
    started_at: AwareDatetime = Field(description="When it had a box, in UTC.")
    finished_at: AwareDatetime = Field(description="When the verdict was known, in UTC.")
    queue_time: float | None = Field(default=None, description="Seconds from created_at to started_at.")
    language: LanguageUsed | None = Field(default=None, description="Null where nothing was judged.")
    limits: EffectiveLimits | None = Field(default=None, description="Null where nothing was judged.")
    worker: WorkerIdentity = Field(description="Who judged, and with what.")
    attempt: int = Field(default=1, description="Which delivery of the message this answers, from 1.")
    redelivered: bool = Field(default=False, description="Whether the message was delivered before.")
    duplicate: bool = Field(
        default=False, description="Whether this repeats the result of a submission that came before."
    )
    metadata: dict[str, Any] | None = Field(default=None, description="As it was sent.")
    errors: tuple[ErrorDetail, ...] = Field(default=(), description="What is wrong with the submission.")
