"""Daemons on a screen, and as facts for scripts."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from yarl import URL

from verdictd.cli import status_client
from verdictd.cli.status_client import DaemonReport
from verdictd.cli.top import facts, screen
from verdictd.contract.result import Status
from verdictd.judging.judge import Running
from verdictd.monitoring.history import Rate, ResultSummary
from verdictd.monitoring.status import BoxStatus, DaemonStatus, QueueStatus, Versions
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState
from verdictd.settings import HttpSettings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HERE, THERE = URL("http://127.0.0.1:8080"), URL("http://judge-2:8080")
UUID = "3f2b8c1e-9a4d-4e52-8f0b-1c2d3e4f5a6b"
HOSTILE = "a\x1b[2J\tb\nc\u202e[red]d"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def verdict(submission: str, status: Status = Status.ACCEPTED, ago_s: float = 1) -> ResultSummary:
    return ResultSummary(
        id=submission,
        language="python",
        status=status,
        time=0.125,
        memory=9_000,
        box=0,
        attempt=1,
        finished_at=ago(ago_s),
    )


def status(
    *,
    boxes: Sequence[BoxStatus] = (),
    verdicts: Sequence[ResultSummary] = (),
    problems: Sequence[str] = (),
    messages: int | None = 7,
) -> DaemonStatus:
    return DaemonStatus(
        host="judge-1",
        at=NOW,
        started_at=ago(2 * 3_600 + 13 * 60),
        ready=not problems,
        problems=list(problems),
        queues=[QueueStatus("verdictd.submissions", 1, messages)],
        boxes=list(boxes),
        rates=[Rate(60, 30, 0.5, {Status.ACCEPTED: 30}), Rate(300, 75, 0.25, {Status.ACCEPTED: 75})],
        verdicts=list(verdicts),
        versions=Versions(verdictd="0.1.0", sandbox="isolate 2.6", python="3.12.1", kernel="6.1"),
    )


def busy(number: int, submission: str, for_s: float) -> BoxStatus:
    running = Running(submission, "python", ago(for_s), tests=100, done=6)
    return BoxStatus(BoxId(number), BoxState.LEASED, running)


def drawn(seen: Sequence[DaemonReport], *, height: int = 40, width: int = 160) -> list[str]:
    """Return the lines of a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(screen(seen, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_facts_are_one_a_line_in_columns_for_cut_and_awk() -> None:
    """Every fact of a daemon, a dash where there is none."""
    boxes = [busy(3, "long", 12.34), BoxStatus(BoxId(4), BoxState.RETIRED, None)]
    lines = facts([DaemonReport(HERE, status(boxes=boxes, verdicts=[verdict("last")], messages=None))])

    assert """\
ready\tyes
host\tjudge-1
up\t7980
version\tverdictd\t0.1.0
version\tsandbox\tisolate 2.6
version\tpython\t3.12.1
version\tkernel\t6.1
queue\tverdictd.submissions\t-\t1
boxes\tfree\t0
boxes\tleased\t1
boxes\tresetting\t0
boxes\tretired\t1
box\t3\tleased\t12.3\tpython\tlong\t6\t100
box\t4\tretired\t-\t-\t-\t-\t-
rate\t60\t30\t0.5
answered\t60\taccepted\t30
rate\t300\t75\t0.25
answered\t300\taccepted\t75
verdict\t1.0\taccepted\t0.125\t9000\tpython\tlast
""" == "".join(line.removeprefix(f"{HERE}\t") for line in lines.splitlines(keepends=True))


def test_facts_of_others_are_theirs() -> None:
    """Each line names its daemon, for one that is not ready and for one that is down."""
    seen = [
        DaemonReport(HERE, status(problems=["stopping"])),
        DaemonReport(THERE, reason="cannot connect: refused"),
    ]
    lines = [line.split("\t") for line in facts(seen).splitlines()]

    assert [[str(HERE), "ready", "no"], [str(HERE), "problem", "stopping"]] == lines[:2]
    assert [
        [str(THERE), "ready", "no"],
        [str(THERE), "problem", "cannot connect: refused"],
    ] == lines[-2:]


def test_text_of_strangers_is_only_text() -> None:
    """Escapes, markup, tabs and line ends in an id add no fact and are not obeyed by a terminal."""
    seen = [DaemonReport(HERE, status(boxes=[busy(3, HOSTILE, 1)], verdicts=[verdict(HOSTILE)]))]
    lines = [line.split("\t") for line in facts(seen).splitlines()]
    screen_text = "\n".join(drawn(seen))
    ids = {line[{"box": 6, "verdict": 7}[line[1]]] for line in lines if line[1] in {"box", "verdict"}}

    assert {"a [2J b c [red]d"} == ids
    assert 2 == screen_text.count("a [2J b c [red]d")
    assert "\x1b[2J" not in screen_text
    assert "\u202e" not in screen_text


def test_screen_shows_all_daemons_and_what_they_do() -> None:
    """Each daemon in a line, then what runs, the longest first, then the newest verdicts of all."""
    first = status(
        boxes=[busy(0, "short", 2), busy(1, "long", 75), BoxStatus(BoxId(2), BoxState.FREE, None)],
        verdicts=[verdict("older", Status.WRONG_ANSWER, 65)],
    )
    second = status(boxes=[BoxStatus(BoxId(5), BoxState.RETIRED, None)], verdicts=[verdict("newer")])
    down = DaemonReport(URL("http://judge-3:8080"), reason="no answer within 5 s")
    lines = drawn([DaemonReport(HERE, first), DaemonReport(THERE, second), down])
    where = {
        word: next(number for number, line in enumerate(lines) if word in line)
        for word in ("no answer", "long", "short", "newer", "older")
    }

    assert "2 of 3 ready" in lines[0]
    assert "Accepted 150" in lines[0]
    assert any("127.0.0.1:8080" in line and "2h13m" in line and "2 of 3" in line for line in lines)
    assert any("judge-2:8080" in line and ", 1 retired" in line for line in lines)
    assert "judge-3:8080" in lines[where["no answer"]]
    assert "1m15s" in lines[where["long"]]
    assert " 7 of 100 " in lines[where["long"]]
    assert where["long"] < where["short"] < where["newer"] < where["older"]


@pytest.mark.parametrize("height", [12, 24, 50])
def test_screen_fits_its_terminal(height: int) -> None:
    """Nothing is lost below the last line; boxes that are left out are counted."""
    boxes = [busy(number, f"run-{number}", number) for number in range(100)]
    verdicts = [verdict(f"verdict-{number}", ago_s=number) for number in range(50)]
    lines = drawn([DaemonReport(HERE, status(boxes=boxes, verdicts=verdicts))], height=height, width=80)
    shown = sum("run-" in line for line in lines)

    assert len(lines) <= height
    assert any(f"{100 - shown} more" in line for line in lines)
    assert any("verdict-0" in line for line in lines)


@pytest.mark.parametrize("daemons", [[HERE], [HERE, THERE]], ids=["one daemon", "two daemons"])
def test_screen_of_80_columns_cuts_neither_statuses_nor_ids(daemons: list[URL]) -> None:
    """The language, the figures and the daemon's name give up room before them."""
    verdicts = [verdict(UUID, Status.RUNTIME_ERROR_SIGSEGV), verdict(UUID, Status.MEMORY_LIMIT_EXCEEDED)]
    shown = status(boxes=[busy(0, UUID, 4_000)], verdicts=verdicts)
    lines = drawn([DaemonReport(daemon, shown) for daemon in daemons], height=24, width=80)
    with_id = [line for line in lines if UUID in line]

    assert 3 * len(daemons) == len(with_id)
    assert len(daemons) == sum("Runtime error (SIGSEGV)" in line for line in with_id)
    assert len(daemons) == sum("Memory limit exceeded" in line for line in with_id)
    assert len(daemons) == sum("1h6m" in line and " 7 of 100 " in line for line in with_id)


def test_reasons_have_lines_of_their_own() -> None:
    """A reason is not squeezed into a column, and does not push anything off the screen."""
    reason = "not connected to RabbitMQ: Connection refused by 127.0.0.1:5672"
    seen = [DaemonReport(URL(f"http://judge-{number}:80"), status(problems=[reason])) for number in range(3)]
    lines = drawn(seen, height=24, width=80)

    assert 3 == sum(reason in line for line in lines)
    assert len(lines) <= 24


def test_daemon_without_an_answer_is_shown() -> None:
    """A daemon that has not answered is listed with the reason."""
    lines = drawn([DaemonReport(HERE, reason="asking")])

    assert "0 of 1 ready" in lines[0]
    assert any("127.0.0.1:8080" in line and "asking" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "daemon"),
    [
        ("judge-1:8080", "http://judge-1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://judges.example/one", "https://judges.example/one"),
    ],
)
def test_address_is_a_url_or_a_host_with_a_port(given: str, daemon: str) -> None:
    """Behind a proxy a daemon may have a path."""
    assert URL(daemon) == status_client.parse_address(given)


@pytest.mark.parametrize(
    "given", ["", "ftp://judge-1", "http://user:password@judge-1", "judge-1/status?x=1", "http://a:port"]
)
def test_other_addresses_are_refused(given: str) -> None:
    """A password in particular: every user of a host can read the arguments of a command."""
    with pytest.raises(ValueError, match=r".") as refused:
        status_client.parse_address(given)

    assert "password@" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "daemon"),
    [("127.0.0.1", "http://127.0.0.1:99"), ("0.0.0.0", "http://127.0.0.1:99"), ("::", "http://[::1]:99")],  # noqa: S104
)
def test_own_daemon_is_where_the_settings_say(host: str, daemon: str) -> None:
    """One that listens everywhere is asked on loopback."""
    assert URL(daemon) == status_client.local_daemon(HttpSettings(host=host, port=99))
