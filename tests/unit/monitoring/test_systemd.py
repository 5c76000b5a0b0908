"""What systemd is told, and that signs of life end where the service hangs."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from support.manager import Manager, manager
from support.waiting import wait_until
from verdictd.judging.judge import Running
from verdictd.monitoring import systemd
from verdictd.monitoring.history import Rate
from verdictd.monitoring.status import BoxStatus, StatusReporter
from verdictd.monitoring.systemd import ServiceNotifier
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState

EXTENSION = "EXTEND_TIMEOUT_USEC=30000000"


@dataclass
class Seen:
    """What is looked at of a reporter."""

    consuming: bool = False
    stuck: list[str] = field(default_factory=list)
    stopping: bool = False
    boxes: list[BoxStatus] = field(default_factory=lambda: [box(BoxState.FREE)])
    rates: tuple[Rate, ...] = (Rate(60, 30, 0.5, {}),)
    found: list[str] = field(default_factory=list)

    def hung(self) -> list[str]:
        return self.stuck

    def problems(self) -> list[str]:
        """Why it does not judge."""
        return self.found


def box(state: BoxState, submission: str | None = None) -> BoxStatus:
    running = None if submission is None else Running(submission, "c", datetime(2026, 1, 1, tzinfo=UTC))
    return BoxStatus(BoxId(7), state, running)


def vitals(seen: Seen, *, box_limit_s: float = 60, watchdog_s: float | None = 10) -> ServiceNotifier:
    return ServiceNotifier(cast(StatusReporter, seen), box_limit_s=box_limit_s, watchdog_s=watchdog_s)


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager that this process belongs to."""
    with manager(tmp_path) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        yield listening


def test_ready_is_told_once_and_only_when_consuming() -> None:
    """Until then systemd is asked to wait on, however long the broker is away."""
    seen = Seen(found=["not connected to RabbitMQ"])
    telling = vitals(seen)

    assert [
        "WATCHDOG=1",
        EXTENSION,
        "STATUS=not ready: not connected to RabbitMQ (0 of 1 boxes busy)",
    ] == telling.look()
    assert ["WATCHDOG=1", EXTENSION] == telling.look()
    seen.consuming, seen.found = True, []
    assert [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=judging: 0 of 1 boxes busy, 30 answered in the last minute (0.5/s)",
    ] == telling.look()
    seen.consuming = False
    assert ["WATCHDOG=1"] == telling.look()


def test_stopping_is_told_once_and_the_stop_is_extended_while_it_lasts() -> None:
    """TimeoutStopSec need not know how long the drain may take."""
    seen = Seen(consuming=True, boxes=[box(BoxState.LEASED, "a"), box(BoxState.RETIRED)])
    telling = vitals(seen, watchdog_s=None)

    assert ["READY=1"] == telling.look()[:1]
    seen.stopping = True
    assert [
        "STOPPING=1",
        EXTENSION,
        "STATUS=finishing what is in a box: 1 of 2 boxes busy, 1 retired",
    ] == telling.look()
    assert [EXTENSION] == telling.look()


@pytest.mark.parametrize("state", [BoxState.LEASED, BoxState.RESETTING])
def test_box_that_is_busy_for_too_long_ends_the_signs_of_life(state: BoxState) -> None:
    """All that happens in a box has a deadline: where none has ended it, the service hangs."""
    seen = Seen(consuming=True, boxes=[box(state, "a")])
    telling = vitals(seen, box_limit_s=0.05)

    assert "WATCHDOG=1" in telling.look()
    time.sleep(0.06)
    assert [f"STATUS=hangs: box 7 has been {state} for more than 0.05 s"] == telling.look()


@pytest.mark.parametrize("after", [box(BoxState.LEASED, "b"), box(BoxState.RESETTING)])
def test_box_that_goes_on_to_something_else_is_alive(after: BoxStatus) -> None:
    """The limit is one of a submission, not of a busy day."""
    seen = Seen(consuming=True, boxes=[box(BoxState.LEASED, "a")])
    telling = vitals(seen, box_limit_s=0.05)
    telling.look()
    time.sleep(0.06)
    seen.boxes = [after]

    assert "WATCHDOG=1" in telling.look()


@pytest.mark.parametrize("state", [BoxState.FREE, BoxState.RETIRED])
def test_box_may_rest_for_as_long_as_it_likes(state: BoxState) -> None:
    """Neither no work nor a broken box is a reason to restart."""
    telling = vitals(Seen(boxes=[box(state)]), box_limit_s=0.01)
    telling.look()
    time.sleep(0.02)

    assert "WATCHDOG=1" in telling.look()


def test_consumer_without_progress_ends_the_signs_of_life() -> None:
    """Systemd restarts what neither consumes nor tries to."""
    seen = Seen()
    telling = vitals(seen)
    well = telling.look()
    seen.stuck = ["the consumer of some.queue neither consumes nor tries to"]
    hung = telling.look()
    seen.stuck = []

    assert "WATCHDOG=1" in well
    assert ["STATUS=hangs: the consumer of some.queue neither consumes nor tries to"] == hung
    assert "WATCHDOG=1" in telling.look()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("variables", "signs"),
    [
        ({"WATCHDOG_USEC": "1000000"}, True),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
async def test_watchdog_is_served_more_than_twice_as_often_as_asked(
    listening: Manager, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], signs: bool
) -> None:
    """The interval comes from systemd, and may be meant for another process."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with systemd.informed(cast(StatusReporter, Seen()), submission_timeout_s=60):
        began_s = time.monotonic()
        await wait_until(lambda: len(listening.states("EXTEND")) > (6 if signs else 1))
        took_s = time.monotonic() - began_s
    moments = [moment for moment, state in listening.told if state == "WATCHDOG=1"]

    assert signs == (len(moments) > 2 * took_s)


@pytest.mark.anyio
async def test_loop_that_is_blocked_gives_no_sign_of_life(
    listening: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing beside the event loop speaks for it."""
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    async with systemd.informed(cast(StatusReporter, Seen()), submission_timeout_s=60):
        await wait_until(lambda: listening.states("WATCHDOG"))
        await asyncio.sleep(0.1)
        before = len(listening.told)
        time.sleep(2)  # noqa: ASYNC251 - this is the fault
        after = len(listening.told)
        await wait_until(lambda: len(listening.told) > after)

    assert before == after


def test_text_cannot_be_another_state(listening: Manager) -> None:
    """An error of two lines is one status."""
    systemd.notify(systemd.status("no such setting\nREADY=1"))
    systemd.notify("STOPPING=1")
    while "STOPPING=1" not in listening.states():
        time.sleep(0.01)

    assert ["STATUS=no such setting READY=1", "STOPPING=1"] == listening.states()


@pytest.mark.anyio
async def test_abstract_socket_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd may name a socket that is no file."""
    with closing(Manager(f"@verdictd-test-{os.getpid()}")) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        systemd.notify("READY=1")
        await wait_until(listening.states)

    assert ["READY=1"] == listening.states()


@pytest.mark.parametrize(
    ("address", "said"), [("", []), ("vsock:2:9", []), ("/nonexistent/notify", ["systemd.not_told"])]
)
def test_missing_manager_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, address: str, said: list[str]
) -> None:
    """Without systemd, or with one that cannot be reached, the service does its work."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with capture_logs() as logged:
        systemd.notify("READY=1")

    assert said == [line["event"] for line in logged]
