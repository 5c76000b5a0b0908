"""Built-in checkers: which outputs are correct, and where the others differ."""

import tracemalloc
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdictd.contract.checker import Comparison, decode_checker
from verdictd.contract.limits import Limits
from verdictd.judging.checkers.comparison import compare

PIECE = 64 * 1024
"""Lines and tokens are read in pieces of this size."""
LONG = b"x" * (PIECE + 5)


def rule(kind: str, **options: Any) -> Comparison:
    """A built-in checker."""
    checker = decode_checker({"type": kind, **options}, Limits())
    assert isinstance(checker, Comparison)
    return checker


def difference(kind: str, output: bytes, expected: bytes, **options: Any) -> str:
    """What a checker says, empty if the output is correct."""
    return str(compare(rule(kind, **options), BytesIO(output), BytesIO(expected)) or "")


def same(kind: str, one: bytes, other: bytes, **options: Any) -> bool:
    """Whether two outputs are equal; it does not matter which of them is expected."""
    there, back = difference(kind, one, other, **options), difference(kind, other, one, **options)
    assert bool(there) == bool(back)
    return not there


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (b"a b\n", b"a b", True),
        (b"a b  \n\n\n", b"a b\n", True),
        (b"a\r\nb\r\n", b"a\nb\n", True),
        (b"a\t \nb", b"a\nb", True),
        (b"", b"\n\n", True),
        (b"   \n", b"", True),
        (b"a  b\n", b"a b\n", False),
        (b" a\n", b"a\n", False),
        (b"\na\n", b"a\n", False),
        (b"a\n\nb\n", b"a\nb\n", False),
        (b"A\n", b"a\n", False),
        (b"1.0\n", b"1\n", False),
        (b"a\0\n", b"a\n", False),
        (b"\xff", b"\xfe", False),
        (b"a\xc2\xa0\n", b"a\n", False),
        (LONG, LONG + b"\n", True),
        (LONG + b" " * 2 * PIECE + b"\nb", LONG + b"\t\nb", True),
        (b"x" * PIECE, b"x" * PIECE + b"\n", True),
        (b"x" + b" " * 2 * PIECE, b"x", True),
        (b"x" + b" " * 2 * PIECE + b"y", b"x", False),
        (LONG + b"a\n", LONG + b"b\n", False),
    ],
)
def test_only_white_space_at_line_ends_and_empty_lines_at_the_end_do_not_count(
    one: bytes, other: bytes, equal: bool
) -> None:
    """All else counts: inner and leading space, empty lines between, case, bytes that are not text."""
    assert equal == same("lines", one, other)


lines = st.lists(st.binary(max_size=5).filter(lambda line: b"\n" not in line), max_size=6)


@given(
    lines,
    st.lists(st.sampled_from([b"", b" ", b"\t", b"\r", b" \t"]), min_size=6, max_size=6),
    st.integers(0, 3),
)
def test_trailing_space_never_changes_a_verdict(text: list[bytes], trailing: list[bytes], empty: int) -> None:
    """Whatever white space is put at the ends of lines and of the text, it is the same output."""
    spaced = [line + space for line, space in zip(text, trailing, strict=False)]

    assert same("lines", b"\n".join(spaced) + b"\n" * empty, b"\n".join(text))


@given(lines, lines)
def test_comparison_is_that_of_the_lines_without_trailing_space(one: list[bytes], other: list[bytes]) -> None:
    """The rule in one sentence, computed in another way; unordered lines are the same, sorted."""
    ours, theirs = [line.rstrip() for line in one], [line.rstrip() for line in other]
    for text in (ours, theirs):
        while text and not text[-1]:
            text.pop()

    assert (ours == theirs) == same("lines", b"\n".join(one), b"\n".join(other))
    ours, theirs = (sorted(filter(None, text)) for text in (ours, theirs))
    assert (ours == theirs) == same("unordered_lines", b"\n".join(one), b"\n".join(other))


@given(st.binary(max_size=4), st.binary(max_size=4))
def test_every_byte_counts_where_output_must_be_exact(one: bytes, other: bytes) -> None:
    """The last new line too."""
    assert (one == other) == same("exact", one, other)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (b"b\na\n", b"a\nb", True),
        (b"b \n\na\r\n\n", b"a\nb\n", True),
        (b"a\na\nb\n", b"a\nb\nb\n", False),
        (b"a\na\n", b"a\n", False),
        (b"a\n", b"", False),
        (b"a b\n", b"b a\n", False),
        (LONG + b"\nb\n", b"b\n" + LONG + b"\n", True),
        (LONG + b" " * PIECE + b"\nb\n", b"b\n" + LONG, True),
        (b"a" + b" " * 2 * PIECE + b"\nb\n", b"b\na\n", True),
        (b"a" + b" " * 2 * PIECE + b"c\nb\n", b"b\na\n", False),
        (b"a" + b" " * PIECE + b"c\nb", b"b\na" + b" " * PIECE + b"c", True),
        (LONG + b"a\n" + LONG + b"b\n", LONG + b"b\n" + LONG + b"a\n", True),
        (LONG + b"a\n" + LONG + b"b\n", LONG + b"b\n" + LONG + b"b\n", False),
    ],
)
def test_unordered_lines_count_as_often_as_they_are_there(one: bytes, other: bytes, equal: bool) -> None:
    """White space at their ends and empty lines do not count."""
    assert equal == same("unordered_lines", one, other)


@pytest.mark.parametrize(
    ("kind", "output", "expected", "said"),
    [
        ("lines", b"1\n23\n", b"1\n24\n", 'Line 2, column 2: expected "24", got "23".'),
        ("lines", b"1\n", b"1\n2\n", 'Line 2, column 1: expected "2", got the end of the output.'),
        ("lines", b"1\n\n\n 2\n", b"1\n", 'Line 4, column 2: expected the end of the output, got "2".'),
        ("lines", b"", b"\n\n2\n", 'Line 1, column 1: expected "2", got the end of the output.'),
        ("lines", b"1\n\n2", b"1\n2", 'Line 2, column 1: expected "2", got an empty line.'),
        ("lines", "äöü\n".encode(), "äöo\n".encode(), 'Line 1, column 3: expected "äöo", got "äöü".'),
        ("lines", "\u00e4".encode(), "\u00e5".encode(), 'Line 1, column 1: expected "å", got "ä".'),
        ("lines", b"\x1b[2J\xff", b"ok", 'Line 1, column 1: expected "ok", got "\\x1b[2J\\xff".'),
        (
            "lines",
            b"x" * 200_000 + b"12" + b"y" * 50,
            b"x" * 200_000 + b"34",
            f'Line 1, column 200001: expected "…{"x" * 15}34", got "…{"x" * 15}12{"y" * 21}…".',
        ),
        ("exact", b"a", b"a\n", 'Line 1, column 2: expected "a\\n", got "a".'),
        ("exact", b"", b"a\n", 'Line 1, column 1: expected "a\\n", got the end of the output.'),
        ("exact", b"a\nb\r\n", b"a\nb\n", 'Line 2, column 2: expected "b\\n", got "b\\r\\n".'),
        ("tokens", b"1 2\n3 5", b"1 2 3 4", 'Line 2, column 3: expected "4", got "5".'),
        ("tokens", b"1\n", b"1 2", 'Line 2, column 1: expected "2", got the end of the output.'),
        ("tokens", b"1 2", b"1", 'Line 1, column 3: expected the end of the output, got "2".'),
        ("tokens", b"a\0b", b"b", 'Line 1, column 1: expected "b", got "a".'),
        ("tokens", LONG + b" 1 2", LONG + b"\n1 3", 'Line 1, column 65545: expected "3", got "2".'),
        ("floats", b"0.5\n", b"0.25", 'Line 1, column 1: expected "0.25", got "0.5".'),
        ("unordered_lines", b"a\nc\n", b"b\na\n", 'Line 2, column 1: expected another line, got "c".'),
        ("unordered_lines", b"a\na\n", b"a\n", 'Line 2, column 1: expected another line, got "a".'),
        ("unordered_lines", b"b\n", b"a\nb\n", 'Line 2, column 1: expected "a", got the end of the output.'),
    ],
)
def test_difference_says_where(kind: str, output: bytes, expected: bytes, said: str) -> None:
    """A line of the output, a character in it, and short printable excerpts."""
    assert said == difference(kind, output, expected)


@pytest.mark.parametrize(
    ("output", "expected", "options", "equal"),
    [
        (b"1 2\n3", b"1\n2\n3\n", {}, True),
        (b"1\v2\f3\r\n", b"1 2 3", {}, True),
        (b"Yes", b"YES", {}, False),
        (b"Yes", b"YES", {"case_sensitive": False}, True),
        ("É".encode(), "é".encode(), {"case_sensitive": False}, False),
        (b"1\xa02", b"1 2", {}, False),
        (b"1\0x 2", b"1 2", {}, True),
        (LONG + b"\0" + LONG, LONG, {}, True),
        (b"1\0" + LONG, b"1", {}, True),
        (LONG + b"A " + LONG, LONG + b"a\n" + LONG, {"case_sensitive": False}, True),
        (LONG + b"A " + LONG, LONG + b"a\n" + LONG, {}, False),
        (b" " * 3 * PIECE + LONG + b"1 " + LONG, LONG + b"1\n" + LONG, {}, True),
        (b"a" + LONG + b"1 " + LONG, b"a" + LONG + b"2\n" + LONG, {}, False),
    ],
)
def test_white_space_only_separates_tokens(
    output: bytes, expected: bytes, options: dict[str, bool], equal: bool
) -> None:
    """ASCII white space, as C knows it; a NUL byte ends a token, as in C too."""
    assert equal == same("tokens", output, expected, **options)


@pytest.mark.parametrize(
    ("output", "expected", "equal"),
    [
        (b"1.0000009", b"1", True),
        (b"1.0000011", b"1", False),
        (b"1000000.9", b"1000000", True),
        (b"1e6 +1 .5 5. 0x10 1E0", b"1000000 1 0.5 5 16 1", True),
        (b"1e 0x. 0x1p+", b"1 0 1", True),
        (b"x", b"1", False),
        (b"1", b"x", False),
        (b"1_0", b"10", False),
        ("٣".encode(), b"3", False),
        (b"nan", b"nan", True),
        (b"nan", b"NaN", False),
        (b"inf", b"1e999", False),
        (b"0e99999999999999999999 1e-999", b"0 0", True),
        (b"0." + b"1" * 60_000, b"0.1111111", True),
        (b"0." + b"1" * 70_000, b"0." + b"1" * 70_000, True),
        (b"0." + b"1" * 70_000, b"0.1111111", False),
    ],
)
def test_numbers_may_differ_by_either_tolerance(output: bytes, expected: bytes, equal: bool) -> None:
    """As glibc's scanf reads them; what is not finite, and what is too long, is text."""
    assert equal == (difference("floats", output, expected) == "")


def test_tolerance_of_0_compares_values() -> None:
    """Another spelling of the same number is equal, and its neighbour is not."""
    assert same("floats", b"1.50", b"15e-1", absolute=0, relative=0)
    assert not same("floats", b"1.5000000000000002", b"1.5", absolute=0, relative=0)


@pytest.mark.parametrize("kind", ["lines", "exact", "tokens", "floats", "unordered_lines"])
@pytest.mark.parametrize("end", [b"", b"x"])
def test_memory_does_not_grow_with_the_outputs(kind: str, end: bytes) -> None:
    """Neither with their number of lines, nor with the length of a line."""
    many = b"".join(b"%d \n" % number for number in range(5_000))
    output, expected = (BytesIO(first + many + b"7" * 4_000_000 + end) for first in (b"1 \n", b"1\n"))
    tracemalloc.start()
    try:
        found = compare(rule(kind), output, expected)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (kind == "exact") == (found is not None)
    assert peak < 4_000_000


def test_many_lines_that_all_differ_are_not_kept() -> None:
    """Only some are looked at a second time, to name one."""
    output, expected = (b"".join(b"%s%d\n" % (letter, n) for n in range(8_000)) for letter in (b"a", b"b"))
    tracemalloc.start()
    try:
        said = difference("unordered_lines", output, expected)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "expected another line" in said
    assert peak < len(output) + len(expected) + 2_500_000


def test_digits_without_end_are_read_in_linear_time() -> None:
    """Neither the pattern nor the conversion tries all divisions of a number."""
    output = b" ".join(b"1" * 60_000 + end for end in (b"x", b".x", b"e1x", b".5e-60000"))

    assert "" == difference("floats", output, output.replace(b" ", b"\n"))
    assert difference("floats", output, output.replace(b"x", b""))
