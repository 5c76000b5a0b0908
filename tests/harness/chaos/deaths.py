"""The daemon dies, or is told to stop."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from functools import partial

from harness.chaos.faults import restart
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import bash, mixture, sleepers
from harness.chaos.rig import BOXES, Phoenix, Rig, elapsed
from harness.chaos.row import Row
from support.amqp import DEAD, SUBMISSIONS, peer
from support.daemon import Daemon
from support.processes import alive, sandboxes
from support.waiting import wait_until
from verdictd.contract.result import Status


async def killed_under_load(rig: Rig, row: Row) -> None:
    """SIGKILL of the daemon and restarts of the broker at any moment while a mixture is judged."""
    submissions, kills, restarts = 2_000, 10, 3
    faults = ["kill"] * kills + ["restart"] * restarts
    rig.random.shuffle(faults)
    cases = mixture(submissions, rig.random)
    recoveries_s: list[float] = []
    async with (
        rig.own_broker() as broker,
        Ledger.open(broker.url) as ledger,
        asyncio.TaskGroup() as tasks,
        Phoenix(partial(rig.daemon, broker.url)) as daemon,
    ):
        tasks.create_task(ledger.publish_all(cases, pause_s=0.2))
        for fault in faults:
            await ledger.more_answers(rig.random.randint(20, submissions // len(faults)), within_s=60)
            began_s = time.monotonic()
            if fault == "kill":
                await daemon.kill()
            else:
                await restart(broker, kill=rig.random.random() < 0.5)
            await ledger.more_answers(1, within_s=60)
            recoveries_s.append(time.monotonic() - began_s)
        await ledger.complete(within_s=180)
        code = await daemon.running.end()
        async with peer(broker.url) as client:
            left, dead = await client.count(SUBMISSIONS), await client.count(DEAD)
    row.note("SIGKILLs of the daemon, restarts of the broker", f"{kills}, {restarts}")
    row.books(ledger.account(rig.starts()), reruns=kills * BOXES)
    row.equal("left in the queue", 0, left)
    invalid = sum(case.status is Status.INVALID_SUBMISSION for case in cases)
    row.at_least("dead-lettered, the invalid ones", invalid, dead)
    row.equal("exit code of the last daemon", 0, code)
    row.note("from a fault to the next answer, at most", f"{max(recoveries_s):.1f} s")


async def killed_while_busy(rig: Rig, row: Row) -> None:
    """SIGKILL of the daemon with a program in every box; the next one takes the boxes over."""
    url = await rig.vhost()
    programs = [["sleep", str(rig.random.randrange(10**6, 10**7))] for _ in range(BOXES)]

    def living() -> list[int]:
        return [pid for program in programs for pid in alive(program)]

    async with Ledger.open(url) as ledger, peer(url) as client:
        async with rig.daemon(url) as first:
            await ledger.publish_all(
                bash(f"exec {' '.join(program)}", wall_time_limit=300) for program in programs
            )
            await wait_until(lambda: len(living()) == BOXES)
            await first.end(signal.SIGKILL)
        row.note("programs that outlived their daemon", len(living()))
        # They must not come to the next daemon, or nobody could tell the new programs from the old ones.
        await client.until_waiting(SUBMISSIONS, BOXES)
        await (await client.channel.get_queue(SUBMISSIONS)).purge()
        ledger.forget()
        async with rig.daemon(url) as second:
            gone_s = await elapsed(lambda: not living(), 60)
            row.at_most("until they are gone, once the next daemon is ready", 3, gone_s, " s")
            await ledger.publish_all(sleepers(BOXES, 1))
            row.at_most("until every box was used", 10, await elapsed(lambda: not ledger.missing, 60), " s")
            row.equal("boxes used", BOXES, len(ledger.boxes()))
            row.equal("exit code", 0, await second.end())
    row.none("control groups left", rig.control_groups())
    row.books(ledger.account(rig.starts()), reruns=0)


async def told_to_stop(rig: Rig, row: Row) -> None:
    """SIGTERM under load, again and again."""
    url = await rig.vhost()
    codes: list[int] = []
    took_s: list[float] = []
    async with Ledger.open(url) as ledger:
        for _ in range(20):
            if ledger.missing < 20:
                await ledger.publish_all(sleepers(60, 0.2))
            async with rig.daemon(url) as running:
                await ledger.more_answers(1, within_s=30)
                await asyncio.sleep(rig.random.uniform(0, 0.5))
                began_s = time.monotonic()
                codes.append(await running.end(within_s=90))
                took_s.append(time.monotonic() - began_s)
        async with rig.daemon(url) as running:
            await ledger.complete(within_s=60)
    row.equal("exit codes", [0] * 20, codes)
    row.at_most("until it ended, at most", 60, max(took_s), " s")
    row.books(ledger.account(rig.starts()), reruns=0)


async def told_twice(rig: Rig, row: Row) -> None:
    """A second SIGTERM while long submissions are in every box."""
    url = await rig.vhost()
    async with Ledger.open(url) as ledger:
        async with rig.daemon(url) as running:
            await ledger.publish_all(sleepers(BOXES, 8))
            await wait_until(lambda: len(sandboxes(running.process.pid)) == BOXES)
            running.process.send_signal(signal.SIGTERM)
            await wait_until(lambda: running.logged("service.draining"))
            await asyncio.sleep(0.5)
            row.equal("still there after the first", None, running.process.returncode)
            began_s = time.monotonic()
            await running.end()
            row.at_most("until the second ended it", 5, time.monotonic() - began_s, " s")
        async with rig.daemon(url):
            await ledger.complete(within_s=60)
    row.books(ledger.account(rig.starts()), reruns=BOXES)


async def deadly_submission(rig: Rig, row: Row) -> None:
    """The daemon dies whenever one submission is started; 500 others wait beside it."""
    url = await rig.vhost()
    neighbours = [case for case in mixture(520, rig.random) if case.status is not Status.INVALID_SUBMISSION][
        :500
    ]
    deadly = replace(bash("sleep 5"), status=Status.INTERNAL_ERROR, stdout="")
    deaths = 0

    def struck(running: Daemon) -> bool:
        return any(line["id"] == deadly.id for line in running.logged("submission.started"))

    async with Ledger.open(url) as ledger, peer(url) as client:
        await ledger.publish_all([*neighbours[:250], deadly, *neighbours[250:]])
        while ledger.missing and deaths < 20:
            async with rig.daemon(url) as running:
                await wait_until(lambda: struck(running) or not ledger.missing, within_s=120)
                if struck(running):
                    os.kill(running.process.pid, signal.SIGKILL)
                    deaths += 1
        await ledger.complete(within_s=5)
        dead = [(await client.take(DEAD)).body for _ in range(await client.count(DEAD))]
    row.equal("deaths", 3, deaths)
    row.equal("dead-lettered: this one and no other", [True], [body == deadly.body for body in dead])
    row.books(ledger.account(rig.starts()), reruns=3 * BOXES)
