"""The sandboxes die under their programs, or cannot be had at all."""

import asyncio
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.chaos.faults import fill, hold, kill, small_disk
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import mixture, sleepers
from harness.chaos.rig import BOXES, Rig
from harness.chaos.row import Row
from support.amqp import DEAD, SUBMISSIONS, peer
from support.daemon import Daemon
from support.manager import manager
from support.metrics import scrape
from support.processes import sandboxes
from support.web import reached
from verdictd.sandbox.embedded import __file__ as embedded


async def killed(rig: Rig, row: Row) -> None:
    """Sandboxes are killed at random for a minute, and some held up; no submission is hit more than twice."""
    url = await rig.vhost()
    async with Ledger.open(url) as ledger, rig.daemon(url, sandbox__retire_s="1") as running:
        hits = await torment(rig, ledger, running, 60)
        await ledger.complete(within_s=120)
        row.books(ledger.account(rig.starts()), reruns=hits.total())
        ledger.forget()
        await ledger.publish_all(sleepers(2 * BOXES, 1))
        await ledger.complete(within_s=60)
        row.equal("boxes that are still used", BOXES, len(ledger.boxes()))
        row.at_least("sandboxes killed under a submission", 20, hits.total())
        row.note("submissions put back", len(running.logged("submission.not_judged")))


async def torment(rig: Rig, ledger: Ledger, running: Daemon, seconds: float) -> Counter[str]:
    """Kill the sandboxes of submissions, hold others up; how often each submission was hit."""
    hits: Counter[str] = Counter()
    began_s = time.monotonic()
    while time.monotonic() - began_s < seconds:
        if ledger.missing < 100:
            await ledger.publish_all(mixture(100, rig.random))
        await asyncio.sleep(rig.random.uniform(0.1, 0.8))
        await strike(rig, running, hits)
    return hits


async def strike(rig: Rig, running: Daemon, hits: Counter[str], *, most: int = 2) -> None:
    """Kill one sandbox, or hold it up, and enter into `hits` which submission was hit.

    None is hit more often: after `judge.max_attempts` its answer would rightly be an internal error.
    """
    keepers = sandboxes(running.process.pid)
    if not keepers:
        return
    victim = rig.random.choice(keepers)
    name = submission_in(running, victim)
    if rig.random.random() < 0.2:
        await hold(victim, 0.5)
    elif name is not None and hits[name] < most:
        hits[name] += kill(victim)


def submission_in(running: Daemon, keeper: int) -> str | None:
    """The submission that was given the box of a sandbox last."""
    with suppress(OSError, StopIteration):
        words = Path(f"/proc/{keeper}/cmdline").read_text().split("\0")
        box = int(next(word for word in words if word.startswith("--box-id=")).partition("=")[2])
        started = [line for line in running.logged("submission.started") if line["box"] == box]
        return str(started[-1]["id"]) if started else None
    return None


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break the sandbox of a host, and to mend it again."""

    settings: dict[str, str]
    hurt: Callable[[], object]
    mend: Callable[[], object]


async def removed(rig: Rig, row: Row) -> None:
    """The sandbox's executable goes while submissions come, and is there again later."""
    with rig.scratch() as folder:
        path = folder / "isolate"
        hidden = folder / "hidden"
        if rig.sandbox == "embedded":
            main = Path(embedded).parent / "__main__.py"
            path.write_text(
                f"#!{sys.executable} -IS\nimport runpy\nrunpy.run_path({str(main)!r}, run_name='__main__')\n"
            )
            path.chmod(0o755)
        else:
            shutil.copy(rig.sandbox, path)
            path.chmod(0o4755)
        fault = Fault(
            settings={"sandbox__isolate": str(path)},
            hurt=lambda: path.rename(hidden),
            mend=lambda: hidden.rename(path),
        )
        await _unusable(rig, row, fault)


async def unsafe(rig: Rig, row: Row) -> None:
    """The place of the boxes becomes one that others may write to: the embedded sandbox refuses to work."""
    with rig.scratch() as folder:
        folder.chmod(0o755)
        fault = Fault(
            settings={"sandbox__isolate": "embedded", "box_root": str(folder)},
            hurt=lambda: folder.chmod(0o777),
            mend=lambda: folder.chmod(0o755),
        )
        await _unusable(rig, row, fault)


async def disk_full(rig: Rig, row: Row) -> None:
    """The disk of the boxes, a small one of the embedded sandbox alone, is full for a while."""
    with rig.scratch() as folder, small_disk(folder / "disk") as disk:
        filler = disk / "filler"
        fault = Fault(
            settings={"sandbox__isolate": "embedded", "box_root": str(disk)},
            hurt=lambda: fill(filler),
            mend=filler.unlink,
        )
        await _unusable(rig, row, fault)


async def _unusable(rig: Rig, row: Row, fault: Fault) -> None:
    """The daemon says that it is unhealthy, takes no work, and is well again by itself."""
    url = await rig.vhost()
    with rig.scratch() as folder, manager(folder) as service_manager:
        settings: dict[str, Any] = fault.settings | {
            "http__enabled": "true",
            "http__port": "0",
            "sandbox__retire_s": "2",
        }
        within = ["env", f"NOTIFY_SOCKET={service_manager.address}"]
        async with (
            Ledger.open(url) as ledger,
            peer(url) as operator,
            rig.daemon(url, within=within, **settings) as running,
            reached(running) as site,
        ):

            async def ready() -> bool:
                return (await site.get("/readyz"))[0] == 200

            async def unready() -> bool:
                return not await ready()

            async def holds_nothing() -> bool:
                return await operator.count(SUBMISSIONS) == ledger.missing

            def tries() -> int:
                return len(running.logged("submission.not_judged"))

            row.at_most("ready after the start", 30, await seconds_until(ready, 30), " s")
            fault.hurt()  # while the boxes are empty: what is in one would keep its place on a full disk
            await ledger.publish_all(sleepers(100, 0.2))
            row.at_most("not ready after", 15, await seconds_until(unready, 30), " s")
            row.at_most("everything is in the queue after", 15, await seconds_until(holds_nothing, 30), " s")
            before = tries()
            await asyncio.sleep(10)
            row.at_most("submissions tried in 10 s then", BOXES, tries() - before)
            row.equal("metric verdictd_ready", 0, (await scrape(site)).value("verdictd_ready"))
            said = service_manager.states("STATUS")[-1]
            row.equal("STATUS says that it is not ready", True, "not ready" in said)
            row.note("STATUS", said.removeprefix("STATUS="))
            fault.mend()
            row.at_most("ready after it was mended", 30, await seconds_until(ready, 60), " s")
            await ledger.complete(within_s=60)
            row.equal("dead-lettered", 0, await operator.count(DEAD))
            row.note("submissions put back", tries())
    row.books(ledger.account(rig.starts()), reruns=tries())


async def seconds_until(holds: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    """As `elapsed`, for what has to be awaited."""
    began_s = time.monotonic()
    while not await holds():
        if time.monotonic() - began_s > limit_s:
            return math.inf
        await asyncio.sleep(0.1)
    return time.monotonic() - began_s
