"""What was judged lately: bounded, and counted over the last minutes."""

from datetime import UTC, datetime

import pytest

from verdictd.contract.result import Result, Status, WorkerIdentity
from verdictd.monitoring.history import History


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def result(number: int, status: Status = Status.ACCEPTED) -> Result:
    now = datetime.now(UTC)
    worker = WorkerIdentity(host="here", box=3, sandbox="embedded", sandbox_version="1", verdictd="1")
    return Result(
        id=f"number-{number}",
        status=status,
        status_id=3,
        message="",
        started_at=now,
        finished_at=now,
        worker=worker,
    )


def test_last_verdicts_are_kept_the_newest_first(clock: Clock) -> None:
    """Fifty of them, however many there were."""
    history = History(monotonic=clock)
    for number in range(1_000):
        history.add(result(number))
        clock.now_s += 1

    assert [f"number-{number}" for number in range(999, 949, -1)] == [
        verdict.id for verdict in history.verdicts
    ]


def test_rates_cover_one_five_and_fifteen_minutes(clock: Clock) -> None:
    """One submission a second, for an hour."""
    history = History(monotonic=clock)
    for number in range(3_600):
        clock.now_s += 1
        history.add(result(number))

    assert [60, 300, 900] == pytest.approx([rate.submissions for rate in history.rates], abs=10)
    assert [1.0, 1.0, 1.0] == pytest.approx([rate.per_second for rate in history.rates], abs=0.2)


def test_rate_after_the_start_is_over_the_time_since(clock: Clock) -> None:
    """Twenty in ten seconds are two a second, over any window; each status is counted."""
    history = History(monotonic=clock)
    for number in range(20):
        clock.now_s += 0.5
        history.add(result(number, Status.WRONG_ANSWER if number % 4 else Status.ACCEPTED))

    assert [2.0, 2.0, 2.0] == [rate.per_second for rate in history.rates]
    assert {Status.ACCEPTED: 5, Status.WRONG_ANSWER: 15} == history.rates[0].by_status


def test_quiet_time_brings_rates_to_nothing(clock: Clock) -> None:
    """What is older than a window is not counted in it."""
    history = History(monotonic=clock)
    history.add(result(1))
    clock.now_s += 400

    assert [0, 0, 1] == [rate.submissions for rate in history.rates]
