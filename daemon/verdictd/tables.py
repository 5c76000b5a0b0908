"""Results for a person, on a terminal."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from verdictd.languages import Language
from verdictd.messages import Result, Status

_COLOURS = {Status.ACCEPTED: "green", Status.INTERNAL_ERROR: "magenta", Status.INVALID_SUBMISSION: "yellow"}


def result_table() -> Table:
    """An empty table of results, for `add_result`."""
    table = Table("id", "language", "status", "time (s)", "wall (s)", "memory (KiB)", "message")
    for column in table.columns[3:6]:
        column.justify = "right"
    return table


def add_result(table: Table, result: Result) -> None:
    """A row; texts of others are shown as they are, without markup and control characters."""
    details = "; ".join(f"{error.path}: {error.message}" for error in result.errors)
    table.add_row(
        Text(result.id),
        Text(result.language.name if result.language else ""),
        Text(result.status, style=_COLOURS.get(result.status, "red")),
        _number(result.time),
        _number(result.wall_time),
        "" if result.memory is None else str(result.memory),
        Text(_printable(details or result.message)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def language_table(languages: Iterable[Language]) -> Table:
    """The languages with their aliases, and what each lacks on this host."""
    table = Table("language", "also", "compiled", "missing on this host")
    for language in sorted(languages, key=lambda language: language.name):
        also = " ".join(sorted(language.words - {language.name}))
        table.add_row(language.name, also, "yes" if language.compile_cmd else "", " ".join(language.missing))
    return table
