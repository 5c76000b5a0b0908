"""Checker and interactor of a submission: the rule, or the program, that decides about the tested program."""

import functools
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationInfo, create_model, field_validator

from verdictd.contract.fields import Content, check_bytes, decode_files, decode_words
from verdictd.contract.limits import Limits, bounded_fields
from verdictd.contract.validation import Received
from verdictd.files import File

MAX_PASSES = 20
_MAX_TOLERANCE = 1e9
_DEFAULTS = {"cpu_time_limit": 10.0, "memory_limit": 1_048_576}
"""Defaults of these limits that are not those of a submission."""

Tolerance = Annotated[float, Field(ge=0, le=_MAX_TOLERANCE)]


class LinesChecker(Received):
    """Compare line by line; white space at line ends and empty lines at the end do not count."""

    type: Literal["lines"]


class ExactChecker(Received):
    """Compare byte by byte."""

    type: Literal["exact"]


class TokensChecker(Received):
    """Compare token by token; white space only separates."""

    type: Literal["tokens"]
    case_sensitive: bool = Field(default=True, description="False: ASCII letters are equal in any case.")


class FloatsChecker(Received):
    """Compare token by token; one that is a number on both sides may differ by either tolerance."""

    type: Literal["floats"]
    absolute: Tolerance = Field(default=1e-6, description="Largest difference of two numbers.")
    relative: Tolerance = Field(default=1e-6, description="The same, as a part of the expected number.")
    case_sensitive: bool = Field(default=True, description="False: ASCII letters are equal in any case.")


class UnorderedLinesChecker(Received):
    """Compare lines in any order, each as often; white space at line ends and empty lines do not count."""

    type: Literal["unordered_lines"]


class ProgramLimits(Received):
    """Limits of each run of a program of the problem's author, in the units of the submission's limits."""

    cpu_time_limit: float
    cpu_extra_time: float
    wall_time_limit: float | None = None
    memory_limit: int
    stack_limit: int
    max_processes_and_or_threads: int
    max_file_size: int
    max_disk_usage: int
    max_output_size: int


class AuthorProgram(Received):
    """A program of the problem's author. It is compiled once, and runs in a box of its own."""

    bounds: ClassVar[Limits] = Limits()

    language: str = Field(
        min_length=1, max_length=64, description="Name or alias of a configured language, in any case."
    )
    source_code: Content = Field(description="One source file: text, or its bytes in base64.")
    additional_files: tuple[File, ...] = Field(
        default=(), description="Files placed beside the source file: a list, or one ZIP archive in base64."
    )
    compiler_options: tuple[str, ...] = Field(
        default=(), description="Options for the compiler; each must be on the language's allow-list."
    )
    arguments: tuple[str, ...] = Field(
        default=(), description="Arguments after those of the protocol, passed without a shell."
    )
    limits: ProgramLimits = Field(description="Limits of each run.")
    protocol: Literal["testlib", "kattis"]
    passes: int = Field(
        default=1,
        ge=1,
        le=MAX_PASSES,
        description="Passes of each run of a test, at most: one that this program accepted is followed by "
        "another if it left an input for that in nextpass.in (Kattis' protocol).",
    )

    @field_validator("source_code")
    @classmethod
    def _source_code(cls, content: bytes) -> bytes:
        check_bytes(len(content), cls.bounds.source_code_bytes)
        return content

    @field_validator("additional_files", mode="plain")
    @classmethod
    def _additional_files(cls, value: object) -> tuple[File, ...]:
        return decode_files(value, cls.bounds)

    @field_validator("compiler_options", "arguments", mode="plain")
    @classmethod
    def _words(cls, value: object, _: ValidationInfo) -> tuple[str, ...]:
        return decode_words(value, cls.bounds)


P = TypeVar("P", bound=AuthorProgram)


class ProgramChecker(AuthorProgram):
    """Ask a program, which speaks the protocol of testlib.h or that of Kattis' output validators."""

    type: Literal["program"]


class Interactor(AuthorProgram):
    """Decide by a program that talks to the tested one, by the protocol of testlib.h or that of Kattis."""


Comparison = LinesChecker | ExactChecker | TokensChecker | FloatsChecker | UnorderedLinesChecker
"""The checkers that are built in."""
Checker = Comparison | ProgramChecker

LINES = LinesChecker(type="lines")


class _AnyKind(BaseModel):
    type: Literal["lines", "exact", "tokens", "floats", "unordered_lines", "program"]


_ANY_KIND = TypeAdapter(_AnyKind)


def decode_checker(value: object, limits: Limits) -> Checker:
    """Return the checker that an object means; raises ValidationError with the path of what is wrong in it.

    Pydantic's own unions would add the type to that path.
    """
    if isinstance(value, Checker):
        return value
    kind = _ANY_KIND.validate_python(value).type
    return checker_models(limits)[kind].model_validate(value)


@functools.lru_cache(maxsize=8)
def checker_models(limits: Limits) -> dict[str, type[Checker]]:
    """Return the model of each kind of checker by its `type`, with these bounds."""
    return {
        "lines": LinesChecker,
        "exact": ExactChecker,
        "tokens": TokensChecker,
        "floats": FloatsChecker,
        "unordered_lines": UnorderedLinesChecker,
        "program": _program_model(ProgramChecker, limits),
    }


@functools.lru_cache(maxsize=8)
def interactor_model(limits: Limits) -> type[Interactor]:
    """Return the model of an interactor with these bounds."""
    return _program_model(Interactor, limits)


def _program_model(base: type[P], limits: Limits) -> type[P]:
    own = program_limits_model(limits)
    description = base.model_fields["limits"].description
    fields: dict[str, Any] = {"limits": (own, Field(default=own.model_validate({}), description=description))}
    model = create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)
    model.bounds = limits
    return model


def program_limits_model(limits: Limits) -> type[ProgramLimits]:
    """Return `ProgramLimits` with the operator's bounds, and with defaults within them."""
    fields = bounded_fields(ProgramLimits, limits)
    for name, default in _DEFAULTS.items():
        bound = getattr(limits, name)
        kind, _ = fields[name]
        fields[name] = (kind, type(bound.default)(min(max(default, bound.min), bound.max)))
    return create_model("ProgramLimits", __base__=ProgramLimits, __doc__=ProgramLimits.__doc__, **fields)
