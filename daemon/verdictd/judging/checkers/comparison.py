"""Compare an output with the expected one, by one of the built-in rules: pure, and in bounded memory.

Streams are read from their beginning, perhaps twice, and never as a whole: they may be files of any size.
"""

from typing import BinaryIO, assert_never

from verdictd.contract.checker import (
    Comparison,
    ExactChecker,
    FloatsChecker,
    LinesChecker,
    TokensChecker,
    UnorderedLinesChecker,
)
from verdictd.judging.checkers.difference import (
    END,
    Difference,
    Position,
    common_length,
    excerpt,
    skip_equal_lines,
)
from verdictd.judging.checkers.tokens import compare_tokens
from verdictd.judging.checkers.unordered import compare_unordered_lines

_PIECE_BYTES = 64 * 1024  # of a line


def compare(checker: Comparison, output: BinaryIO, expected: BinaryIO) -> Difference | None:
    """Return the first difference that counts by this rule, or None if the output is correct."""
    match checker:
        case LinesChecker():
            return _compare_lines(output, expected)
        case ExactChecker():
            return _compare_exactly(output, expected)
        case TokensChecker(case_sensitive=case_sensitive):
            return compare_tokens(output, expected, case_sensitive=case_sensitive)
        case FloatsChecker(absolute=absolute, relative=relative, case_sensitive=case_sensitive):
            tolerances = (absolute, relative)
            return compare_tokens(output, expected, case_sensitive=case_sensitive, tolerances=tolerances)
        case UnorderedLinesChecker():
            return compare_unordered_lines(output, expected)
        case _ as unreachable:
            assert_never(unreachable)


def _compare_exactly(output: BinaryIO, expected: BinaryIO) -> Difference | None:
    lines = skip_equal_lines(output, expected)
    if lines is None:
        return None
    line = _Line(output, expected, Position(lines + 1))
    return line.difference(line.got, line.expected)


def _compare_lines(output: BinaryIO, expected: BinaryIO) -> Difference | None:
    lines = skip_equal_lines(output, expected)
    if lines is None:
        return None
    while True:
        lines += 1
        ours, theirs = output.readline(_PIECE_BYTES), expected.readline(_PIECE_BYTES)
        if not ours or not theirs:
            return _rest_that_counts(ours, output, theirs, expected, Position(lines))
        if ours.rstrip() != theirs.rstrip() or not (_is_whole(ours) and _is_whole(theirs)):
            line = _Line(output, expected, Position(lines), ours, theirs)
            difference = line.difference_that_counts()
            if difference is not None:
                return difference


class _Line:
    """A line of both streams, read up to its first difference. State: the pieces in which that is."""

    def __init__(
        self, output: BinaryIO, expected: BinaryIO, start: Position, got: bytes = b"", wanted: bytes = b""
    ) -> None:
        self._output = output
        self._expected = expected
        self._start = start
        self.got = got or output.readline(_PIECE_BYTES)
        self.expected = wanted or expected.readline(_PIECE_BYTES)
        while self.got == self.expected and not _is_whole(self.got):
            self._start.after(self.got)
            self.got, self.expected = output.readline(_PIECE_BYTES), expected.readline(_PIECE_BYTES)
        self._common = common_length(self.got, self.expected)

    def difference_that_counts(self) -> Difference | None:
        """Return the difference, unless there is only white space up to the end of both lines."""
        got_rest = _only_space(self.got, self._common, self._output)
        expected_rest = _only_space(self.expected, self._common, self._expected)
        if got_rest and expected_rest:
            return None
        return self.difference(self.got.rstrip(), self.expected.rstrip())

    def difference(self, got: bytes, expected: bytes) -> Difference:
        """Return the difference between the pieces, which are shown as these texts."""
        start = self._start.after(self.got[: self._common])
        return Difference(
            start.line,
            start.column,
            _words(expected, self._common, ended=not self.expected),
            _words(got, self._common, ended=not self.got),
        )


def _words(text: bytes, at: int, *, ended: bool) -> str:
    if ended:
        return END
    return excerpt(text, at) if text else "an empty line"


def _is_whole(piece: bytes) -> bool:
    """Return whether the line ends with this piece."""
    return len(piece) < _PIECE_BYTES or piece.endswith(b"\n")


def _only_space(piece: bytes, start: int, stream: BinaryIO) -> bool:
    """Return whether there is only white space from here to the end of the line; read up to there if so."""
    rest = piece[start:]
    while not rest.strip():
        if _is_whole(piece):
            return True
        piece = rest = stream.readline(_PIECE_BYTES)
    return False


def _rest_that_counts(
    ours: bytes, output: BinaryIO, theirs: bytes, expected: BinaryIO, start: Position
) -> Difference | None:
    """Return the difference if one stream has ended, unless only white space is left in the other."""
    piece, stream = (ours, output) if ours else (theirs, expected)
    while piece:
        word = piece.lstrip()
        if word:
            end = start if theirs else start.after(piece[: len(piece) - len(word)])
            text = excerpt(word.splitlines()[0].rstrip())
            return Difference(end.line, end.column, *((text, END) if theirs else (END, text)))
        if ours:
            start.after(piece)
        piece = stream.read(_PIECE_BYTES)
    return None
