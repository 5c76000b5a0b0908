"""The fields of a submission that JSON has no type for; each raises ValueError with the reason."""

import base64
import shlex
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from verdictd.contract.archives import check_files, unpack
from verdictd.contract.limits import Limits
from verdictd.files import File, check_name


class Wire(BaseModel):
    """Base of what crosses the wire: frozen, strict, nothing unknown."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class AdditionalFile(Wire):
    """A file that is placed beside the source."""

    name: str = Field(description="Relative path, with / between its parts.")
    content: str
    encoding: Literal["utf-8", "base64"] = Field(default="utf-8", description="How `content` is to be read.")

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name)

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        self.decoded()
        return self

    def decoded(self) -> File:
        """The file as bytes."""
        is_base64 = self.encoding == "base64"
        return File(self.name, _decode_base64(self.content) if is_base64 else self.content.encode())


_FILES = TypeAdapter(list[AdditionalFile])


def decode_content(value: object) -> bytes:
    """The bytes of a string, or of {"base64": "..."}."""
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


def decode_files(value: object, limits: Limits) -> tuple[File, ...]:
    """The files of a list, or of a ZIP archive in base64."""
    max_files, max_bytes = limits.additional_files, limits.additional_files_bytes
    if isinstance(value, str):
        # A name costs up to 255 bytes twice and an entry some 100: what is larger holds too much anyway.
        check_bytes(len(value), (max_bytes + max_files * 1024) * 4 // 3 + 4)
        return unpack(_decode_base64(value), max_files=max_files, max_bytes=max_bytes)
    if not isinstance(value, Sequence):
        raise ValueError("must be a list of files, or a ZIP archive as a string in base64")
    if len(value) > max_files:
        raise ValueError(f"{len(value)} files, at most {max_files} are taken")
    files = [file.decoded() for file in _FILES.validate_python(value)]
    return check_files(files, max_files=max_files, max_bytes=max_bytes)


def decode_words(value: object, limits: Limits) -> tuple[str, ...]:
    """The words of a string as a shell splits it, or of a list."""
    if isinstance(value, str):
        check_bytes(len(value.encode()), limits.words_bytes)  # before the split, which takes its time
    words = split_words(value)
    if len(words) > limits.words:
        raise ValueError(f"{len(words)} words, at most {limits.words} are taken")
    check_bytes(len(" ".join(words).encode()), limits.words_bytes)
    return words


def split_words(value: object) -> tuple[str, ...]:
    """A list of words as it stands, or a string split as a shell splits words with nothing expanded.

    Raises ValueError where a quote stays open, a word holds a NUL, or the value is of another kind.
    """
    if isinstance(value, str):
        words: list[str] = shlex.split(value)
    elif isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise ValueError("must be a string or a list of strings")
    if any("\0" in word for word in words):
        raise ValueError("a word holds no NUL character")
    return tuple(words)


def check_url(url: str, max_length: int) -> str:
    """Return an http or https URL as it is."""
    if len(url) > max_length:
        raise ValueError(f"{len(url)} characters, at most {max_length} are taken")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL has printable ASCII characters only; others are percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be an http or https URL with a host")
    return url


def check_metadata(metadata: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return an object that can be echoed as it is: finite numbers, whole ones of 64 bits at the most."""
    try:
        encoded = orjson.dumps(metadata)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"cannot be echoed: {error}") from error
    check_bytes(len(encoded), max_bytes)
    if orjson.loads(encoded) != metadata:
        raise ValueError("cannot be echoed: a number is not finite")
    return metadata


def check_bytes(size: int, bound: int) -> None:
    """Refuse a size beyond its bound."""
    if size > bound:
        raise ValueError(f"{size} bytes, at most {bound} are taken")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("not base64: the standard alphabet, padded, without line breaks") from None
