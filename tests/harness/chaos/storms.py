"""Faults of every kind, one after the other in an order that the seed decides."""

import asyncio
from collections import Counter
from functools import partial

from harness.chaos.boxes import strike
from harness.chaos.faults import hold, restart
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import mixture
from harness.chaos.rig import BOXES, Phoenix, Rig
from harness.chaos.row import Row
from support.proxy import Proxy

STALL_S = 8
HEARTBEAT_S = 2


async def storm(rig: Rig, row: Row) -> None:
    """Every fault at any moment, over 60 submissions; over 24 in `make test`."""
    count = 24 if rig.short else 60
    many, most = (1, 2) if rig.short else (2, 4)
    faults = {"kill": many, "restart": 1, "cut": 1, "stall": 1, "hold": 1, "strike": most}
    order = [fault for fault, count in faults.items() for _ in range(count)]
    rig.random.shuffle(order)
    hits: Counter[str] = Counter()
    async with (
        rig.own_broker() as broker,
        Ledger.open(url := broker.fresh_vhost()) as ledger,
        Proxy.open(url) as proxy,
        asyncio.TaskGroup() as tasks,
        Phoenix(
            partial(rig.daemon, proxy.url, broker__heartbeat_s=str(HEARTBEAT_S), sandbox__retire_s="1")
        ) as daemon,
    ):
        tasks.create_task(ledger.publish_all(mixture(count, rig.random), pause_s=0.3))
        for fault in order:
            await ledger.more_answers(rig.random.randint(1, count // 8), within_s=60)
            match fault:
                case "kill":
                    await daemon.kill()
                case "restart":
                    await restart(broker, kill=rig.random.random() < 0.5)
                case "cut":
                    proxy.cut()
                case "stall":
                    await stall(rig, proxy)
                case "hold":
                    await hold(daemon.running.process.pid, 2)
                case "strike":
                    await strike(rig, daemon.running, hits, most=1)  # other faults cost attempts too
        await ledger.complete(within_s=90)
        row.equal("exit code of the last daemon", 0, await daemon.running.end())
    row.note("faults", ", ".join(order))
    # A kill costs what runs, and what has run since the connection was lost and waits to be answered.
    row.books(ledger.account(rig.starts()), reruns=faults["kill"] * 2 * BOXES + hits.total())


async def stall(rig: Rig, proxy: Proxy) -> None:
    """Let nothing pass for longer than heartbeats allow: both ways, or one of them."""
    up, down = rig.random.choice([(True, True), (True, False), (False, True)])
    proxy.stall(to_broker=up, to_client=down)
    await asyncio.sleep(STALL_S)
    proxy.heal()
