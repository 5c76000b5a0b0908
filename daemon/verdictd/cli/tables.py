"""Results and daemons for a person, on a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.console import Group
from rich.table import Table
from rich.text import Text
from yarl import URL

from verdictd.cli.status_client import DaemonReport
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


def screen(reports: Sequence[DaemonReport], height: int) -> Group:
    """Daemons, what runs in their boxes, and their last verdicts, in as many lines as there are."""
    left = max(2, height - len(reports) - 7)
    boxes = _box_table(reports, max(1, left // 2))
    verdicts = _verdict_table(reports, max(1, left - boxes.row_count))
    blank = Text()
    return Group(_summary(reports), blank, _daemon_table(reports), blank, boxes, blank, verdicts)


def _summary(reports: Sequence[DaemonReport]) -> Text:
    """How many are ready, and what they answered in the last minutes."""
    ready = sum(report.ready for report in reports)
    counts: Counter[Status] = Counter()
    for report in reports:
        for rate in report.status.rates if report.status else ():
            if rate.window_s == _COUNTED_S:
                counts.update(rate.by_status)
    line = Text(f"{ready} of {len(reports)} ready", "bold green" if ready == len(reports) else "bold red")
    line.append(f"   last {_COUNTED_S // 60} minutes: ", "default")
    for status, count in counts.most_common():
        line.append(f"{count} {status}  ", _COLOURS.get(status, "red"))
    return line if counts else line.append("no answer", "default")


def _daemon_table(reports: Sequence[DaemonReport]) -> Table:
    table = _listing("daemon", "up", "busy", "queue", "/s in 1 5 15 min", "state")
    for report in reports:
        columns = _daemon_columns(report.status) if report.status else [""] * 4
        table.add_row(_name(report.daemon), *columns, _state(report))
    return table


def _daemon_columns(status: DaemonStatus) -> list[str]:
    busy = sum(box.state is BoxState.LEASED for box in status.boxes)
    return [
        _duration(status.at - status.started_at),
        f"{busy} of {len(status.boxes)}",
        "?" if status.queue.messages is None else str(status.queue.messages),
        " ".join(f"{rate.per_second:.2f}" for rate in status.rates),
    ]


def _state(report: DaemonReport) -> Text:
    state = Text("ready", "green") if report.ready else Text(printable("; ".join(report.problems)), "red")
    if report.status:
        retired = sum(box.state is BoxState.RETIRED for box in report.status.boxes)
        if retired:
            state.append(f", {retired} retired", "red")
        versions = report.status.versions
        state.append(printable(f" ({versions.verdictd}, {versions.sandbox})"), "default")
    return state


def _box_table(reports: Sequence[DaemonReport], rows: int) -> Table:
    """The boxes that are not free: those that are retired, then those that run the longest."""
    table = _listing("box", "daemon", "state", "runs for", "language", "submission")
    busy = [
        (report.daemon, report.status, box)
        for report in reports
        if report.status
        for box in report.status.boxes
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


def _verdict_table(reports: Sequence[DaemonReport], rows: int) -> Table:
    """The newest verdicts of all daemons."""
    table = _listing("verdict", "ago", "CPU s", "KiB", "language", "daemon", "submission")
    verdicts = [
        (report.status.at - verdict.finished_at, report.daemon, verdict)
        for report in reports
        if report.status
        for verdict in report.status.verdicts
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
