"""Whether a task that nobody sees still makes progress."""

import time


class Liveness:
    """What a task shows of its progress. State: when its next sign is due; None while it rests."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._due_s: float | None = None

    def beat(self) -> None:
        """Something was done; the next sign comes within the limit."""
        self._due_s = time.monotonic() + self._limit_s

    def rest(self) -> None:
        """What comes next may take any time, and is nobody's fault."""
        self._due_s = None

    @property
    def overdue(self) -> bool:
        """Whether a sign is missing."""
        return self._due_s is not None and time.monotonic() > self._due_s
