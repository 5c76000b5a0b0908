"""What a submission may ask for: the default and the bounds of each field, set by the operator."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

KIB = 1024
MIB = 1024 * KIB
_BROKER_MAX_BYTES = 512 * MIB  # RabbitMQ takes no larger message, however it is configured


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Number(_Frozen):
    """A bounded number with a default, in the unit of the field it belongs to."""

    default: float
    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.min <= self.default <= self.max:
            raise ValueError(f"needs 0 <= min <= default <= max, got {self.min}, {self.default}, {self.max}")
        return self


class Whole(_Frozen):
    """A bounded whole number with a default, in the unit of the field it belongs to."""

    default: int
    min: int
    max: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 1 <= self.min <= self.default <= self.max:
            raise ValueError(f"needs 1 <= min <= default <= max, got {self.min}, {self.default}, {self.max}")
        return self


class Limits(_Frozen):
    """Defaults and bounds of a submission's fields; fields named alike have the same unit."""

    cpu_time_limit: Number = Number(default=2, min=0.01, max=60)
    cpu_extra_time: Number = Number(default=0.5, min=0, max=10)
    wall_time_limit: Number = Number(default=5, min=0.1, max=300)
    """`default` is the least: a submission that gives none has three times its CPU limit, if that is more."""
    memory_limit: Whole = Whole(default=262_144, min=2_048, max=4_194_304)
    stack_limit: Whole = Whole(default=65_536, min=64, max=1_048_576)
    max_processes_and_or_threads: Whole = Whole(default=60, min=1, max=512)
    max_file_size: Whole = Whole(default=16_384, min=1, max=1_048_576)
    max_output_size: Whole = Whole(default=4_096, min=1, max=65_536)
    number_of_runs: Whole = Whole(default=1, min=1, max=20)

    message_bytes: int = Field(default=64 * MIB, ge=KIB, le=_BROKER_MAX_BYTES)
    source_code_bytes: int = Field(default=MIB, ge=1)
    additional_files: int = Field(default=64, ge=0)
    additional_files_bytes: int = Field(default=10 * MIB, ge=0)
    words: int = Field(default=64, ge=0)
    """Of `compiler_options` and of `command_line_arguments`."""
    words_bytes: int = Field(default=4 * KIB, ge=0)
    stdin_bytes: int = Field(default=16 * MIB, ge=0)
    expected_output_bytes: int = Field(default=16 * MIB, ge=0)
    metadata_bytes: int = Field(default=16 * KIB, ge=0)
    """Of its JSON without white space."""
    callback_url_length: int = Field(default=2_048, ge=0)
    result_bytes: int = Field(default=15 * MIB, ge=256 * KIB, le=_BROKER_MAX_BYTES)
    """A result message is cut to this size; RabbitMQ 4 takes 16 MiB unless told otherwise."""

    @field_validator("*", mode="before")
    @classmethod
    def _keep_the_rest(cls, value: object, info: ValidationInfo) -> object:
        """Complete a table that gives one of default, min and max only."""
        default: Any = cls.model_fields[info.field_name or ""].default
        if isinstance(default, (Number, Whole)) and isinstance(value, dict):
            return default.model_dump() | value
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metadata_bytes > self.result_bytes // 2:
            raise ValueError("metadata_bytes is more than half of result_bytes: a result could not be sent")
        return self
