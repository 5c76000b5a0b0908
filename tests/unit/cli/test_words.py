"""Statuses, sizes, durations and text of strangers, as a person reads them."""

from datetime import timedelta

import pytest

from verdictd.cli.words import duration_words, memory_words, printable, printable_lines, status_words
from verdictd.contract.result import Status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.ACCEPTED, "Accepted"),
        (Status.TIME_LIMIT_EXCEEDED, "Time limit exceeded"),
        (Status.RUNTIME_ERROR_SIGSEGV, "Runtime error (SIGSEGV)"),
        (Status.RUNTIME_ERROR_NZEC, "Runtime error (NZEC)"),
        (Status.RUNTIME_ERROR_OTHER, "Runtime error"),
        (Status.EXEC_FORMAT_ERROR, "Exec format error"),
    ],
)
def test_status_is_put_into_words(status: Status, words: str) -> None:
    """A reader of the table need not know the names of the wire contract."""
    assert words == status_words(status)


@pytest.mark.parametrize(
    ("kib", "words"),
    [
        (0, "0 KiB"),
        (636, "636 KiB"),
        (1_024, "1 MiB"),
        (1_536, "1.5 MiB"),
        (262_144, "256 MiB"),
        (1_572_864, "1.5 GiB"),
        (5_000_000_000, "4768.4 GiB"),
    ],
)
def test_memory_has_the_unit_that_keeps_it_short(kib: int, words: str) -> None:
    """KiB below a MiB, MiB below a GiB, and nothing larger than GiB."""
    assert words == memory_words(kib)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0s"), (59, "59s"), (61, "1m1s"), (3_600, "1h0m"), (90_000, "1d1h")],
)
def test_duration_has_its_two_largest_units(seconds: int, words: str) -> None:
    """A clock that was set back makes no negative duration."""
    assert words == duration_words(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中", "plain é 中"),
        ("\x1b[2J\x07\x00", " [2J  "),
        ("a\tb\nc\r", "a b c "),
        ("abc\u202edef\u2066", "abc def "),
        ("no\u00a0break", "no break"),
    ],
)
def test_text_of_strangers_is_one_harmless_line(text: str, shown: str) -> None:
    """Neither escapes nor line ends nor marks of writing direction reach the terminal."""
    assert shown == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\n\tc\n", "a       b\n        c\n"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("50 %\r100 %", "50 %\ufffd100 %"),
        ("\x1b[31mred\u202e\x9b", "\ufffd[31mred\ufffd\ufffd"),
        ("page\x0cline\u2028", "page\ufffdline\ufffd"),
    ],
)
def test_lines_of_a_program_stay_lines(text: str, shown: str) -> None:
    """Tabs become spaces; a control character is not obeyed, but marked."""
    assert shown == printable_lines(text)
