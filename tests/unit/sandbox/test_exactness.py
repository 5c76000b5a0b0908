"""Exactness of limits, as `verdictd check` and the log tell it."""

from pathlib import Path

import pytest

from verdictd.sandbox.exactness import Hold, by_hold, exactness, remedies
from verdictd.sandbox.model import Sandbox


@pytest.mark.parametrize("name", ["isolate", "embedded"])
@pytest.mark.parametrize(("groups", "memory"), [(True, Hold.KERNEL), (False, Hold.WATCHED)])
@pytest.mark.parametrize("user", [0, 1000])
def test_limits_hold_as_the_host_allows(
    monkeypatch: pytest.MonkeyPatch, name: str, groups: bool, memory: Hold, user: int
) -> None:
    """Each limit is named once; what is missing is named with the limits that it would make exact."""
    monkeypatch.setattr("os.geteuid", lambda: user)
    held = exactness(Sandbox((name,), name, "1", control_groups=groups, box_root=Path()))
    missing = [remedy.partition(":")[0] for remedy in remedies(held)]
    shared = ["for exact processes"] if (name, user) == ("embedded", 1000) else []

    assert "memory" in by_hold(held)[memory]
    assert len({each.limit for each in held}) == len(held)
    assert ([] if groups else ["for exact memory and CPU time"]) + shared == missing
