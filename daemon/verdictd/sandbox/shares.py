"""Shares of the processors that boxes have."""

from pathlib import Path

from verdictd.sandbox.model import Sandbox

_ISOLATE_GROUP = Path("/run/isolate/cgroup")
"""Where isolate names the control group above those of its boxes."""


def boxes_have_equal_shares(sandbox: Sandbox) -> bool:
    """Return False if all programs in control groups of isolate are one group for the scheduler.

    Then one with many processes delays those in other boxes. Isolate does not enable the controller itself.
    """
    if sandbox.name == "embedded" or not sandbox.control_groups:
        return True
    try:
        group = Path(_ISOLATE_GROUP.read_text().strip())
        return "cpu" in (group / "cgroup.subtree_control").read_text().split()
    except OSError:
        return True  # the group is named elsewhere, in isolate's configuration
