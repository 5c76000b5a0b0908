"""All scenarios, and where each runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final

from harness.chaos import boxes, connections, control, deaths, load, outages, progress, several, storms
from harness.chaos.rig import Rig
from harness.chaos.row import Row


class Lane(Enum):
    """Scenarios of a lane run one after the other, lanes beside each other."""

    BUSY = auto()
    """They take all the processors that there are."""
    QUIET = auto()
    """They wait most of the time."""
    LONG = auto()
    """The first of them waits for minutes."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that goes wrong, and how long it may take."""

    name: str
    run: Callable[[Rig, Row], Awaitable[None]]
    lane: Lane
    limit_s: float

    @property
    def title(self) -> str:
        """What goes wrong, in a line."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    def chance(self, seed: str) -> Random:
        """What decides for this scenario; the same whether it runs alone or with others."""
        return Random(f"{seed} {self.name}")  # noqa: S311 - no secret


SCENARIOS: Final = (
    Scenario("storm", storms.storm, Lane.BUSY, 300),
    Scenario("killed-under-load", deaths.killed_under_load, Lane.BUSY, 600),
    Scenario("killed-while-busy", deaths.killed_while_busy, Lane.BUSY, 120),
    Scenario("control", control.control, Lane.BUSY, 300),
    Scenario("without-streams", control.without_streams, Lane.QUIET, 200),
    Scenario("killed-while-telling", progress.killed_while_telling, Lane.BUSY, 300),
    Scenario("told-to-stop", deaths.told_to_stop, Lane.BUSY, 300),
    Scenario("deadly-submission", deaths.deadly_submission, Lane.BUSY, 300),
    Scenario("fuzzed-bodies", load.fuzzed, Lane.BUSY, 400),
    Scenario("long-queue", load.long_queue, Lane.BUSY, 1_500),
    Scenario("broker-restarted", outages.restarted_while_busy, Lane.QUIET, 200),
    Scenario("connection-stalled", connections.stalled, Lane.QUIET, 400),
    Scenario("connection-cut", connections.cut, Lane.QUIET, 200),
    Scenario("broker-out-of-memory", outages.out_of_memory, Lane.QUIET, 200),
    Scenario("consumer-refused", connections.refused, Lane.QUIET, 300),
    Scenario("permission-revoked", connections.revoked, Lane.QUIET, 200),
    Scenario("told-twice", deaths.told_twice, Lane.QUIET, 120),
    Scenario("sandbox-removed", boxes.removed, Lane.QUIET, 300),
    Scenario("sandbox-unsafe", boxes.unsafe, Lane.QUIET, 300),
    Scenario("disk-full", boxes.disk_full, Lane.QUIET, 300),
    Scenario("broker-away", outages.away, Lane.LONG, 400),
    Scenario("sandboxes-killed", boxes.killed, Lane.LONG, 300),
    Scenario("two-daemons", several.two_daemons, Lane.LONG, 200),
    Scenario("three-hosts", several.three_hosts, Lane.LONG, 200),
)
