"""The short form of `make chaos`: a storm of every fault."""

import os
import random
from pathlib import Path

import pytest

from harness.chaos.rig import MOST_BOXES, Rig
from harness.chaos.row import Row, Skipped
from harness.chaos.scenarios import SCENARIOS, Scenario
from support.boxes import boxes
from support.broker import Broker
from support.daemon import sandbox_setting
from support.rabbitmq import PrivateBroker

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SHORT = {"storm"}


@pytest.mark.parametrize(
    "scenario", [pytest.param(one, id=one.name) for one in SCENARIOS if one.name in SHORT]
)
async def test_nothing_is_lost_or_misjudged(
    scenario: Scenario, broker: Broker, rabbitmq: PrivateBroker, tmp_path: Path
) -> None:
    """Each figure is as expected; the printed seed makes the same faults again."""
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"make chaos SCENARIO={scenario.name} SEED={seed} SHORT=1")  # noqa: T201 - shown where it fails
    row = Row(scenario.name)
    with boxes(MOST_BOXES) as numbers:
        rig = Rig(
            broker=broker,
            folder=tmp_path,
            random=scenario.chance(seed),
            sandbox=sandbox_setting("isolate") or "embedded",
            numbers=numbers,
            short=True,
            frail_broker=rabbitmq,
        )
        try:
            await scenario.run(rig, row)
        except Skipped as error:
            pytest.skip(str(error))

    assert [] == [check for check in row.checks if not check.passed]
    assert row.passed
