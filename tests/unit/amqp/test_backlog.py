"""Backlog: the age of the oldest message is bounded by what was taken last, and by an empty queue."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isnan

import pytest

from verdictd.amqp.backlog import Backlog

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Both clocks of a host. State: seconds since it began."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.now_s)

    def monotonic(self) -> float:
        return self.now_s


def taken_100_s_ago(backlog: Backlog, clock: Clock) -> None:
    backlog.took("q", clock.now())
    clock.now_s += 100


def empty_30_s_ago(backlog: Backlog, clock: Clock) -> None:
    taken_100_s_ago(backlog, clock)
    backlog.emptied("q")
    clock.now_s += 30


def untimed(backlog: Backlog, clock: Clock) -> None:
    clock.now_s += 100
    backlog.took("q", None)


def from_the_future(backlog: Backlog, clock: Clock) -> None:
    backlog.took("q", clock.now() + timedelta(seconds=5))


@pytest.mark.parametrize(
    ("past", "waiting", "age_s"),
    [
        (taken_100_s_ago, 1, 100),
        (taken_100_s_ago, 0, 0),
        (empty_30_s_ago, 1, 30),
        (from_the_future, 1, 0),
    ],
)
def test_oldest_is_at_most_as_old_as_what_was_taken_last(
    past: Callable[[Backlog, Clock], None], waiting: int, age_s: float
) -> None:
    """And no older than the moment when the queue was empty."""
    clock = Clock()
    backlog = Backlog(["q"], now=clock.now, monotonic=clock.monotonic)
    past(backlog, clock)

    assert age_s == backlog.oldest_s("q", waiting)


@pytest.mark.parametrize("past", [None, untimed])
def test_age_is_unknown_until_a_message_with_a_time_was_taken(
    past: Callable[[Backlog, Clock], None] | None,
) -> None:
    """A daemon that has just started knows nothing of what waits."""
    clock = Clock()
    backlog = Backlog(["q"], now=clock.now, monotonic=clock.monotonic)
    if past:
        past(backlog, clock)

    assert isnan(backlog.oldest_s("q", 3))
