"""Default and bounds of each field of a submission, set by the operator."""

from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from verdictd.contract.validation import Frozen

KIB = 1024
MIB = 1024 * KIB
_BROKER_MAX_BYTES = 512 * MIB  # RabbitMQ refuses larger messages, whatever its configuration

T = TypeVar("T", int, float)


class Bound(Frozen, Generic[T]):
    """Default, least and largest value of a field, in the unit of that field."""

    default: T
    min: T
    max: T

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        least = 1 if isinstance(self.min, int) else 0
        if not least <= self.min <= self.default <= self.max:
            given = f"min = {self.min}, default = {self.default}, max = {self.max}"
            raise ValueError(f"must satisfy {least} <= min <= default <= max, got {given}")
        return self


class Limits(Frozen):
    """Defaults and bounds of a submission's fields; a limit has the name and the unit of its field."""

    cpu_time_limit: Bound[float] = Bound[float](default=2, min=0.01, max=60)
    cpu_extra_time: Bound[float] = Bound[float](default=0.5, min=0, max=10)
    wall_time_limit: Bound[float] = Bound[float](default=5, min=0.1, max=300)
    """A submission without this limit gets `default`, or three times its CPU time limit if that is more."""
    memory_limit: Bound[int] = Bound[int](default=262_144, min=2_048, max=4_194_304)
    stack_limit: Bound[int] = Bound[int](default=65_536, min=64, max=1_048_576)
    max_processes_and_or_threads: Bound[int] = Bound[int](default=60, min=1, max=512)
    max_file_size: Bound[int] = Bound[int](default=16_384, min=1, max=1_048_576)
    max_disk_usage: Bound[int] = Bound[int](default=262_144, min=1, max=4_194_304)
    max_output_size: Bound[int] = Bound[int](default=4_096, min=1, max=65_536)
    number_of_runs: Bound[int] = Bound[int](default=1, min=1, max=20)
    parallel_tests: Bound[int] = Bound[int](default=1, min=1, max=16)

    message_bytes: int = Field(default=16 * MIB, ge=KIB, le=_BROKER_MAX_BYTES)
    """RabbitMQ 4 refuses messages above 16 MiB unless configured otherwise."""
    source_code_bytes: int = Field(default=MIB, ge=1)
    additional_files: int = Field(default=64, ge=0)
    additional_files_bytes: int = Field(default=10 * MIB, ge=0)
    words: int = Field(default=64, ge=0)
    """Largest number of words in `compiler_options`, and in `command_line_arguments`."""
    words_bytes: int = Field(default=4 * KIB, ge=0)
    stdin_bytes: int = Field(default=16 * MIB, ge=0)
    expected_output_bytes: int = Field(default=16 * MIB, ge=0)
    tests: int = Field(default=1_000, ge=1)
    groups: int = Field(default=100, ge=0)
    output_patterns: int = Field(default=16, ge=0)
    """Largest number of names and patterns in `output_files`."""
    output_files: int = Field(default=64, ge=0)
    """Files that a result can have."""
    output_files_bytes: int = Field(default=4 * MIB, ge=0)
    metadata_bytes: int = Field(default=16 * KIB, ge=0)
    """Size as JSON without white space."""
    callback_url_length: int = Field(default=2_048, ge=0)
    result_bytes: int = Field(default=15 * MIB, ge=256 * KIB, le=_BROKER_MAX_BYTES)
    """A result is cut to this size, for the same reason."""

    @field_validator("*", mode="before")
    @classmethod
    def _complete(cls, value: object, info: ValidationInfo) -> object:
        """Complete a table that gives only some of default, min and max."""
        default: Any = cls.model_fields[info.field_name or ""].default
        if isinstance(default, Bound) and isinstance(value, dict):
            return default.model_dump() | value
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metadata_bytes > self.result_bytes // 2:
            raise ValueError("metadata_bytes must be at most half of result_bytes, or a result may not fit")
        return self


def bounded_fields(base: type[BaseModel], limits: Limits) -> dict[str, Any]:
    """Return the fields of `base` that the operator bounds, with these bounds, for pydantic's `create_model`.

    A default of None stays.
    """
    fields: dict[str, Any] = {}
    for name, field in base.model_fields.items():
        bound = getattr(limits, name, None)
        if isinstance(bound, Bound):
            kind: Any = Annotated[type(bound.default), Field(ge=bound.min, le=bound.max)]
            optional = field.default is None
            default = Field(default=None if optional else bound.default, description=field.description)
            fields[name] = (kind | None if optional else kind, default)
    return fields
