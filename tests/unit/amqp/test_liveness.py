"""Liveness: silence is noticed, and rest is not silence."""

from types import SimpleNamespace

import pytest

from verdictd.amqp import reconnecting
from verdictd.amqp.reconnecting import Liveness


def test_silence_after_a_beat_is_overdue_and_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again and again is progress, and so is waiting for deliveries; silence is none."""
    now_s = 0.0
    monkeypatch.setattr(reconnecting, "time", SimpleNamespace(monotonic=lambda: now_s))
    liveness = Liveness(limit_s=5)
    seen = [liveness.overdue]
    for _ in range(3):
        liveness.beat()
        now_s += 3
        seen.append(liveness.overdue)
    now_s += 3
    silent = liveness.overdue
    liveness.rest()
    now_s += 6

    assert ([False] * 4, True, False) == (seen, silent, liveness.overdue)
