"""`verdictd top`: daemons on a live screen, or as facts for a script."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from yarl import URL

from verdictd.cli.status_client import DaemonReport, StatusClient, open_client
from verdictd.cli.tables import Column, status_colour, table
from verdictd.cli.words import duration_words, memory_words, printable, status_words
from verdictd.concurrency import on_signals
from verdictd.contract.result import Status
from verdictd.monitoring.status import BoxStatus, DaemonStatus
from verdictd.sandbox.pool import BoxState

_DRAWN_EVERY_S = 0.5
_COUNTED_S = 300


async def ask(daemons: Sequence[URL], token: SecretStr | None) -> list[DaemonReport]:
    """Ask every daemon once, all at the same time."""
    async with open_client(token) as client:
        return await asyncio.gather(*(client.ask(daemon) for daemon in daemons))


async def watch(
    daemons: Sequence[URL], token: SecretStr | None, *, interval_s: float, console: Console
) -> None:
    """Show the daemons until SIGINT or SIGTERM; a slow daemon does not delay the others."""
    stop = asyncio.Event()
    latest = {daemon: DaemonReport(daemon, reason="asking") for daemon in daemons}
    with on_signals(stop.set), Live(console=console, screen=True, auto_refresh=False) as view:
        async with open_client(token) as client, asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(_follow(client, daemon, latest, interval_s)) for daemon in latest]
            while not stop.is_set():
                reports = list(latest.values())
                view.update(screen(reports, console.width, console.height), refresh=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRAWN_EVERY_S):
                        await stop.wait()
            for follower in followers:
                follower.cancel()


async def _follow(
    client: StatusClient, daemon: URL, latest: dict[URL, DaemonReport], interval_s: float
) -> None:
    while True:
        latest[daemon] = await client.ask(daemon)
        await asyncio.sleep(interval_s)


def facts(reports: Sequence[DaemonReport]) -> str:
    """Return one fact per line in columns with tabs between them: daemon, name, values; "-" for no value."""
    lines = ([report.daemon, *fact] for report in reports for fact in _facts(report))
    return "".join("\t".join(map(_column, line)) + "\n" for line in lines)


def _facts(report: DaemonReport) -> Iterator[list[object]]:
    yield ["ready", "yes" if report.ready else "no"]
    for problem in report.problems:
        yield ["problem", problem]
    if report.status is not None:
        yield from _status_facts(report.status)


def _status_facts(status: DaemonStatus) -> Iterator[list[object]]:
    yield ["host", status.host]
    yield ["up", round((status.at - status.started_at).total_seconds())]
    for name in ("verdictd", "sandbox", "python", "kernel"):
        yield ["version", name, getattr(status.versions, name)]
    for queue in status.queues:
        yield ["queue", queue.name, queue.messages, queue.weight]
    states = Counter(box.state for box in status.boxes)
    for state in BoxState:
        yield ["boxes", state, states[state]]
    for box in status.boxes:
        running = box.running
        if running is None:
            yield ["box", box.box, box.state, None, None, None, None, None]
        else:
            running_s = round((status.at - running.since).total_seconds(), 1)
            told = (running.language, running.id, running.done, running.tests)
            yield ["box", box.box, box.state, running_s, *told]
    for rate in status.rates:
        yield ["rate", rate.window_s, rate.submissions, rate.per_second]
        for answer, count in sorted(rate.by_status.items()):
            yield ["answered", rate.window_s, answer, count]
    for verdict in status.verdicts:
        ago_s = round((status.at - verdict.finished_at).total_seconds(), 1)
        used = (verdict.time, verdict.memory)
        yield ["verdict", ago_s, verdict.status, *used, verdict.language, verdict.id]


def _column(value: object) -> str:
    return "-" if value is None else printable(str(value)) or "-"


def screen(reports: Sequence[DaemonReport], width: int, height: int) -> Group:
    """Return daemons, what runs in their boxes, and their last verdicts, as far as there is room."""
    problems = _problems(reports)[: max(1, height - len(reports) - 9)]
    left = max(2, height - len(reports) - len(problems) - 7)
    boxes = _box_table(reports, width, max(1, left // 2))
    verdicts = _verdict_table(reports, width, max(1, left - boxes.row_count))
    blank = Text()
    return Group(
        _summary(reports), blank, _daemon_table(reports, width), *problems, blank, boxes, blank, verdicts
    )


def _summary(reports: Sequence[DaemonReport]) -> Text:
    """Return how many are ready, and how many results they published in the last minutes."""
    ready = sum(report.ready for report in reports)
    counts: Counter[Status] = Counter()
    for report in reports:
        for rate in report.status.rates if report.status else ():
            if rate.window_s == _COUNTED_S:
                counts.update(rate.by_status)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{ready} of {len(reports)} ready", "bold green" if ready == len(reports) else "bold red")
    line.append(f"   last {_COUNTED_S // 60} minutes: ")
    for status, count in counts.most_common():
        line.append(f"{status_words(status)} {count}  ", status_colour(status))
    return line if counts else line.append("no results")


def _problems(reports: Sequence[DaemonReport]) -> list[Text]:
    """Return a line for each daemon that is not ready, with the reasons."""
    return [
        Text(
            f"{_name(report.daemon)}: {printable('; '.join(report.problems))}",
            "red",
            no_wrap=True,
            overflow="ellipsis",
        )
        for report in reports
        if not report.ready
    ]


def _daemon_table(reports: Sequence[DaemonReport], width: int) -> Table:
    columns = [
        Column("daemon", cut=3),
        Column("state"),
        Column("up"),
        Column("busy"),
        Column("queue", number=True),
        Column("/s in 1 5 15 min", cut=2, number=True),
        Column("versions", cut=1),
    ]
    return table(columns, [_daemon_row(report) for report in reports], width)


def _daemon_row(report: DaemonReport) -> list[str | Text]:
    state = Text("ready", "green") if report.ready else Text("not ready", "red")
    status = report.status
    if status is None:
        return [_name(report.daemon), state, *[""] * 5]
    retired = sum(box.state is BoxState.RETIRED for box in status.boxes)
    if retired:
        state.append(f", {retired} retired", "red")
    busy = sum(box.state is BoxState.LEASED for box in status.boxes)
    return [
        _name(report.daemon),
        state,
        duration_words(status.at - status.started_at),
        f"{busy} of {len(status.boxes)}",
        " ".join("?" if queue.messages is None else str(queue.messages) for queue in status.queues),
        " ".join(f"{rate.per_second:.2f}" for rate in status.rates),
        printable(f"{status.versions.verdictd}, {status.versions.sandbox}"),
    ]


def _box_table(reports: Sequence[DaemonReport], width: int, rows: int) -> Table:
    """Return the boxes that are not free: those that are retired, then those that run the longest."""
    columns = [
        Column("box", number=True),
        Column("state", cut=3),
        Column("runs for"),
        Column("test", cut=4),
        Column("language", cut=2),
        Column("daemon", cut=1 if len(reports) == 1 else 5),
        Column("submission", cut=6),
    ]
    busy = [
        (report.daemon, report.status, box)
        for report in reports
        if report.status
        for box in report.status.boxes
        if box.state is not BoxState.FREE
    ]
    busy.sort(key=lambda entry: (entry[2].state is not BoxState.RETIRED, -_running_time(*entry[1:])))
    shown = busy[: rows if len(busy) <= rows else rows - 1]
    lines = [_box_row(*entry) for entry in shown]
    if len(busy) > len(shown):
        lines.append(["...", f"{len(busy) - len(shown)} more", *[""] * (len(columns) - 2)])
    return table(columns, lines, width)


def _box_row(daemon: URL, status: DaemonStatus, box: BoxStatus) -> list[str | Text]:
    running = box.running
    return [
        str(box.box),
        Text(box.state, "red" if box.state is BoxState.RETIRED else ""),
        duration_words(_running_time(status, box)) if running else "",
        f"{min(running.done + 1, running.tests)} of {running.tests}" if running and running.tests > 1 else "",
        printable(running.language) if running else "",
        _name(daemon),
        printable(running.id) if running else "",
    ]


def _running_time(status: DaemonStatus, box: BoxStatus) -> timedelta:
    return status.at - box.running.since if box.running else timedelta()


def _verdict_table(reports: Sequence[DaemonReport], width: int, rows: int) -> Table:
    """Return the newest verdicts of all daemons."""
    columns = [
        Column("verdict"),
        Column("ago"),
        Column("CPU time", cut=4, number=True),
        Column("memory", cut=3, number=True),
        Column("language", cut=2),
        Column("daemon", cut=1 if len(reports) == 1 else 5),
        Column("submission", cut=6),
    ]
    verdicts = [
        (report.status.at - verdict.finished_at, report.daemon, verdict)
        for report in reports
        if report.status
        for verdict in report.status.verdicts
    ]
    verdicts.sort(key=lambda entry: entry[0])
    lines: list[list[str | Text]] = [
        [
            Text(status_words(verdict.status), status_colour(verdict.status)),
            duration_words(age),
            "" if verdict.time is None else f"{verdict.time:.3f} s",
            "" if verdict.memory is None else memory_words(verdict.memory),
            printable(verdict.language or ""),
            _name(daemon),
            printable(verdict.id),
        ]
        for age, daemon, verdict in verdicts[:rows]
    ]
    return table(columns, lines, width)


def _name(daemon: URL) -> str:
    return printable(str(daemon).removeprefix("http://").rstrip("/"))
