"""Results and daemons for a person, on a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.console import Group
from rich.table import Table
from rich.text import Text
from yarl import URL

from verdictd.cli.status_client import Glance
from verdictd.contract.result import Result, Status
from verdictd.judging.languages import Language
from verdictd.monitoring.status import BoxStatus, DaemonStatus
from verdictd.sandbox.pool import BoxState

_COLOURS = {Status.ACCEPTED: "green", Status.INTERNAL_ERROR: "magenta", Status.INVALID_SUBMISSION: "yellow"}
_COUNTED_S = 300


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
        Text(printable(details or result.message)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def printable(text: str) -> str:
    """A text of others, in which nothing moves the cursor, changes colours or the direction of writing."""
    return "".join(character if character.isprintable() else " " for character in text)


def language_table(languages: Iterable[Language]) -> Table:
    """The languages with their aliases, and what each lacks on this host."""
    table = Table("language", "also", "compiled", "missing on this host")
    for language in sorted(languages, key=lambda language: language.name):
        also = " ".join(sorted(language.words - {language.name}))
        table.add_row(language.name, also, "yes" if language.compile_cmd else "", " ".join(language.missing))
    return table


def screen(glances: Sequence[Glance], height: int) -> Group:
    """Daemons, what runs in their boxes, and their last verdicts, in as many lines as there are."""
    left = max(2, height - len(glances) - 7)
    boxes = _box_table(glances, max(1, left // 2))
    verdicts = _verdict_table(glances, max(1, left - boxes.row_count))
    blank = Text()
    return Group(_summary(glances), blank, _daemon_table(glances), blank, boxes, blank, verdicts)


def _summary(glances: Sequence[Glance]) -> Text:
    """How many are ready, and what they answered in the last minutes."""
    ready = sum(glance.ready for glance in glances)
    counts: Counter[Status] = Counter()
    for glance in glances:
        for rate in glance.status.rates if glance.status else ():
            if rate.window_s == _COUNTED_S:
                counts.update(rate.by_status)
    line = Text(f"{ready} of {len(glances)} ready", "bold green" if ready == len(glances) else "bold red")
    line.append(f"   last {_COUNTED_S // 60} minutes: ", "default")
    for status, count in counts.most_common():
        line.append(f"{count} {status}  ", _COLOURS.get(status, "red"))
    return line if counts else line.append("no answer", "default")


def _daemon_table(glances: Sequence[Glance]) -> Table:
    table = _listing("daemon", "up", "busy", "queue", "/s in 1 5 15 min", "state")
    for glance in glances:
        columns = _daemon_columns(glance.status) if glance.status else [""] * 4
        table.add_row(_name(glance.daemon), *columns, _state(glance))
    return table


def _daemon_columns(status: DaemonStatus) -> list[str]:
    busy = sum(box.state is BoxState.LEASED for box in status.boxes)
    return [
        _duration(status.at - status.started_at),
        f"{busy} of {len(status.boxes)}",
        "?" if status.queue.messages is None else str(status.queue.messages),
        " ".join(f"{rate.per_second:.2f}" for rate in status.rates),
    ]


def _state(glance: Glance) -> Text:
    state = Text("ready", "green") if glance.ready else Text(printable("; ".join(glance.problems)), "red")
    if glance.status:
        retired = sum(box.state is BoxState.RETIRED for box in glance.status.boxes)
        if retired:
            state.append(f", {retired} retired", "red")
        versions = glance.status.versions
        state.append(printable(f" ({versions.verdictd}, {versions.sandbox})"), "default")
    return state


def _box_table(glances: Sequence[Glance], rows: int) -> Table:
    """The boxes that are not free: those that are retired, then those that run the longest."""
    table = _listing("box", "daemon", "state", "runs for", "language", "submission")
    busy = [
        (glance.daemon, glance.status, box)
        for glance in glances
        if glance.status
        for box in glance.status.boxes
        if box.state is not BoxState.FREE
    ]
    busy.sort(key=lambda entry: (entry[2].state is not BoxState.RETIRED, -_running_time(*entry[1:])))
    for daemon, status, box in busy[: rows if len(busy) <= rows else rows - 1]:
        running = box.running
        table.add_row(
            str(box.box),
            _name(daemon),
            Text(box.state, "red" if box.state is BoxState.RETIRED else ""),
            _duration(_running_time(status, box)) if running else "",
            Text(printable(running.language)) if running else "",
            Text(printable(running.id)) if running else "",
        )
    if len(busy) > rows:
        table.add_row("...", Text(f"{len(busy) - rows + 1} more"))
    return table


def _running_time(status: DaemonStatus, box: BoxStatus) -> timedelta:
    return status.at - box.running.since if box.running else timedelta()


def _verdict_table(glances: Sequence[Glance], rows: int) -> Table:
    """The newest verdicts of all daemons."""
    table = _listing("verdict", "ago", "CPU s", "KiB", "language", "daemon", "submission")
    verdicts = [
        (glance.status.at - verdict.finished_at, glance.daemon, verdict)
        for glance in glances
        if glance.status
        for verdict in glance.status.verdicts
    ]
    verdicts.sort(key=lambda entry: entry[0])
    for age, daemon, verdict in verdicts[:rows]:
        table.add_row(
            Text(verdict.status, _COLOURS.get(verdict.status, "red")),
            _duration(age),
            _number(verdict.time),
            "" if verdict.memory is None else str(verdict.memory),
            Text(printable(verdict.language or "")),
            _name(daemon),
            Text(printable(verdict.id)),
        )
    return table


def _listing(*columns: str) -> Table:
    """An empty table in which each row is one line; the last column has what room there is."""
    table = Table(box=None, expand=True, header_style="reverse", pad_edge=False)
    for column in columns:
        ratio = 1 if column is columns[-1] else None
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=ratio)
    return table


def _name(daemon: URL) -> Text:
    return Text(str(daemon).removeprefix("http://").rstrip("/"))


def _duration(passed: timedelta) -> str:
    """The two largest units of a duration; nothing below 0, where a clock was set back."""
    seconds = max(0, round(passed.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
