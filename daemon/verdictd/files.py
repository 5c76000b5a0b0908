"""A file, and a name that stays inside a box."""

from dataclasses import dataclass, field

_MAX_PARTS = 8


@dataclass(frozen=True, slots=True)
class File:
    """A file to be placed in a box; `name` is relative to its working directory."""

    name: str
    content: bytes = field(repr=False)


def check_name(name: str) -> str:
    """Return `name` if it can only mean a file below the working directory, else raise ValueError."""
    if len(name.encode()) > 255:
        raise ValueError("a file name has at most 255 bytes")
    parts = name.split("/")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValueError("a file name has no control characters")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError('a file name is relative, without empty parts, "." and ".."')
    if len(parts) > _MAX_PARTS:
        raise ValueError(f"a file name has at most {_MAX_PARTS} parts")
    return name
