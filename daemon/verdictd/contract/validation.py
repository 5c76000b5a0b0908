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
        nulls = {name for name, given in value.items() if given is None and name in cls.model_fields}
        defaults = {name for name in nulls if not cls.model_fields[name].is_required()}
        return {name: given for name, given in value.items() if name not in defaults} if defaults else value


INVALID_JSON = "Invalid JSON: "
"""Beginning of the reason why a text is not JSON."""
UNKNOWN = "unknown field"
_BOOLEAN, _INTEGER, _NUMBER = "must be true or false", "must be an integer", "must be a number"
_LIST, _OBJECT = "must be a list", "must be an object"
_WORDS = {
    "bool_parsing": _BOOLEAN,
    "bool_type": _BOOLEAN,
    "dataclass_type": _OBJECT,
    "dict_type": _OBJECT,
    "extra_forbidden": UNKNOWN,
    "finite_number": "must be a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "frozen_set_type": _LIST,
    "int_from_float": _INTEGER,
    "int_parsing": _INTEGER,
    "int_type": _INTEGER,
    "list_type": _LIST,
    "mapping_type": _OBJECT,
    "missing": "must be given",
    "model_type": _OBJECT,
    "path_type": "must be a path",
    "string_type": "must be a string",
    "tuple_type": _LIST,
    "unexpected_keyword_argument": UNKNOWN,
}


def in_words(error: ErrorDetails) -> str:
    """Return the reason of an error in the words of whoever sent the value, not of the library."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    message = error["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return re.sub(r"^[A-Z]\w+ should ", "must ", message)


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
    """Return every error of a TOML file as `path.to.key: reason`."""
    return [
        f"{dotted(location)}: {in_table_words(reason)}" if location else in_table_words(reason)
        for location, reason in reasons(error, unknown=unknown)
    ]


def dotted(location: Location) -> str:
    """Return a path as TOML has it, without the parts in which the library names its own branches."""
    return ".".join(str(part) for part in location if "[" not in str(part))


def in_table_words(reason: str) -> str:
    """Return a reason in the words of TOML, where an object is a table."""
    return reason.replace(_OBJECT, "must be a table")
