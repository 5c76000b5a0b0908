"""History: the newest results, and rates over the last minutes."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import AwareDatetime

from verdictd.contract.result import Result, Status

WINDOWS_S = (60, 300, 900)
_SLOT_S = 10
_KEPT_VERDICTS = 50


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """A result as an operator wants to see it: nothing that the program wrote."""

    id: str
    language: str | None
    status: Status
    time: float | None
    """CPU time in seconds."""
    memory: int | None
    """Peak in KiB."""
    box: int | None
    attempt: int
    finished_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Rate:
    """Submissions answered in the last `window_s` seconds, or since the start if that is later."""

    window_s: int
    submissions: int
    per_second: float
    by_status: dict[Status, int]


class History:
    """Results of the last minutes. State: counts by slots of ten seconds, and the newest results."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._slots: deque[tuple[int, Counter[Status]]] = deque(maxlen=max(WINDOWS_S) // _SLOT_S + 1)
        self._verdicts: deque[ResultSummary] = deque(maxlen=_KEPT_VERDICTS)

    def add(self, result: Result) -> None:
        """Count a result that was published."""
        slot = int(self._monotonic() // _SLOT_S)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, Counter()))
        self._slots[-1][1][result.status] += 1
        self._verdicts.append(
            ResultSummary(
                id=result.id,
                language=result.language.name if result.language else None,
                status=result.status,
                time=result.time,
                memory=result.memory,
                box=result.worker.box,
                attempt=result.attempt,
                finished_at=result.finished_at,
            )
        )

    @property
    def verdicts(self) -> list[ResultSummary]:
        """The newest results, newest first."""
        return list(reversed(self._verdicts))

    @property
    def rates(self) -> list[Rate]:
        """Rates over the last minute, five minutes and fifteen minutes, to ten seconds."""
        return [self._rate(window_s) for window_s in WINDOWS_S]

    def _rate(self, window_s: int) -> Rate:
        oldest = (self._monotonic() - window_s) // _SLOT_S
        counts: Counter[Status] = Counter()
        for slot, counted in self._slots:
            if slot > oldest:
                counts += counted
        total = counts.total()
        seconds = max(1.0, min(window_s, self._monotonic() - self._began_s))
        return Rate(window_s, total, round(total / seconds, 3), dict(counts))
