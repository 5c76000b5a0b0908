"""Tables of one line per row that fit the width of a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

_GAP = 2
_STATUS_COLOURS = {"accepted": "green", "internal_error": "magenta", "invalid_submission": "yellow"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    `cut` is the order in which columns give up room: 1 is the first, 0 never does. A column is shortened to
    `least` characters or more; where that is not enough it is left out.
    """

    title: str
    cut: int = 0
    least: int = 8
    number: bool = False
    """Aligned to the right, and never shortened: shown or left out."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """Return a table of at most `width` characters, as far as its columns may be cut."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    titles = [len(column.title) for column in columns]
    natural = [max([title, *(row[at].cell_len for row in cells)]) for at, title in enumerate(titles)]
    widths = _fit(columns, natural, width)
    found = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    kept = [at for at, cell_width in enumerate(widths) if cell_width]
    for at in kept:
        column = columns[at]
        justify: JustifyMethod = "right" if column.number else "left"
        found.add_column(column.title, width=widths[at], justify=justify, no_wrap=True, overflow="ellipsis")
    for row in cells:
        found.add_row(*(row[at] for at in kept))
    return found


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Return the width of each column; 0 for one that is left out."""
    widths = list(natural)
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    for at in sorted(range(len(columns)), key=lambda at: columns[at].cut):
        column = columns[at]
        if column.cut == 0 or excess <= 0:
            continue
        shortened = widths[at] - excess
        if column.number or shortened < min(column.least, widths[at]):
            excess -= widths[at] + _GAP
            widths[at] = 0
        else:
            excess, widths[at] = 0, shortened
    return widths


def status_colour(status: str) -> str:
    """Return the colour of a status, for rich."""
    return _STATUS_COLOURS.get(status, "red")
