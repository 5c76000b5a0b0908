"""A file, the check that its name stays inside a box, and patterns of names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

_MAX_BYTES = 255
_MAX_PARTS = 8
_ANY_DIRECTORIES = "**"


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


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern means this file: `*` and `?` stand within a part, `**` for any directories."""
    return _matches(name.split("/"), pattern.split("/"))


def leads_to(directory: str, pattern: str) -> bool:
    """Return whether a pattern can mean a file below this directory."""
    return _leads_to(directory.split("/"), pattern.split("/"))


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == _ANY_DIRECTORIES:
        return any(_matches(parts[start:], wanted[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


def _leads_to(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not parts or not wanted:
        return bool(wanted)
    return wanted[0] == _ANY_DIRECTORIES or (
        fnmatchcase(parts[0], wanted[0]) and _leads_to(parts[1:], wanted[1:])
    )
