"""Exactness of each limit on this host: enforced, watched, or per process only."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from verdictd.sandbox.model import Sandbox

_GROUPS = {
    "isolate": "control groups of version 2, and isolate.service running",
    "embedded": "control groups that this user may divide: root, or a delegated group",
}


class Hold(StrEnum):
    """Ways in which a limit holds; those that are watched are exceeded for a moment."""

    KERNEL = "enforced by the kernel"
    DAEMON = "enforced by the daemon"
    WATCHED = "watched"
    PER_PROCESS = "per process only"


@dataclass(frozen=True, slots=True)
class LimitHeld:
    """One limit, how it holds here, and what would make it exact; None where it is."""

    limit: str
    hold: Hold
    remedy: str | None = None


def exactness(sandbox: Sandbox) -> Sequence[LimitHeld]:
    """Return how each limit of a run holds in this sandbox on this host."""
    groups = None if sandbox.control_groups else _GROUPS.get(sandbox.name, _GROUPS["isolate"])
    memory = Hold.KERNEL if sandbox.control_groups else Hold.WATCHED
    own_users = sandbox.name != "embedded" or os.geteuid() == 0
    return (
        LimitHeld("memory", memory, groups),
        # Both sandboxes look at the clocks several times a second.
        LimitHeld("CPU time", Hold.WATCHED, groups),
        LimitHeld("wall time", Hold.WATCHED),
        LimitHeld(
            "processes",
            Hold.KERNEL,
            None if own_users else "a user for each box, which root has: boxes of this user count together",
        ),
        LimitHeld("disk", Hold.WATCHED),
        LimitHeld("output", Hold.DAEMON),
        LimitHeld("file size", Hold.PER_PROCESS),
        LimitHeld("stack", Hold.PER_PROCESS),
        LimitHeld("open files", Hold.PER_PROCESS),
    )


def by_hold(held: Sequence[LimitHeld]) -> dict[Hold, list[str]]:
    """Return the names of the limits that hold in each way."""
    return {hold: [each.limit for each in held if each.hold is hold] for hold in Hold}


def remedies(held: Sequence[LimitHeld]) -> list[str]:
    """Return what would make limits exact, such as `for exact memory: control groups`."""
    found: dict[str, list[str]] = {}
    for each in held:
        if each.remedy is not None:
            found.setdefault(each.remedy, []).append(each.limit)
    return [f"for exact {' and '.join(limits)}: {remedy}" for remedy, limits in found.items()]
