"""Live view of submissions on a terminal: a bar for each, and the tests of one that is alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from verdictd.cli.outcomes import status_text
from verdictd.cli.tables import Column, table
from verdictd.cli.words import printable
from verdictd.contract.events import EventKind, Step
from verdictd.contract.result import Status

_PER_SECOND = 8
_BAR_WIDTH = 30
_LINES_LEFT = 3  # for all submissions together, and around
_COLUMNS = (Column("test", cut=2), Column("status"), Column("points", cut=1, number=True))


@dataclass(slots=True)
class _Shown:
    """A submission as far as it has come."""

    last: Step | None = None
    tests: dict[int, Step] = field(default_factory=dict)
    has_result: bool = False

    @property
    def is_running(self) -> bool:
        return self.last is not None and self.last.kind is not EventKind.FINISHED and not self.has_result


class LiveView:
    """View of the submissions with these names. State: how far each has come.

    `shown`: there is a terminal to draw on, so that steps are worth being told.
    """

    def __init__(self, names: Sequence[str], *, shown: bool) -> None:
        self.shown = shown
        self._names = names
        self._submissions = [_Shown() for _ in names]

    def step(self, at: int, step: Step) -> None:
        """Show a step of the submission at this position; a first one means that it is begun anew."""
        submission = self._submissions[at]
        if step.kind is EventKind.STARTED:
            submission.tests.clear()
        if step.kind is EventKind.TEST and step.number is not None:
            submission.tests[step.number] = step
        submission.last = step

    def result(self, at: int) -> None:
        """Count a result."""
        self._submissions[at].has_result = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = max(1, (options.height or console.height) - _LINES_LEFT)
        yield Group(*self._parts(rows, options.max_width))

    def _parts(self, rows: int, width: int) -> Iterator[RenderableType]:
        running = [
            (name, one.last)
            for name, one in zip(self._names, self._submissions, strict=True)
            if one.is_running and one.last is not None
        ]
        # A copy, as it is drawn in another thread than it is changed in.
        if len(self._submissions) == 1 and (tests := dict(self._submissions[0].tests)):
            yield _tests(tests, max(1, rows - 2), width)
        bars = running[:rows] if len(running) <= rows else running[: rows - 1]
        if bars:
            yield _bars(bars)
        if len(bars) < len(running):
            yield Text(f"{len(running) - len(bars)} more are judged", "dim")
        if len(self._submissions) > 1 or not running:
            results = sum(one.has_result for one in self._submissions)
            yield _bar_line("waiting for results", results, len(self._submissions))


@contextmanager
def watching(names: Sequence[str]) -> Iterator[LiveView]:
    """Show submissions on standard error until the block ends, if that is a terminal."""
    console = Console(stderr=True)
    view = LiveView(names, shown=console.is_terminal and not console.is_dumb_terminal)
    if not view.shown:
        yield view
        return
    with Live(view, console=console, transient=True, refresh_per_second=_PER_SECOND):
        yield view


def _tests(tests: dict[int, Step], rows: int, width: int) -> Table:
    """Return the tests that are done, by their numbers; the last ones, if there is not room for all."""
    latest = [tests[number] for number in sorted(tests)][-rows:]
    with_points = any(test.points is not None for test in latest)
    lines: list[list[str | Text]] = [
        [
            printable(test.name or ""),
            status_text(test.status or Status.SKIPPED),
            "" if test.points is None else f"{test.points:g}",
        ]
        for test in latest
    ]
    columns = _COLUMNS if with_points else _COLUMNS[:2]
    return table(columns, [line[: len(columns)] for line in lines], width)


def _bars(running: Sequence[tuple[str, Step]]) -> Table:
    grid = _grid()
    for name, step in running:
        _add_bar(grid, printable(name), step.done, step.tests, _doing(step))
    return grid


def _doing(step: Step) -> str:
    if step.kind is EventKind.STARTED:
        return "compiling"
    return f"test {min(step.done + 1, step.tests)} of {step.tests}"


def _bar_line(words: str, done: int, total: int) -> Table:
    grid = _grid()
    _add_bar(grid, words, done, total, f"{done} of {total}")
    return grid


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(no_wrap=True)
    return grid


def _add_bar(grid: Table, words: str, done: int, total: int, state: str) -> None:
    bar = ProgressBar(total=max(1, total), completed=done, width=_BAR_WIDTH)
    grid.add_row(Text(words), bar, Text(state))
