"""Tables that fit a terminal: columns are cut in the order of their importance."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from verdictd.cli.tables import Column, table

COLUMNS = (
    Column("verdict"),
    Column("name", cut=3),
    Column("seconds", cut=2, number=True),
    Column("message", cut=1),
)
ROW = ("Accepted", "a-long-name.py", "0.123", "The output is as expected.")


def drawn(found: Table, width: int) -> list[str]:
    """Return the lines of a table, without the spaces at their ends."""
    console = Console(file=io.StringIO(), width=width)
    console.print(found)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "Accepted  a-long-name.py    0.123  The output is as expected."),
        (50, "Accepted  a-long-name.py    0.123  The output is …"),
        (43, "Accepted  a-long-name.py    0.123  The out…"),
        (42, "Accepted  a-long-name.py    0.123"),
        (32, "Accepted  a-long-name.py"),
        (20, "Accepted  a-long-na…"),
        (17, "Accepted"),
    ],
)
def test_least_important_column_is_cut_first(width: int, line: str) -> None:
    """Text is shortened and then left out, a number is left out whole, and the verdict stays."""
    assert line == drawn(table(COLUMNS, [ROW], width), width)[1]


def test_row_is_one_line_however_wide_its_characters_are() -> None:
    """A character of two columns counts as two."""
    rows = [ROW, ("Accepted", "名" * 10, "9.999", "文" * 100)]

    assert 3 == len(drawn(table(COLUMNS, rows, 60), 60))


def test_table_without_rows_has_its_titles() -> None:
    """Nothing to show is no reason to fail."""
    assert ["verdict  name  seconds  message"] == drawn(table(COLUMNS, [], 80), 80)
