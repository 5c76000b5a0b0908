"""The checker of a submission: the rule that decides if an output is correct."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from verdictd.contract.validation import Received

_MAX_TOLERANCE = 1e9

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


Comparison = LinesChecker | ExactChecker | TokensChecker | FloatsChecker | UnorderedLinesChecker
"""The checkers that are built in."""

Checker = Comparison

KINDS: dict[str, type[Checker]] = {
    "lines": LinesChecker,
    "exact": ExactChecker,
    "tokens": TokensChecker,
    "floats": FloatsChecker,
    "unordered_lines": UnorderedLinesChecker,
}
LINES = LinesChecker(type="lines")


class _AnyKind(BaseModel):
    type: Literal["lines", "exact", "tokens", "floats", "unordered_lines"]


_ANY_KIND = TypeAdapter(_AnyKind)


def decode_checker(value: object) -> Checker:
    """Return the checker that an object means; raises ValidationError with the path of what is wrong in it.

    Pydantic's own unions would add the type to that path.
    """
    if isinstance(value, Comparison):
        return value
    kind = _ANY_KIND.validate_python(value).type
    return KINDS[kind].model_validate(value)
