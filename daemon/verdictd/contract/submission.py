"""The submission: one program to judge, as it crosses the wire."""

import functools
import uuid
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, create_model, field_validator

from verdictd.contract.fields import (
    Content,
    Wire,
    check_bytes,
    check_metadata,
    check_url,
    decode_files,
    decode_words,
)
from verdictd.contract.limits import Limits, Number, Whole
from verdictd.files import File

SUBMISSION_TYPE = "verdictd.submission.v1"
ID_PATTERN = r"^[A-Za-z0-9._:\-]{1,128}$"


class Submission(Wire):
    """A program to judge."""

    limits: ClassVar[Limits] = Limits()

    id: str = Field(
        default_factory=lambda: str(uuid.uuid4()),
        pattern=ID_PATTERN,
        description="The sender's key, echoed. Default: the AMQP message_id, else a new UUID.",
    )
    language: str = Field(min_length=1, max_length=64, description="Name or alias of a configured language.")
    source_code: str = Field(description="The program, one source file.")
    additional_files: tuple[File, ...] = Field(
        default=(), description="Files placed beside the source: a list, or one ZIP archive in base64."
    )
    compiler_options: tuple[str, ...] = Field(
        default=(), description="Words, checked against the language's allow-list."
    )
    command_line_arguments: tuple[str, ...] = Field(
        default=(), description="Words, as the program gets them; no shell sees them."
    )
    stdin: Content = Field(default=b"", description="Input of the program.")
    expected_output: Content | None = Field(
        default=None, description="Null: nothing is compared, a clean run is accepted."
    )
    cpu_time_limit: float = Field(default=2, description="CPU time of the program, in seconds.")
    cpu_extra_time: float = Field(
        default=0.5, description="CPU time beyond the limit before the program is killed, in seconds."
    )
    wall_time_limit: float | None = Field(
        default=None,
        description="Time that passes, in seconds. Default: 5, or three times the CPU limit if that is more.",
    )
    memory_limit: int = Field(
        default=262_144, description="Memory of all processes together where control groups are used, in KiB."
    )
    stack_limit: int = Field(default=65_536, description="Stack of each process, in KiB.")
    max_processes_and_or_threads: int = Field(default=60, description="Processes and threads at once.")
    enable_per_process_and_thread_memory_limit: bool = Field(
        default=False, description="Limit the address space of each process instead of the memory of all."
    )
    enable_per_process_and_thread_time_limit: bool = Field(
        default=False,
        description="Needs the memory flag too: with both, the box runs without control groups.",
    )
    max_file_size: int = Field(default=16_384, description="Size of each file that is written, in KiB.")
    max_output_size: int = Field(
        default=4_096, description="Bytes on stdout, and on stderr, in KiB; more is output_limit_exceeded."
    )
    redirect_stderr_to_stdout: bool = Field(default=False, description="Errors go where the output goes.")
    enable_network: bool = Field(default=False, description="Only where the operator allows it.")
    number_of_runs: int = Field(
        default=1, description="Runs of the program; times and memory are averaged over them."
    )
    callback_url: str | None = Field(
        default=None,
        description="An http or https URL: the result is posted there too, where the operator allows it.",
    )
    metadata: dict[str, Any] | None = Field(default=None, description="Echoed unchanged.")

    @field_validator("source_code")
    @classmethod
    def _source_code(cls, source: str) -> str:
        check_bytes(len(source.encode()), cls.limits.source_code_bytes)
        return source

    @field_validator("stdin", "expected_output")
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
            raise ValueError("needs enable_per_process_and_thread_memory_limit too")
        return enabled

    def effective_limits(self) -> "EffectiveLimits":
        """The limits in force, defaults filled in."""
        wall_time = self.wall_time_limit
        if wall_time is None:
            bound = self.limits.wall_time_limit
            wall_time = min(max(bound.default, 3 * self.cpu_time_limit), bound.max)
        given = {name: getattr(self, name) for name in EffectiveLimits.model_fields}
        return EffectiveLimits(**(given | {"wall_time_limit": wall_time}))


@functools.lru_cache(maxsize=8)
def submission_model(limits: Limits) -> type[Submission]:
    """`Submission` with the defaults and bounds of these limits."""
    fields: dict[str, Any] = {}
    for name in Limits.model_fields:
        bound = getattr(limits, name)
        if not isinstance(bound, (Number, Whole)):
            continue
        base = Submission.model_fields[name]
        default = None if base.default is None else bound.default
        kind: Any = Annotated[int if isinstance(bound, Whole) else float, Field(ge=bound.min, le=bound.max)]
        annotation = kind | None if base.default is None else kind
        fields[name] = (annotation, Field(default=default, description=base.description))
    model = create_model("Submission", __base__=Submission, __doc__=Submission.__doc__, **fields)
    model.limits = limits
    return model


class EffectiveLimits(Wire):
    """The limits that were in force; seconds and KiB as in the submission."""

    cpu_time_limit: float
    cpu_extra_time: float
    wall_time_limit: float
    memory_limit: int
    stack_limit: int
    max_processes_and_or_threads: int
    enable_per_process_and_thread_memory_limit: bool
    enable_per_process_and_thread_time_limit: bool
    max_file_size: int
    max_output_size: int
    enable_network: bool
    number_of_runs: int
