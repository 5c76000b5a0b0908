"""Bases of the validated models, and pydantic's errors in words."""

import re
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]


class Frozen(BaseModel):
    """Base of limits and settings: immutable, without unknown keys or numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Wire(Frozen):
    """Base of the messages: as `Frozen`, and strictly typed."""

    model_config = ConfigDict(strict=True)


class Received(Wire):
    """Base of what publishers send: null in a field that has a default means that default."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: given for name, given in value.items() if given is not None or name not in optional}


INVALID_JSON = "Invalid JSON: "
"""Beginning of the reason why a text is not JSON."""
UNKNOWN = "unknown field"
_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "extra_forbidden": UNKNOWN,
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_from_float": "must be an integer",
    "int_type": "must be an integer",
    "missing": "must be given",
    "model_type": "must be an object",
    "string_type": "must be a string",
    "unexpected_keyword_argument": UNKNOWN,
}


def in_words(error: ErrorDetails) -> str:
    """Return the reason of an error in the words of whoever sent the value, not of the library."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    message = error["msg"].removeprefix("Value error, ")
    return re.sub(r"^(Input|String|Value|Tuple|List|URL) should ", "must ", message)


def reasons(error: ValidationError, *, unknown: str = UNKNOWN) -> Iterator[tuple[Location, str]]:
    """Yield the place and the reason of every error; `unknown` is the reason for an unknown key."""
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        reason = in_words(entry)
        yield entry["loc"], unknown if reason == UNKNOWN else reason


def pointer(location: Location, part_length: int) -> str:
    """Return a JSON pointer in UTF-8, its parts cut: an unknown field may have a name of megabytes."""
    names = (str(part)[:part_length].encode(errors="replace").decode() for part in location)
    return "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def explain(error: ValidationError, *, unknown: str = UNKNOWN) -> list[str]:
    """Return every error as `path.to.key: reason`."""
    return [
        f"{'.'.join(map(str, location))}: {reason}" if location else reason
        for location, reason in reasons(error, unknown=unknown)
    ]
