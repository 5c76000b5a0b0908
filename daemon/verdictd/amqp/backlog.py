"""Age of what waits in a queue, as far as a daemon can know it without taking it."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf, isnan, nan


class Backlog:
    """Bounds on the age of the oldest message of each queue.

    What waits was published after what was taken last, and after the queue was last seen empty. Messages that
    come back, and priorities, are not in that order: the bound does not hold for them.

    State: for each queue, when the message that was taken last was published, and when it was seen empty.
    """

    def __init__(
        self,
        queues: Iterable[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._monotonic = monotonic
        self._published: dict[str, datetime | None] = dict.fromkeys(queues)
        self._empty_s = dict.fromkeys(self._published, -inf)

    def took(self, queue: str, published: datetime | None) -> None:
        """Note a message that was taken for the first time, and when it was published if that is known."""
        self._published[queue] = published

    def emptied(self, queue: str) -> None:
        """Note that the queue has no message now."""
        self._empty_s[queue] = self._monotonic()

    def oldest_s(self, queue: str, waiting: float) -> float:
        """Return the age of the oldest message at most; 0 if none waits, NaN if it is not known.

        `waiting` is the length of the queue, or NaN if that is not known.
        """
        if not waiting:
            self.emptied(queue)
            return 0
        published = self._published[queue]
        since_taken_s = (self._now() - published).total_seconds() if published else inf
        age_s = min(since_taken_s, self._monotonic() - self._empty_s[queue])
        return nan if isnan(waiting) or age_s == inf else max(0.0, age_s)
