"""Shares of the processors that boxes have."""

from pathlib import Path

import pytest

from verdictd.sandbox import shares
from verdictd.sandbox.model import Sandbox


@pytest.mark.parametrize(
    ("controllers", "equal"), [("cpuset cpu memory", True), ("cpuset memory", False), (None, True)]
)
def test_boxes_of_isolate_have_equal_shares_with_the_controller_of_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controllers: str | None, equal: bool
) -> None:
    """Isolate itself enables two others; nothing is said of a group that its configuration names."""
    if controllers is not None:
        (tmp_path / "cgroup").write_text(f"{tmp_path}\n")
        (tmp_path / "cgroup.subtree_control").write_text(f"{controllers}\n")
    monkeypatch.setattr(shares, "_ISOLATE_GROUP", tmp_path / "cgroup")
    sandbox = Sandbox(("isolate",), "isolate", "2.6", control_groups=True, box_root=Path())

    assert equal == shares.boxes_have_equal_shares(sandbox)
