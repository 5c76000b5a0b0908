"""Daemons as an operator watches them: live on a terminal, or once for a script."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pydantic import SecretStr
from rich.console import Console
from rich.live import Live
from yarl import URL

from verdictd.cli.status_client import DaemonReport, StatusClient, asking
from verdictd.cli.tables import printable, screen
from verdictd.concurrency import on_signals
from verdictd.monitoring.status import DaemonStatus
from verdictd.sandbox.pool import BoxState

_DRAWN_EVERY_S = 0.5


async def look(daemons: Sequence[URL], token: SecretStr | None) -> list[DaemonReport]:
    """Ask every daemon once, all at the same time."""
    async with asking(token) as asker:
        return await asyncio.gather(*(asker.ask(daemon) for daemon in daemons))


async def live(
    daemons: Sequence[URL], token: SecretStr | None, *, interval_s: float, console: Console
) -> None:
    """Show the daemons until SIGINT or SIGTERM; each is asked for itself, and none waits for another."""
    stop = asyncio.Event()
    latest = {daemon: DaemonReport(daemon, reason="asking") for daemon in daemons}
    with on_signals(stop.set), Live(console=console, screen=True, auto_refresh=False) as view:
        async with asking(token) as asker, asyncio.TaskGroup() as asked:
            tasks = [asked.create_task(_follow(asker, daemon, latest, interval_s)) for daemon in latest]
            while not stop.is_set():
                view.update(screen(list(latest.values()), console.height), refresh=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRAWN_EVERY_S):
                        await stop.wait()
            for task in tasks:
                task.cancel()


async def _follow(
    asker: StatusClient, daemon: URL, latest: dict[URL, DaemonReport], interval_s: float
) -> None:
    while True:
        latest[daemon] = await asker.ask(daemon)
        await asyncio.sleep(interval_s)


def facts(reports: Sequence[DaemonReport]) -> str:
    """One fact a line, in columns with tabs between them: daemon, name of the fact, values; "-" for none."""
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
    yield ["queue", status.queue.name, status.queue.messages]
    states = Counter(box.state for box in status.boxes)
    for state in BoxState:
        yield ["boxes", state, states[state]]
    for box in status.boxes:
        if box.running is None:
            yield ["box", box.box, box.state, None, None, None]
        else:
            running_s = round((status.at - box.running.since).total_seconds(), 1)
            yield ["box", box.box, box.state, running_s, box.running.language, box.running.id]
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
