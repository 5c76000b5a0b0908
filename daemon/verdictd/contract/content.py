"""Content of a test, in the message or by reference to a file: its decoder, and its JSON Schema."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from verdictd.contract.fields import (
    Schema,
    check_url,
    content_schemas,
    decode_content,
    name_schema,
    url_schema,
)
from verdictd.files import check_name

_DIGEST = r"[0-9A-Fa-f]{64}"
_URL_LENGTH = 2_048  # characters


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that is fetched from a URL, and known by its digest."""

    sha256: str
    url: str


@dataclass(frozen=True, slots=True)
class ProvidedFile:
    """A file below the operator's directory of test data."""

    name: str


Reference = RemoteFile | ProvidedFile


def decode_data(value: object) -> bytes | Reference:
    """Return the bytes of a string or of base64, or the reference to a file."""
    match value:
        case RemoteFile() | ProvidedFile():
            return value
        case {"sha256": str(digest), "url": str(url), **rest} if not rest:
            if not re.fullmatch(_DIGEST, digest):
                raise ValueError("a sha256 has 64 hexadecimal digits")
            return RemoteFile(digest.lower(), check_url(url, _URL_LENGTH))
        case {"file": str(name), **rest} if not rest:
            return ProvidedFile(check_name(name))
        case {"base64": str(), **rest} if not rest:
            return decode_content(value)
        case bytes() | str():
            return decode_content(value)
        case _:
            kinds = '{"base64": "..."}, {"sha256": "...", "url": "..."} or {"file": "..."}'
            raise ValueError(f"must be a string, {kinds}")


Data = Annotated[bytes | Reference, BeforeValidator(decode_data)]
"""Type of a field that holds the input or the expected output of a test."""


def data_schemas(max_bytes: int) -> list[Schema]:
    """Return the schemas of the content of a test; `max_bytes` bounds what is in the message."""
    remote = {
        "type": "object",
        "description": "A file that the judge fetches: at most as large as its operator allows.",
        "properties": {
            "sha256": {"type": "string", "pattern": f"^{_DIGEST}$"},
            "url": url_schema(_URL_LENGTH),
        },
        "required": ["sha256", "url"],
        "additionalProperties": False,
    }
    provided = {
        "type": "object",
        "description": "A file below the directory of test data that the operator provides.",
        "properties": {"file": {"type": "string"} | name_schema()},
        "required": ["file"],
        "additionalProperties": False,
    }
    return [*content_schemas(max_bytes), remote, provided]
