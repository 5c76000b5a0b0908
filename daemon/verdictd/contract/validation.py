"""Bases of the validated models, and pydantic's errors in words."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError

Location = tuple[int | str, ...]


class Frozen(BaseModel):
    """Base of limits and settings: immutable, without unknown keys or numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Wire(Frozen):
    """Base of the messages: as `Frozen`, and strictly typed."""

    model_config = ConfigDict(strict=True)


def reasons(error: ValidationError, *, unknown: str = "unknown field") -> Iterator[tuple[Location, str]]:
    """Yield the place and the reason of every error; `unknown` is the reason for an unknown key."""
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        is_unknown = entry["type"] in {"extra_forbidden", "unexpected_keyword_argument"}
        yield entry["loc"], unknown if is_unknown else entry["msg"].removeprefix("Value error, ")


def explain(error: ValidationError, *, unknown: str = "unknown field") -> list[str]:
    """Return every error as `path.to.key: reason`."""
    return [
        f"{'.'.join(map(str, location))}: {reason}" if location else reason
        for location, reason in reasons(error, unknown=unknown)
    ]
