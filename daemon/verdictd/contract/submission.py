"""The submission: one program to judge."""

import functools
import uuid
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, create_model, field_validator

from verdictd.contract.checker import LINES, Checker, decode_checker
from verdictd.contract.fields import (
    Content,
    check_bytes,
    check_metadata,
    check_url,
    decode_files,
    decode_words,
)
from verdictd.contract.limits import Bound, Limits
from verdictd.contract.validation import Received, Wire
from verdictd.files import File

SUBMISSION_TYPE = "verdictd.submission.v1"
ID_PATTERN = r"^[A-Za-z0-9._:\-]{1,128}$"
DEFAULT_LIMITS = Limits()


class Submission(Received):
    """A program to judge."""

    limits: ClassVar[Limits] = DEFAULT_LIMITS

    id: str = Field(
        default_factory=lambda: str(uuid.uuid4()),
        pattern=ID_PATTERN,
        description="Key chosen by the sender, echoed. Default: the AMQP message_id, or else a new UUID.",
    )
    language: str = Field(
        min_length=1, max_length=64, description="Name or alias of a configured language, in any case."
    )
    source_code: Content = Field(description="The program, as one source file: text, or its bytes in base64.")
    additional_files: tuple[File, ...] = Field(
        default=(), description="Files placed beside the source file: a list, or one ZIP archive in base64."
    )
    compiler_options: tuple[str, ...] = Field(
        default=(), description="Options for the compiler; each must be on the language's allow-list."
    )
    command_line_arguments: tuple[str, ...] = Field(
        default=(), description="Arguments of the program, passed without a shell."
    )
    stdin: Content = Field(default=b"", description="Standard input of the program.")
    expected_output: Content | None = Field(
        default=None,
        description="Output to compare with. Null: nothing is compared, and a normal exit is accepted.",
    )
    checker: Checker = Field(
        default=LINES, description="Rule by which the output is compared with the expected output."
    )
    cpu_time_limit: float = Field(
        default=DEFAULT_LIMITS.cpu_time_limit.default, description="CPU time of the program, in seconds."
    )
    cpu_extra_time: float = Field(
        default=DEFAULT_LIMITS.cpu_extra_time.default,
        description="Extra CPU time after the limit, before the program is killed, in seconds.",
    )
    wall_time_limit: float | None = Field(
        default=None,
        description="Elapsed time, in seconds. Default: 5, or three times the CPU limit if that is more.",
    )
    memory_limit: int = Field(
        default=DEFAULT_LIMITS.memory_limit.default,
        description="Memory of all processes together, in KiB.",
    )
    stack_limit: int = Field(
        default=DEFAULT_LIMITS.stack_limit.default, description="Stack of each process, in KiB."
    )
    max_processes_and_or_threads: int = Field(
        default=DEFAULT_LIMITS.max_processes_and_or_threads.default,
        description="Number of processes and threads at the same time.",
    )
    enable_per_process_and_thread_memory_limit: bool = Field(
        default=False,
        description="Limit the address space of each process instead of the memory of all processes.",
    )
    enable_per_process_and_thread_time_limit: bool = Field(
        default=False,
        description="Run without control groups; requires the flag for the memory limit as well.",
    )
    max_file_size: int = Field(
        default=DEFAULT_LIMITS.max_file_size.default,
        description="Size of each file that the program writes, in KiB.",
    )
    max_disk_usage: int = Field(
        default=DEFAULT_LIMITS.max_disk_usage.default,
        description="Size of all files that the program writes, /tmp and /dev/shm included, in KiB.",
    )
    max_output_size: int = Field(
        default=DEFAULT_LIMITS.max_output_size.default,
        description="Output on stdout, and on stderr, in KiB; more is output_limit_exceeded.",
    )
    redirect_stderr_to_stdout: bool = Field(
        default=False, description="Write standard error to standard output."
    )
    enable_network: bool = Field(
        default=False, description="Allow network access, if the operator permits it."
    )
    number_of_runs: int = Field(
        default=DEFAULT_LIMITS.number_of_runs.default,
        description="Number of runs; times and memory are the means of all runs.",
    )
    callback_url: str | None = Field(
        default=None,
        description="An http or https URL that the result is also posted to, if the operator permits it.",
    )
    metadata: dict[str, Any] | None = Field(default=None, description="Any JSON object; echoed unchanged.")

    @field_validator("source_code", "stdin", "expected_output")
    @classmethod
    def _content(cls, content: bytes | None, info: ValidationInfo) -> bytes | None:
        check_bytes(len(content or b""), getattr(cls.limits, f"{info.field_name}_bytes"))
        return content

    @field_validator("additional_files", mode="plain")
    @classmethod
    def _additional_files(cls, value: object) -> tuple[File, ...]:
        return decode_files(value, cls.limits)

    @field_validator("compiler_options", "command_line_arguments", mode="plain")
    @classmethod
    def _words(cls, value: object) -> tuple[str, ...]:
        return decode_words(value, cls.limits)

    @field_validator("checker", mode="plain")
    @classmethod
    def _checker(cls, value: object) -> Checker:
        return decode_checker(value, cls.limits)

    @field_validator("callback_url")
    @classmethod
    def _callback_url(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url, cls.limits.callback_url_length)

    @field_validator("metadata")
    @classmethod
    def _metadata(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if metadata is None else check_metadata(metadata, cls.limits.metadata_bytes)

    @field_validator("enable_per_process_and_thread_time_limit")
    @classmethod
    def _time_flag(cls, enabled: bool, info: ValidationInfo) -> bool:
        if enabled and info.data.get("enable_per_process_and_thread_memory_limit") is False:
            raise ValueError("requires enable_per_process_and_thread_memory_limit to be true as well")
        return enabled

    def effective_limits(self) -> "EffectiveLimits":
        """Return the limits in force, with defaults filled in."""
        wall_time_s = self.wall_time_limit
        if wall_time_s is None:
            bound = self.limits.wall_time_limit
            wall_time_s = min(max(bound.default, 3 * self.cpu_time_limit), bound.max)
        return EffectiveLimits(
            cpu_time_limit=self.cpu_time_limit,
            cpu_extra_time=self.cpu_extra_time,
            wall_time_limit=wall_time_s,
            memory_limit=self.memory_limit,
            stack_limit=self.stack_limit,
            max_processes_and_or_threads=self.max_processes_and_or_threads,
            enable_per_process_and_thread_memory_limit=self.enable_per_process_and_thread_memory_limit,
            enable_per_process_and_thread_time_limit=self.enable_per_process_and_thread_time_limit,
            max_file_size=self.max_file_size,
            max_disk_usage=self.max_disk_usage,
            max_output_size=self.max_output_size,
            enable_network=self.enable_network,
            number_of_runs=self.number_of_runs,
        )


@functools.lru_cache(maxsize=8)
def submission_model(limits: Limits) -> type[Submission]:
    """Return `Submission` with the defaults and bounds of these limits."""
    fields: dict[str, Any] = {}
    for name in Limits.model_fields:
        bound = getattr(limits, name)
        if not isinstance(bound, Bound):
            continue
        base = Submission.model_fields[name]
        optional = base.default is None
        kind: Any = Annotated[type(bound.default), Field(ge=bound.min, le=bound.max)]
        default = None if optional else bound.default
        fields[name] = (
            kind | None if optional else kind,
            Field(default=default, description=base.description),
        )
    model = create_model("Submission", __base__=Submission, __doc__=Submission.__doc__, **fields)
    model.limits = limits
    return model


class EffectiveLimits(Wire):
    """The limits that were in force, in the units of the submission."""

    cpu_time_limit: float
    cpu_extra_time: float
    wall_time_limit: float
    memory_limit: int
    stack_limit: int
    max_processes_and_or_threads: int
    enable_per_process_and_thread_memory_limit: bool
    enable_per_process_and_thread_time_limit: bool
    max_file_size: int
    max_disk_usage: int
    max_output_size: int
    enable_network: bool
    number_of_runs: int
