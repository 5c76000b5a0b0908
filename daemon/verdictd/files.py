"""A file, and the check that its name stays inside a box."""

from dataclasses import dataclass, field

_MAX_BYTES = 255
_MAX_PARTS = 8


@dataclass(frozen=True, slots=True)
class File:
    """A file to be placed in a box; `name` is relative to its working directory."""

    name: str
    content: bytes = field(repr=False)
    executable: bool = False


def check_name(name: str) -> str:
    """Return `name` if it can only mean a file below the working directory, else raise ValueError."""
    if len(name.encode()) > _MAX_BYTES:
        raise ValueError(f"a file name can have at most {_MAX_BYTES} bytes")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError("a file name cannot contain control characters")
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError('a file name must be a relative path without empty parts, "." or ".."')
    if len(parts) > _MAX_PARTS:
        raise ValueError(f"a file name can have at most {_MAX_PARTS} parts")
    return name
