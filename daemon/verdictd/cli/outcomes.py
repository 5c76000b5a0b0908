"""Tests and groups of a result as tables: one line each."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from verdictd.cli.tables import Column, status_colour, table
from verdictd.cli.words import memory_words, printable, status_words
from verdictd.contract.result import GroupResult, Result, Status, TestResult

_NAME, _STATUS = Column("test", cut=5), Column("status")
_TIME, _MEMORY = Column("CPU time", cut=3, number=True), Column("memory", cut=2, number=True)
_POINTS, _MESSAGE = Column("points", cut=4, number=True), Column("message", cut=1)
_GROUP_COLUMNS = (Column("group", cut=1), Column("status"), Column("points", cut=2, number=True))


def tables(result: Result, width: int) -> Iterator[Table]:
    """Yield a table of the tests that ran, and one of the groups; nothing for a result without them."""
    if any(test.status is not Status.SKIPPED for test in result.tests):
        yield _tests(result, width)
    if result.groups:
        yield table(_GROUP_COLUMNS, [_group_line(group) for group in result.groups], width)


def _tests(result: Result, width: int) -> Table:
    with_points = any(test.points is not None for test in result.tests)
    columns = (_NAME, _STATUS, _TIME, _MEMORY, *([_POINTS] if with_points else []), _MESSAGE)
    rows: list[list[str | Text]] = []
    for test in result.tests:
        name, status, time, memory, points, message = _test_line(test)
        rows.append([name, status, time, memory, *([points] if with_points else []), message])
    return table(columns, rows, width)


def _test_line(test: TestResult) -> tuple[str, Text, str, str, str, str]:
    return (
        printable(test.name),
        status_text(test.status),
        "" if test.time is None else f"{test.time:.3f} s",
        "" if test.memory is None else memory_words(test.memory),
        "" if test.points is None else f"{test.points:g}",
        "" if test.status in {Status.ACCEPTED, Status.SKIPPED} else printable(test.message),
    )


def _group_line(group: GroupResult) -> list[str | Text]:
    return [printable(group.name), status_text(group.status), points_words(group.points, group.max_points)]


def status_text(status: Status) -> Text:
    """Return a status in words and in its colour."""
    return Text(status_words(status), "dim" if status is Status.SKIPPED else status_colour(status))


def points_words(points: float | None, max_points: float | None) -> str:
    """Return "40 of 100", or nothing if there are no points."""
    return "" if points is None or max_points is None else f"{points:g} of {max_points:g}"
