"""Compare token by token, with tolerances if asked for, like the default validator of Kattis' problemtools.

That validator is a C++ program. For it, a token ends at a NUL byte (`c_str`), and a number is what glibc's
scanf takes with nothing left over, which is more than strtod takes: `1e` is 1, `0x.` is 0.
"""

import math
import re
from collections.abc import Generator, Iterator
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import BinaryIO

from verdictd.judging.checkers.difference import (
    END,
    Difference,
    Position,
    common_length,
    excerpt,
    skip_equal_lines,
)

LONGEST_BYTES = 64 * 1024
"""Longer tokens are compared by a digest, and are not numbers."""
_BLOCK_BYTES = LONGEST_BYTES // 2
_SHOWN_BYTES = 256
_NUL = b"\0"
_TOKEN = re.compile(rb"\S+")
_DECIMAL = re.compile(rb"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:e([+-]?[0-9]*))?", re.IGNORECASE)
_HEXADECIMAL = re.compile(
    rb"([+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+))(?:p([+-]?[0-9]*))?", re.IGNORECASE
)
_HEXADECIMAL_POINT = re.compile(rb"[+-]?0x\.", re.IGNORECASE)

Tolerances = tuple[float, float]
"""Absolute and relative."""


def compare_tokens(
    output: BinaryIO, expected: BinaryIO, *, case_sensitive: bool, tolerances: Tolerances | None = None
) -> Difference | None:
    """Return the first token that differs, or None; numbers may differ by either of the tolerances."""
    lines = skip_equal_lines(output, expected)
    if lines is None:
        return None
    got = _Tokens(output, lines + 1, case_sensitive=case_sensitive)
    wanted = iter(_Tokens(expected, lines + 1, case_sensitive=case_sensitive))
    for token in got:
        other = next(wanted, None)
        if token != other and (other is None or not _same(token, other, case_sensitive, tolerances)):
            return _difference(got.position, token, other)
    missing = next(wanted, None)
    return None if missing is None else _difference(got.position, None, missing)


class _Tokens:
    """Tokens of a stream. State: the place of a piece of it, and the index of a token in the piece."""

    def __init__(self, stream: BinaryIO, line: int, *, case_sensitive: bool) -> None:
        self._stream = stream
        self._case_sensitive = case_sensitive
        self._start = Position(line)
        self._piece = b""
        self._index = 0

    @property
    def position(self) -> Position:
        """Return the place of the current token, or that of the end after the last one."""
        found = next(islice(_TOKEN.finditer(self._piece), self._index, None), None)
        return replace(self._start).after(self._piece[: found.start()] if found else b"")

    def __iter__(self) -> Iterator[bytes]:
        left = b""
        while block := self._stream.read(_BLOCK_BYTES):
            piece = left + block
            left = b"" if piece[-1:].isspace() else piece.rsplit(None, 1)[-1]
            yield from self._whole(piece[: len(piece) - len(left)])
            if len(left) > LONGEST_BYTES:
                left = yield from self._long(left)
        yield from self._whole(left)

    def _whole(self, piece: bytes) -> Iterator[bytes]:
        self._piece = piece
        tokens = piece.split()
        if len(piece) > LONGEST_BYTES or _NUL in piece:
            tokens = [self._bounded(token) for token in tokens]
        for self._index, token in enumerate(tokens):
            yield token
        self._start.after(piece)
        self._piece = b""

    def _long(self, head: bytes) -> Generator[bytes, None, bytes]:
        """Yield the token that begins with `head`, and return what was read behind it."""
        self._piece, self._index = head, 0
        behind = replace(self._start).after(head)
        token, end, _ = head.partition(_NUL)
        digest = self._digest(token)
        is_long = len(token) > LONGEST_BYTES
        rest = b""
        while not rest and (block := self._stream.read(_BLOCK_BYTES)):
            part = b"" if block[:1].isspace() else block.split(None, 1)[0]
            rest = block[len(part) :]
            behind.after(part)
            if not end:
                kept, end, _ = part.partition(_NUL)
                digest.update(self._folded(kept))
        yield token[:_SHOWN_BYTES] + _NUL + digest.hexdigest().encode() if is_long else token
        self._start, self._piece = behind, b""
        return rest

    def _bounded(self, token: bytes) -> bytes:
        """Return the token up to a NUL byte; a digest behind a NUL byte stands for the text of a long one."""
        token = token.partition(_NUL)[0]
        if len(token) <= LONGEST_BYTES:
            return token
        return token[:_SHOWN_BYTES] + _NUL + self._digest(token).hexdigest().encode()

    def _digest(self, token: bytes) -> blake2b:
        return blake2b(self._folded(token))

    def _folded(self, token: bytes) -> bytes:
        return token if self._case_sensitive else token.lower()


def _same(got: bytes, expected: bytes, case_sensitive: bool, tolerances: Tolerances | None) -> bool:
    """Return whether two tokens that are not equal count as such."""
    number = None if tolerances is None else _number(expected)
    if tolerances is None or number is None:
        return not case_sensitive and got.lower() == expected.lower()
    other = _number(got)
    if other is None:
        return False
    absolute, relative = tolerances
    error = abs(number - other)
    return error <= absolute or error <= relative * abs(number)


def _number(token: bytes) -> float | None:
    """Return the value of a finite number; an exponent without digits does not count."""
    if match := _DECIMAL.fullmatch(token):
        value = float(_with_exponent(match, "e"))
    elif match := _HEXADECIMAL.fullmatch(token):
        try:
            value = float.fromhex(_with_exponent(match, "p"))
        except OverflowError:
            return None
    else:
        return 0.0 if _HEXADECIMAL_POINT.fullmatch(token) else None
    return value if math.isfinite(value) else None


def _with_exponent(match: re.Match[bytes], letter: str) -> str:
    significand, exponent = match[1].decode(), (match[2] or b"").decode()
    return f"{significand}{letter}{exponent}" if exponent[-1:].isdigit() else significand


def _difference(at: Position, got: bytes | None, expected: bytes | None) -> Difference:
    ours, theirs = (None if token is None else token.partition(_NUL)[0] for token in (got, expected))
    common = common_length(ours or b"", theirs or b"")
    words = [END if token is None else excerpt(token, common) for token in (theirs, ours)]
    return Difference(at.line, at.column, *words)
