"""Compare lines in any order, in memory that does not grow with them.

The sum of the digests of all lines stands for them, whatever their order (Clarke et al., "Incremental
multiset hash functions", 2003). The key of the digests comes from the expected output, which a program that
looks for collisions does not know; the same outputs always give the same answer.
"""

from collections import Counter
from collections.abc import Generator, Iterator
from hashlib import blake2b
from typing import BinaryIO

from verdictd.judging.checkers.difference import END, Difference, excerpt, skip_equal_lines

_LONGEST_BYTES = 64 * 1024
_BLOCK_BYTES = 64 * 1024
_SHOWN_BYTES = 256
_DIGEST_BYTES = 32
_MODULUS = 1 << 8 * _DIGEST_BYTES
_BUCKETS = 1 << 14
_SEARCHED = 16
"""Buckets in which a line is looked for: if all differ, one line in a thousand is kept meanwhile."""


def compare_unordered_lines(output: BinaryIO, expected: BinaryIO) -> Difference | None:
    """Return a line that is there too often, or else one that is missing, or None."""
    lines = skip_equal_lines(output, expected)
    if lines is None:
        return None
    digests = _Digests(expected)
    start = output.tell()
    balance: Counter[int] = Counter()
    for stream, sign in ((output, 1), (expected, -1)):
        for block in _blocks(stream):
            for line, count in Counter(block).items():
                digest = digests.of(line)
                balance[digest % _BUCKETS] += sign * count * digest if line else 0
    differing = sorted(bucket for bucket, total in balance.items() if total % _MODULUS)
    if not differing:
        return None
    output.seek(start)
    expected.seek(start)
    return _find(output, expected, lines, digests, {*differing[:_SEARCHED]})


class _Digests:
    """Digests of lines, with a key that is made of the rest of a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        start = stream.tell()
        key = blake2b()
        while block := stream.read(_BLOCK_BYTES):
            key.update(block)
        stream.seek(start)
        self._key = key.digest()

    def of(self, line: bytes) -> int:
        """Return the digest of a line as a number."""
        return int.from_bytes(blake2b(line, key=self._key, digest_size=_DIGEST_BYTES).digest())


def _find(
    output: BinaryIO, expected: BinaryIO, lines: int, digests: _Digests, buckets: set[int]
) -> Difference:
    """Return the first line of the output that is there too often, or else the first one that is missing."""
    missing: Counter[bytes] = Counter()
    for block in _blocks(expected):
        for line in filter(None, block):
            if digests.of(line) % _BUCKETS in buckets:
                missing[line] += 1
    number = lines
    for block in _blocks(output):
        for line in block:
            number += 1
            if line and digests.of(line) % _BUCKETS in buckets:
                missing[line] -= 1
                if missing[line] < 0:
                    return Difference(number, 1, "another line", _shown(line))
    line = next(line for line, count in missing.items() if count)
    return Difference(number, 1, _shown(line), END)


def _blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield lists of lines without white space at their ends; a digest stands for the text of a long one."""
    left = b""
    while block := stream.read(_BLOCK_BYTES):
        *whole, left = (left + block).split(b"\n")
        yield [_bounded(line.rstrip()) for line in whole]
        if len(left) > _LONGEST_BYTES:
            left = yield from _long(stream, left)
    yield [_bounded(left.rstrip())]


def _long(stream: BinaryIO, head: bytes) -> Generator[list[bytes], None, bytes]:
    """Yield the line that begins with `head`, and return what was read behind it."""
    text = head.rstrip()
    size, digest = len(text), blake2b(text)  # up to the last character that is not white space
    read, so_far = len(head), blake2b(head)
    newline, left = b"", b""
    while not newline and (block := stream.read(_BLOCK_BYTES)):
        part, newline, left = block.partition(b"\n")
        if word := part.rstrip():
            size, digest = read + len(word), so_far.copy()
            digest.update(word)
        read += len(part)
        so_far.update(part)
    yield [text if size <= _LONGEST_BYTES else _standing_for(head, digest)]
    return left


def _bounded(line: bytes) -> bytes:
    return line if len(line) <= _LONGEST_BYTES else _standing_for(line, blake2b(line))


def _standing_for(line: bytes, digest: blake2b) -> bytes:
    """Return what no other line can be equal to, as it has a new line in it."""
    return line[:_SHOWN_BYTES] + b"\n" + digest.hexdigest().encode()


def _shown(line: bytes) -> str:
    return excerpt(line.partition(b"\n")[0])
