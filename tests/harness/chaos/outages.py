"""The broker goes, comes back, or takes no results."""

import asyncio
import time

from harness.chaos.faults import restart
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import sleepers
from harness.chaos.rig import BOXES, Rig, elapsed
from harness.chaos.row import Row
from support.amqp import SUBMISSIONS, peer
from support.daemon import Daemon
from support.processes import cpu_s, memory_kib, sandboxes
from support.waiting import wait_until

MIB = 1024


async def restarted_while_busy(rig: Rig, row: Row) -> None:
    """The broker is stopped, and then killed, while a program runs in every box."""
    async with (
        rig.own_broker() as broker,
        Ledger.open(broker.url) as ledger,
        rig.daemon(broker.url) as running,
    ):
        for kill in (False, True):
            await ledger.publish_all(sleepers(2 * BOXES, 2))
            await wait_until(lambda: len(sandboxes(running.process.pid)) == BOXES)
            before = len(running.logged("broker.consuming"))
            await restart(broker, kill=kill)
            back_s = await elapsed(lambda: len(running.logged("broker.consuming")) > before, 60)  # noqa: B023
            how = "killed" if kill else "stopped"
            row.at_most(f"consuming after it was {how} and back", 10, back_s, " s")
            await ledger.complete(within_s=60)
    row.books(ledger.account(rig.starts()), reruns=0)


async def away(rig: Rig, row: Row) -> None:
    """The broker is away for three minutes."""
    away_s, settled_s = 180, 20
    async with (
        rig.own_broker() as broker,
        Ledger.open(broker.url) as ledger,
        rig.daemon(broker.url) as running,
    ):
        await ledger.publish_all(sleepers(5 * BOXES, 1))
        await ledger.more_answers(1, within_s=30)
        before_kib = memory_kib(running.process.pid)
        await asyncio.to_thread(broker.stop)
        starts = len(running.logged("submission.started"))
        await asyncio.sleep(settled_s)
        judged = len(running.logged("submission.started"))
        before_s = cpu_s(running.process.pid)[0]
        await asyncio.sleep(away_s - settled_s)
        idle = (cpu_s(running.process.pid)[0] - before_s) / (away_s - settled_s)
        row.note("away", f"{away_s} s")
        row.at_most("runs begun without it", 2 * BOXES, judged - starts)
        row.at_least("results that waited", 1, judged - ledger.answered)
        row.equal("runs begun later", 0, len(running.logged("submission.started")) - judged)
        row.at_most("CPU", 2, 100 * idle, " %")
        row.at_most(
            "memory beyond that before", 10, (memory_kib(running.process.pid) - before_kib) / MIB, " MiB"
        )
        await asyncio.to_thread(broker.start)
        await ledger.complete(within_s=90)
    row.books(ledger.account(rig.starts()), reruns=0)


async def out_of_memory(rig: Rig, row: Row) -> None:
    """The broker is short of memory and takes no results for a while."""
    async with rig.own_broker() as broker, Ledger.open(broker.url) as ledger, peer(broker.url) as client:
        await ledger.publish_all(sleepers(10 * BOXES, 1))  # more than is judged before the alarm
        async with rig.daemon(broker.url) as running:
            await ledger.more_answers(1, within_s=30)
            async with broker.memory_alarm():
                await asyncio.sleep(5)  # the alarm takes a moment to reach the connections
                answered = ledger.answered
                await still(running)
                waiting = len(running.logged("submission.started")) - ledger.answered
                row.at_least("judged during the alarm, their results waiting", BOXES, waiting)
                row.at_most("no more of them than it may hold", 2 * BOXES, waiting)
                row.equal("answers during the alarm", 0, ledger.answered - answered)
                row.at_least("left to others meanwhile", 1, await client.count(SUBMISSIONS))
            row.at_most("until the next answer", 30, await ledger.more_answers(1, within_s=60), " s")
            await ledger.complete(within_s=60)
    row.books(ledger.account(rig.starts()), reruns=0)


async def still(running: Daemon, quiet_s: float = 6, within_s: float = 60) -> None:
    """Wait until no run was begun for a while."""
    async with asyncio.timeout(within_s):
        seen, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < quiet_s:
            await asyncio.sleep(0.1)
            if (now := len(running.logged("submission.started"))) != seen:
                seen, since_s = now, time.monotonic()
