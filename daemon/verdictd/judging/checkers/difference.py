"""The place at which an output differs from the expected one, in words for a person."""

from dataclasses import dataclass
from typing import BinaryIO, Self

from verdictd.logs import printable

_BEFORE = 16  # characters of an excerpt
_AFTER = 24
_CHARACTER_BYTES = 4  # at most, in UTF-8
_CONTINUATION = bytes(range(0x80, 0xC0))
_BLOCK_BYTES = 256 * 1024

END = "the end of the output"


@dataclass(slots=True)
class Position:
    """A place in a text, counted from 1; a column is a character of UTF-8."""

    line: int = 1
    column: int = 1

    def after(self, text: bytes) -> Self:
        """Move behind this text."""
        newline = text.rfind(b"\n") + 1
        if newline:
            self.line += text.count(b"\n")
            self.column = 1
        self.column += _characters(text[newline:])
        return self


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place in the output that is not as expected: what was expected and found there, in words."""

    line: int
    column: int
    expected: str
    got: str

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: expected {self.expected}, got {self.got}."


def excerpt(text: bytes, at: int = 0) -> str:
    """Return the printable text around a place, in quotes and cut to a few characters."""
    before = _decoded(text[max(0, at - _BEFORE * _CHARACTER_BYTES) : at])
    after = _decoded(text[at : at + (_AFTER + 1) * _CHARACTER_BYTES])
    head = f"…{before[1 - _BEFORE :]}" if len(before) > _BEFORE else before
    tail = f"{after[: _AFTER - 1]}…" if len(after) > _AFTER else after
    return f'"{printable(head + tail)}"'


def common_length(one: bytes, other: bytes) -> int:
    """Return the number of leading bytes that are equal, without a part of a character at their end."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    for text in (one, other):
        while 0 < low < len(text) and text[low] in _CONTINUATION:
            low -= 1
    return low


def skip_equal_lines(one: BinaryIO, other: BinaryIO) -> int | None:
    """Move both streams to the first line that differs, and return the number of lines before it.

    None if the streams are equal. This takes as long as reading them, whatever they hold.
    """
    lines = start = position = 0
    while True:
        ours, theirs = one.read(_BLOCK_BYTES), other.read(_BLOCK_BYTES)
        equal = ours if ours == theirs else ours[: common_length(ours, theirs)]
        newline = equal.rfind(b"\n") + 1
        if newline:
            lines += equal.count(b"\n")
            start = position + newline
        if ours != theirs:
            one.seek(start)
            other.seek(start)
            return lines
        if not ours:
            return None
        position += len(ours)


def _characters(text: bytes) -> int:
    return len(text.translate(None, _CONTINUATION))


def _decoded(text: bytes) -> str:
    return text.decode(errors="backslashreplace")
