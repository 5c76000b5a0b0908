"""Runs the scenarios, and prints for each what was expected and what was measured."""

import argparse
import asyncio
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.chaos.rig import MOST_BOXES, Rig
from harness.chaos.row import Row, Skipped
from harness.chaos.scenarios import SCENARIOS, Lane, Scenario
from support.boxes import boxes
from support.broker import BrokerFailed
from support.daemon import sandbox_setting
from support.rabbitmq import PrivateBroker

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 150)


def main() -> int:
    """Run what was asked for; 0 if all is as expected."""
    arguments = parse()
    if arguments.list:
        for scenario in SCENARIOS:
            console.print(f"{scenario.name:<24} {scenario.title}", markup=False)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, as Ctrl-C does
    logging.getLogger().setLevel(logging.CRITICAL)  # the ledger's connections are meant to be lost
    wanted = [scenario for scenario in SCENARIOS if scenario.name in arguments.scenario]
    folder = Path(tempfile.mkdtemp(prefix="verdictd-chaos-"))
    console.print(f"seed {arguments.seed}, sandbox {arguments.sandbox}, logs in {folder}", markup=False)
    began_s = time.monotonic()
    try:
        rows = asyncio.run(run_all(wanted or list(SCENARIOS), arguments, folder))
    except BrokerFailed as error:
        console.print(f"{error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(table(rows))
    passed = all(row.passed for row in rows)
    verdict = "all as expected" if passed else "FAILED"
    console.print(f"seed {arguments.seed}: {verdict}, in {time.monotonic() - began_s:.0f} s", markup=False)
    if passed:
        shutil.rmtree(folder)
    return 0 if passed else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("scenario", nargs="*", choices=[*names, []], help="the ones to run; else all")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    parser.add_argument("--full", action="store_true", help="the figures of a long run")
    parser.add_argument("--short", action="store_true", help="those of `make test`")
    parser.add_argument(
        "--sandbox",
        default=sandbox_setting("isolate") or "embedded",
        help="embedded, or the path of isolate; else isolate where it is installed",
    )
    return parser.parse_args()


async def run_all(scenarios: Sequence[Scenario], arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Run each lane beside the others."""
    with PrivateBroker() as broker:

        async def run_lane(lane: Lane) -> list[Row]:
            with boxes(MOST_BOXES) as numbers:
                return [
                    await run(scenario, arguments, folder, broker, numbers)
                    for scenario in scenarios
                    if scenario.lane is lane
                ]

        lanes = await asyncio.gather(*map(run_lane, Lane))
    return [row for lane in lanes for row in lane]


async def run(
    scenario: Scenario, arguments: argparse.Namespace, folder: Path, broker: PrivateBroker, numbers: range
) -> Row:
    """Run one scenario, and say at once how it ended."""
    own = folder / scenario.name
    own.mkdir()
    rig = Rig(
        broker=broker,
        folder=own,
        random=scenario.chance(arguments.seed),
        sandbox=arguments.sandbox,
        numbers=numbers,
        full=arguments.full,
        short=arguments.short,
    )
    row = Row(scenario.name)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(scenario.limit_s) as limit:
            await scenario.run(rig, row)
    except Skipped as error:
        row.skipped = str(error)
    except (Exception, BaseExceptionGroup, pytest.fail.Exception) as error:
        late = f"did not end within {scenario.limit_s:g} s"
        row.failed(late if limit.expired() else f"{type(error).__name__}: {error}")
        (own / "traceback").write_text("".join(traceback.format_exception(error)))
    row.took_s = time.monotonic() - began_s
    word = "skipped" if row.skipped else "passed" if row.passed else "FAILED"
    console.print(f"{scenario.name:<24} {word} in {row.took_s:.0f} s", markup=False)
    return row


def table(rows: Sequence[Row]) -> Table:
    """One section a scenario, one line a figure."""
    shown = Table("scenario", "figure", "expected", "measured", "")
    for row in rows:
        name = f"{row.name} ({row.took_s:.0f} s)"
        if row.skipped:
            shown.add_row(name, "skipped", "", row.skipped, "")
        for check in row.checks:
            mark = "" if not check.expected else "passed" if check.passed else "FAILED"
            style = "" if check.passed else "bold red"
            shown.add_row(*map(Text, (name, check.what, check.expected, check.measured, mark)), style=style)
            name = ""
        shown.add_section()
    return shown


if __name__ == "__main__":
    sys.exit(main())
