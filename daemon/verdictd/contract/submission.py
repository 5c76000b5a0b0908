"""The submission: one program to judge."""

import functools
import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, create_model, field_validator

from verdictd.contract.checker import LINES, Checker, Interactor, decode_checker, interactor_model
from verdictd.contract.content import Data, Reference
from verdictd.contract.fields import (
    Content,
    check_bytes,
    check_metadata,
    check_url,
    decode_files,
    decode_patterns,
    decode_time,
    decode_words,
)
from verdictd.contract.limits import Bound, Limits, bounded_fields
from verdictd.contract.tests import Group, RunLimits, Test, test_model
from verdictd.contract.validation import Received, Wire
from verdictd.files import File, check_name

SUBMISSION_TYPE = "verdictd.submission.v1"
ID_PATTERN = r"^[A-Za-z0-9._:\-]{1,128}$"
DEFAULT_LIMITS = Limits()


class ReturnOutput(StrEnum):
    """Tests whose output is in the result."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


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
    entry_point: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Additional file, or class in Java, that is run or compiled as the main one in place of "
        "source_code. Null: the source_code is.",
    )
    compiler_options: tuple[str, ...] = Field(
        default=(), description="Options for the compiler; each must be on the language's allow-list."
    )
    command_line_arguments: tuple[str, ...] = Field(
        default=(), description="Arguments of the program, passed without a shell."
    )
    stdin: Data = Field(default=b"", description="Standard input of the program.")
    expected_output: Data | None = Field(
        default=None,
        description="Output to compare with. Null: nothing is compared, and a normal exit is accepted.",
    )
    tests: tuple[Test, ...] | None = Field(
        default=None,
        description="Runs of the program, each with its own input, in place of stdin and expected_output.",
        json_schema_extra={"minItems": 1},
    )
    groups: tuple[Group, ...] = Field(
        default=(),
        description="Groups in which tests are scored. Default: those that tests name, each summed.",
    )
    stop_on_failure: bool | None = Field(
        default=None,
        description="True: skip all tests after one that failed. False: run all. "
        "Null: skip those that can change neither the status nor the points any more.",
    )
    return_output: Annotated[ReturnOutput, Field(strict=False)] | None = Field(
        default=None,
        description="Tests whose output is in the result. Default: all for one test, else failed.",
    )
    parallel_tests: int = Field(
        default=DEFAULT_LIMITS.parallel_tests.default,
        description="Number of boxes that it may use at once; others wait for none of them.",
    )
    checker: Checker = Field(
        default=LINES, description="Rule by which the output is compared with the expected output."
    )
    interactor: Interactor | None = Field(
        default=None,
        description="Program that talks to the tested one, in place of standard input and the checker.",
    )
    transcript: bool = Field(
        default=False, description="Return what the program and the interactor said to each other."
    )
    input_file: str | None = Field(
        default=None,
        description="Name of a file in the working directory that holds the input, in place of stdin.",
    )
    output_file: str | None = Field(
        default=None,
        description="Name of the file that is compared with the expected output, in place of stdout.",
    )
    output_files: tuple[str, ...] = Field(
        default=(),
        description="Files that are returned after the run: names, or patterns such as out/*.txt.",
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
    language_factors: bool = Field(
        default=True,
        description="Multiply the time limits by the factor of the language, and add the memory of its "
        "runtime to the memory limit, as far as the operator's bounds allow.",
    )
    number_of_runs: int = Field(
        default=DEFAULT_LIMITS.number_of_runs.default,
        description="Number of runs; times and memory are the means of all runs.",
    )
    supersede_key: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        description="Key of which the newest submission counts: older ones are answered with superseded.",
    )
    deadline: datetime | None = Field(
        default=None,
        description="Time by which a box must have been found for it; later it is answered with expired.",
    )
    callback_url: str | None = Field(
        default=None,
        description="An http or https URL that the result is also posted to, if the operator permits it.",
    )
    events: bool = Field(
        default=False, description="Tell of its progress while it is judged: publish events of it."
    )
    metadata: dict[str, Any] | None = Field(default=None, description="Any JSON object; echoed unchanged.")

    @field_validator("source_code", "stdin", "expected_output")
    @classmethod
    def _content(cls, content: bytes | Reference | None, info: ValidationInfo) -> bytes | Reference | None:
        if isinstance(content, bytes):
            check_bytes(len(content), getattr(cls.limits, f"{info.field_name}_bytes"))
        return content

    @field_validator("tests")
    @classmethod
    def _tests(cls, tests: tuple[Test, ...] | None) -> tuple[Test, ...] | None:
        if tests == ():
            raise ValueError("must have at least one test")
        return tests

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

    @field_validator("input_file", "output_file")
    @classmethod
    def _file_name(cls, name: str | None) -> str | None:
        return None if name is None else check_name(name)

    @field_validator("output_files", mode="plain")
    @classmethod
    def _output_files(cls, value: object) -> tuple[str, ...]:
        return decode_patterns(value, cls.limits.output_patterns)

    @field_validator("deadline", mode="plain")
    @classmethod
    def _deadline(cls, value: object) -> datetime:
        return decode_time(value)

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

    def references(self) -> dict[str, Reference]:
        """Return the test data that is given by reference, by the JSON pointer of its field."""
        fields = {"/stdin": self.stdin, "/expected_output": self.expected_output}
        for index, test in enumerate(self.tests or ()):
            fields[f"/tests/{index}/stdin"] = test.stdin
            fields[f"/tests/{index}/expected_output"] = test.expected_output
        return {
            path: data for path, data in fields.items() if data is not None and not isinstance(data, bytes)
        }

    def effective_limits(
        self, own: RunLimits | None = None, *, time_factor: float = 1, extra_memory_kib: int = 0
    ) -> "EffectiveLimits":
        """Return the limits in force, with defaults filled in, and with what the language adds to them.

        `own` are those of a test. They stay within the bounds.
        """
        if not self.language_factors:
            time_factor, extra_memory_kib = 1, 0
        bounds = self.limits
        limits = {name: getattr(self, name) for name in EffectiveLimits.model_fields}
        limits |= {} if own is None else own.model_dump(exclude_none=True)
        if limits["wall_time_limit"] is None:
            limits["wall_time_limit"] = max(bounds.wall_time_limit.default, 3 * limits["cpu_time_limit"])
        for name in ("cpu_time_limit", "wall_time_limit"):
            limits[name] = _scaled(limits[name], time_factor, getattr(bounds, name))
        limits["memory_limit"] = min(limits["memory_limit"] + extra_memory_kib, bounds.memory_limit.max)
        return EffectiveLimits(**limits)


def _scaled(limit_s: float, factor: float, bound: Bound[float]) -> float:
    return min(max(round(limit_s * factor, 6), bound.min), bound.max)


@functools.lru_cache(maxsize=8)
def submission_model(limits: Limits) -> type[Submission]:
    """Return `Submission` with the defaults and bounds of these limits."""
    test: Any = test_model(limits)
    tests = Annotated[tuple[test, ...], Field(strict=False, max_length=limits.tests)]
    groups = Annotated[tuple[Group, ...], Field(strict=False, max_length=limits.groups)]
    lists: dict[str, Any] = {"tests": tests | None, "groups": groups}
    fields = bounded_fields(Submission, limits)
    for name, kind in lists.items():
        base = Submission.model_fields[name]
        described = Field(
            default=base.default, description=base.description, json_schema_extra=base.json_schema_extra
        )
        fields[name] = (kind, described)
    interactor: Any = interactor_model(limits)
    described = Field(default=None, description=Submission.model_fields["interactor"].description)
    fields["interactor"] = (interactor | None, described)
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
