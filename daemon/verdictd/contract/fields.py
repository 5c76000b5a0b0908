"""Fields of a submission that JSON has no type for: the decoder of each, and its JSON Schema.

A decoder raises ValueError with the reason. JSON Schema bounds characters where the daemon bounds bytes; a
text never has more characters than bytes, so the schema accepts everything that the daemon does.
"""

import base64
import math
import re
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import BeforeValidator, Field, TypeAdapter, field_validator, model_validator

from verdictd.contract.archives import check_files, unpack
from verdictd.contract.faulty import walk
from verdictd.contract.limits import Limits
from verdictd.contract.validation import Received, pointer
from verdictd.files import File, check_name

Schema = dict[str, Any]

_MAX_NAME = 40  # characters of a name in a message
_NO_NUL = r"^[^\u0000]*$"
_NAME_PART = r"(?!\.{1,2}(/|$))[^/\u0000-\u001f\u007f]+"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"


def decode_content(value: object) -> bytes:
    """Return the bytes of a string, or of {"base64": "..."}."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case {"base64": str(text), **rest} if not rest:
            return _decode_base64(text)
        case _:
            raise ValueError('must be a string or {"base64": "..."}')


Content = Annotated[bytes, BeforeValidator(decode_content)]


def content_schemas(max_bytes: int) -> list[Schema]:
    """Return the schemas of a string, and of bytes in base64."""
    encoded = {"type": "string", "contentEncoding": "base64", "maxLength": _base64_length(max_bytes)}
    return [
        {"type": "string", "maxLength": max_bytes},
        {
            "type": "object",
            "properties": {"base64": encoded},
            "required": ["base64"],
            "additionalProperties": False,
        },
    ]


class AdditionalFile(Received):
    """A file that is placed beside the source file."""

    name: str = Field(description="Relative path, with / between its parts.")
    content: str
    encoding: Literal["utf-8", "base64"] = Field(default="utf-8", description="Encoding of `content`.")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name)

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        self.decoded()
        return self

    def decoded(self) -> File:
        """Return the file with its content as bytes."""
        is_base64 = self.encoding == "base64"
        return File(self.name, _decode_base64(self.content) if is_base64 else self.content.encode())


_FILES = TypeAdapter(list[AdditionalFile])


def decode_files(value: object, limits: Limits) -> tuple[File, ...]:
    """Return the files of a list, or of a ZIP archive in base64."""
    max_files, max_bytes = limits.additional_files, limits.additional_files_bytes
    if isinstance(value, str):
        # Each file costs at most twice its name of 255 bytes and some 100 more: a larger archive cannot fit.
        check_bytes(len(value), (max_bytes + max_files * 1024) * 4 // 3 + 4)
        return unpack(_decode_base64(value), max_files=max_files, max_bytes=max_bytes)
    if not isinstance(value, Sequence):
        raise ValueError("must be a list of files, or a ZIP archive in base64")
    if len(value) > max_files:
        raise ValueError(f"{len(value)} files; at most {max_files} are allowed")
    files = [file.decoded() for file in _FILES.validate_python(value)]
    return check_files(files, max_files=max_files, max_bytes=max_bytes)


def files_schema(file: Schema, limits: Limits) -> Schema:
    """Return the schema of additional files; `file` is that of `AdditionalFile`."""
    file["properties"]["name"] |= name_schema()
    file["properties"]["content"]["maxLength"] = _base64_length(limits.additional_files_bytes)
    archive = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/zip"}
    return {"anyOf": [{"type": "array", "maxItems": limits.additional_files, "items": file}, archive]}


def name_schema() -> Schema:
    """Return the bounds of the name of a file."""
    return {"maxLength": 255, "pattern": rf"^{_NAME_PART}(/{_NAME_PART}){{0,7}}$"}


def decode_patterns(value: object, max_patterns: int) -> tuple[str, ...]:
    """Return the names and patterns of a list of strings."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(pattern, str) for pattern in value):
        raise ValueError("must be a list of strings")
    if len(value) > max_patterns:
        raise ValueError(f"{len(value)} names; at most {max_patterns} are allowed")
    return tuple(check_name(pattern) for pattern in value)


def patterns_schema(max_patterns: int) -> Schema:
    """Return the schema of names and patterns."""
    return {"type": "array", "maxItems": max_patterns, "items": {"type": "string"} | name_schema()}


def decode_words(value: object, limits: Limits) -> tuple[str, ...]:
    """Return the words of a list, or of a string as a shell splits it."""
    if isinstance(value, str):
        check_bytes(len(value.encode()), limits.words_bytes)  # before the split, which is slow
    words = split_words(value)
    if len(words) > limits.words:
        raise ValueError(f"{len(words)} words; at most {limits.words} are allowed")
    check_bytes(len(" ".join(words).encode()), limits.words_bytes)
    return words


def words_schema(limits: Limits) -> Schema:
    """Return the schema of words."""
    word = {"type": "string", "maxLength": limits.words_bytes, "pattern": _NO_NUL}
    return {"anyOf": [word, {"type": "array", "maxItems": limits.words, "items": word}]}


def split_words(value: object) -> tuple[str, ...]:
    """Return a list of words as it is, or split a string as a shell does, with nothing expanded.

    Raises ValueError for an open quote, a NUL character, or a value of another type.
    """
    if isinstance(value, str):
        words: list[str] = shlex.split(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise ValueError("must be a string or a list of strings")
    if any("\0" in word for word in words):
        raise ValueError("a word cannot contain a NUL character")
    return tuple(words)


def check_url(url: str, max_length: int) -> str:
    """Return `url` if it is an http or https URL."""
    if len(url) > max_length:
        raise ValueError(f"{len(url)} characters; at most {max_length} are allowed")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL can contain only printable ASCII characters; percent-encode all others")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be an http or https URL with a host")
    return url


def url_schema(max_length: int) -> Schema:
    """Return the schema of an http or https URL."""
    pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$"
    return {"type": "string", "format": "uri", "pattern": pattern, "maxLength": max_length}


def decode_time(value: object) -> datetime:
    """Return the time that a string of RFC 3339 names, which has a zone."""
    if not isinstance(value, str) or not re.fullmatch(_TIME, value, re.ASCII):
        raise ValueError('must be a time as in RFC 3339, with a zone, such as "2026-01-31T12:00:00Z"')
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"is not a time: {error}") from None


def time_schema() -> Schema:
    """Return the schema of a time."""
    return {"type": "string", "format": "date-time", "pattern": f"^{_TIME}$"}


def check_metadata(metadata: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return an object that can be echoed unchanged: numbers are finite, integers have at most 64 bits."""
    try:
        encoded = orjson.dumps(metadata)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"cannot be echoed: {error}") from error
    check_bytes(len(encoded), max_bytes)
    for location, value in walk(metadata):
        if isinstance(value, float) and not math.isfinite(value):
            where = pointer(location, _MAX_NAME)
            raise ValueError(f"cannot be echoed: the number at {where} is {value}, which is not finite")
    return metadata


def check_bytes(size: int, bound: int) -> None:
    """Raise ValueError if `size` exceeds its bound."""
    if size > bound:
        raise ValueError(f"{size} bytes; at most {bound} are allowed")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        reason = "not valid base64: use the standard alphabet, with padding and without line breaks"
        raise ValueError(reason) from None


def _base64_length(size_bytes: int) -> int:
    return (size_bytes + 2) // 3 * 4
