"""The result: the answer to one submission."""

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from verdictd.contract.submission import EffectiveLimits
from verdictd.contract.validation import Wire
from verdictd.errors import Problem

RESULT_TYPE = "verdictd.result.v1"


class Status(StrEnum):
    """Outcome of a submission."""

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
    SKIPPED = "skipped"
    """Of a test or a group, never of a submission."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


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
    Status.SKIPPED: 104,
    Status.CANCELLED: 105,
    Status.EXPIRED: 106,
    Status.SUPERSEDED: 107,
}
"""3 to 14 are Judge0's numbers; 101 and above are verdictd's own."""


class Cause(StrEnum):
    """The limit or event that decided the status."""

    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"
    FILE_SIZE = "file_size"
    DISK = "disk"
    SIGNAL = "signal"
    EXIT_CODE = "exit_code"
    COMPILE = "compile"
    CHECKER = "checker"
    EXEC = "exec"
    SANDBOX = "sandbox"
    DATA = "data"
    QUEUE = "queue"
    VALIDATION = "validation"


class Spread(Wire):
    """Variation of a figure over the runs."""

    min: float
    max: float
    mean: float
    standard_deviation: float = Field(description="Of the population: these runs only.")


class Runs(Wire):
    """Figures of repeated runs."""

    count: int
    time: Spread = Field(description="CPU time in seconds.")
    wall_time: Spread = Field(description="Elapsed time in seconds.")
    memory: Spread = Field(description="Peak memory in KiB.")
    near_limit: tuple[float, ...] = Field(
        description="CPU times of runs that took up to a tenth longer than the limit, and were made again; "
        "they do not count."
    )


class Noise(Wire):
    """Disturbance of the runs by others on the host, the worst of all runs: each a part, from 0 to 1."""

    cpu_pressure: float | None = Field(
        description="Of the time: some process of the host waited for a processor. Null if unknown."
    )
    throttled: float | None = Field(
        description="Of the periods of a quota of CPU time: the daemon's control group, or one above it, had "
        "used it up. Null without such a group."
    )
    steal: float | None = Field(
        description="Of the time of all processors: the hypervisor gave it to others. Null if unknown, and "
        "for runs of less than 0.1 s."
    )


class LanguageUsed(Wire):
    """The language that the submission was judged in."""

    name: str
    version: str | None = Field(description="Version of its compiler or interpreter; null if unknown.")


class WorkerIdentity(Wire):
    """The host, the box and the software that judged, to reproduce a verdict."""

    host: str
    box: int | None = Field(description="Number of the box; null if nothing was run.")
    sandbox: str
    sandbox_version: str
    verdictd: str = Field(description="Version of verdictd.")


Encoding = Literal["utf-8", "base64"]


class Identified(Wire):
    """Base of what has the id of a submission, before all its other fields."""

    id: str = Field(description="The id of the submission.")


class Named(Wire):
    """Base of what has a name, before all its other fields."""

    name: str = Field(
        description="Name of the test, the group or the file; the number of a test that has none, from 1; "
        "the pattern if no file matches it."
    )


class ReturnedFile(Named):
    """A file that the program left, for one of the names or patterns in `output_files`."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    content: str = Field(default="", description="Content of the file.")
    encoding: Encoding = Field(default="utf-8", description="base64 if the bytes are not UTF-8.")
    truncated: bool = Field(default=False, description="True if the end is missing.")
    problem: str | None = Field(
        default=None,
        description="Reason why there is no content: the file is missing, or not a regular file.",
    )


class Utterance(Wire):
    """Words of one of the two, up to the moment at which the other one said something."""

    speaker: Literal["program", "interactor"]
    text: str
    encoding: Encoding = Field(description="base64 if the bytes are not UTF-8.")


class Outcome(Wire):
    """The part of a result that a submission and each of its tests have."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Status = Field(description="Outcome of the submission, or of the test.")
    status_id: int = Field(description="Number of the status; 3 to 14 are those of Judge0.")
    message: str = Field(description="Explanation of the status, for a person.")
    cause: Cause | None = Field(
        default=None,
        description="The limit or event that decided the status; null if accepted, cancelled, expired or "
        "superseded.",
    )
    stdout: str = Field(default="", description="Standard output of the last run.")
    stdout_encoding: Encoding = Field(default="utf-8", description="base64 if the bytes are not UTF-8.")
    stdout_truncated: bool = Field(default=False, description="True if the end is missing.")
    stderr: str = Field(default="", description="Standard error of the last run.")
    stderr_encoding: Encoding = Field(default="utf-8", description="base64 if the bytes are not UTF-8.")
    stderr_truncated: bool = Field(default=False, description="True if the end is missing.")
    checker_message: str = Field(
        default="", description="Words of the checker program about the output, or about its own failure."
    )
    team_message: str = Field(
        default="", description="Words of a checker with Kattis' protocol that are meant for the team."
    )
    transcript: tuple[Utterance, ...] = Field(
        default=(), description="What program and interactor said in the last run, in order, if asked for."
    )
    transcript_truncated: bool = Field(default=False, description="True if the end is missing.")
    files: tuple[ReturnedFile, ...] = Field(
        default=(), description="Files of the last run that output_files asked for."
    )
    exit_code: int | None = Field(
        default=None, description="Exit code of the program; null if it was killed or did not run."
    )
    exit_signal: int | None = Field(
        default=None, description="Number of the signal that killed the program; null if none did."
    )
    time: float | None = Field(
        default=None, description="CPU time in seconds; the mean if there were several runs."
    )
    wall_time: float | None = Field(
        default=None, description="Elapsed time in seconds; the mean if there were several runs."
    )
    memory: int | None = Field(
        default=None, description="Peak memory in KiB; the mean if there were several runs."
    )
    runs: Runs | None = Field(
        default=None, description="Statistics of several runs; null after a single run."
    )
    noise: Noise | None = Field(
        default=None,
        description="How far the times can be trusted; null if nothing was run, or nothing is known.",
    )


class TestResult(Outcome, Named):
    """The outcome of one test."""

    __test__: ClassVar[bool] = False  # nothing that pytest could collect

    points: float | None = Field(default=None, description="Points; null if the test itself has none.")


class GroupResult(Named):
    """The outcome of one group of tests."""

    status: Status = Field(
        description="That of its first test that is not accepted; skipped if only skipped ones are not."
    )
    points: float | None = Field(description="Points; null if neither the group nor its tests have any.")
    max_points: float | None = Field(description="Points of a group that is full.")


class Result(Outcome, Identified):
    """The answer to one submission."""

    compile_output: str = Field(default="", description="Output of the compiler.")
    compile_output_encoding: Encoding = Field(
        default="utf-8", description="base64 if the bytes are not UTF-8."
    )
    compile_output_truncated: bool = Field(default=False, description="True if the end is missing.")
    compile_cached: bool = Field(
        default=False, description="True if the compiler ran for an equal program, at this moment or before."
    )
    tests: tuple[TestResult, ...] = Field(
        default=(), description="Outcome of each test, in order; empty if the submission has no tests."
    )
    groups: tuple[GroupResult, ...] = Field(default=(), description="Outcome of each group.")
    points: float | None = Field(default=None, description="Points of all tests; null if nothing has any.")
    max_points: float | None = Field(default=None, description="Points that can be had.")
    created_at: AwareDatetime | None = Field(
        default=None, description="Timestamp of the submission's message; null if it has none."
    )
    started_at: AwareDatetime = Field(description="Time at which judging began, in UTC.")
    finished_at: AwareDatetime = Field(description="Time at which the verdict was known, in UTC.")
    queue_time: float | None = Field(
        default=None, description="Seconds from created_at to started_at; null without created_at."
    )
    language: LanguageUsed | None = Field(
        default=None, description="Language that was used; null if nothing was judged."
    )
    limits: EffectiveLimits | None = Field(
        default=None, description="Limits that were in force; null if nothing was judged."
    )
    worker: WorkerIdentity = Field(description="The host, the box and the software that judged.")
    attempt: int = Field(default=1, description="Number of the delivery that this answers, from 1.")
    redelivered: bool = Field(default=False, description="True if the message was delivered before.")
    duplicate: bool = Field(
        default=False,
        description="True if this repeats the result of an earlier delivery of the same submission.",
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="The metadata of the submission, unchanged."
    )
    errors: tuple[Problem, ...] = Field(
        default=(), description="Everything that is wrong with the submission."
    )
