"""Submissions are withdrawn while what would tell of it is killed and restarted."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from harness.chaos.faults import restart
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import Case, bash
from harness.chaos.rig import Phoenix, Rig
from harness.chaos.row import Row
from support.amqp import broker_settings
from support.waiting import wait_until
from verdictd.amqp.control import tell_all
from verdictd.contract.control import ControlMessage
from verdictd.contract.result import Status
from verdictd.errors import BrokerUnavailable

BOXES_EACH = 2
EACH = 30
VERSIONS = 3
KILLS = 6
WITHOUT_STREAMS = (
    "implicit_default_bindings,maintenance_mode_status,quorum_queue,user_limits,virtual_host_metadata"
)


class Client:
    """Publishes submissions of every kind, and withdraws some. State: the statuses that each may have."""

    def __init__(self, rig: Rig, ledger: Ledger, url: str) -> None:
        self._random = rig.random
        self._ledger = ledger
        self._settings = broker_settings(url)
        self.allowed: dict[str, set[Status]] = {}

    async def publish_all(self) -> None:
        """Publish all kinds beside each other."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(EACH):
                for kind in (
                    self._ordinary,
                    self._cancelled_before,
                    self._cancelled,
                    self._late,
                    self._versions,
                ):
                    tasks.create_task(kind(number))
                await asyncio.sleep(0.2)

    async def _ordinary(self, number: int) -> None:
        await self._publish(bash(f"echo {number}"), Status.ACCEPTED)

    async def _cancelled_before(self, _: int) -> None:
        # Longer than a cancel takes on its way: it may come after the submission has begun.
        case = bash("sleep 5")
        await self._cancel(case)
        await self._publish(case, Status.CANCELLED)

    async def _cancelled(self, number: int) -> None:
        """Cancel it once or twice, at any moment, after it was answered perhaps."""
        case = bash(f"sleep 0.2; echo {number}")
        await self._publish(case, Status.ACCEPTED, Status.CANCELLED)
        for _ in range(self._random.randint(1, 2)):
            await asyncio.sleep(self._random.uniform(0, 2))
            await self._cancel(case)

    async def _late(self, _: int) -> None:
        deadline = datetime.now(UTC) - timedelta(seconds=1)
        await self._publish(bash("true", deadline=deadline.isoformat()), Status.EXPIRED)

    async def _versions(self, number: int) -> None:
        """Send one after the other; the last one counts, whatever comes to those before it."""
        for version in range(VERSIONS):
            case = bash(f"sleep 0.3; echo {version}", supersede_key=f"key-{number}")
            last = version == VERSIONS - 1
            await self._publish(case, Status.ACCEPTED, *([] if last else [Status.SUPERSEDED]))
            await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _publish(self, case: Case, *allowed: Status) -> None:
        self.allowed[case.id] = {*allowed}
        await self._ledger.publish(replace(case, status=None), published_ms=time.time_ns() // 1_000_000)

    async def _cancel(self, case: Case) -> None:
        while True:
            try:
                return await tell_all(self._settings, [ControlMessage(cancel=case.id)])
            except BrokerUnavailable:
                await asyncio.sleep(0.2)


async def control(rig: Rig, row: Row) -> None:
    """Submissions are cancelled, superseded and late while daemons are killed and the broker restarts."""
    faults = ["kill"] * KILLS + ["restart"]
    rig.random.shuffle(faults)
    async with (
        rig.own_broker() as broker,
        Ledger.open(broker.url) as ledger,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        daemons = [
            await stack.enter_async_context(
                Phoenix(partial(rig.daemon, broker.url, boxes=BOXES_EACH, offset=BOXES_EACH * number))
            )
            for number in range(2)
        ]
        client = Client(rig, ledger, broker.url)
        publishing = tasks.create_task(client.publish_all())
        for fault in faults:
            await ledger.more_answers(rig.random.randint(5, EACH // 2), within_s=60)
            if fault == "kill":
                await rig.random.choice(daemons).kill()
            else:
                await restart(broker, kill=rig.random.random() < 0.5)
        await publishing
        await ledger.complete(within_s=120)
        row.equal("exit codes of the last daemons", [0, 0], [await one.running.end() for one in daemons])
    row.note("faults", ", ".join(faults))
    statuses = Counter(str(answer.status) for entry in ledger.entries.values() for answer in entry.answers)
    row.note("answers", ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())))
    row.none("statuses that are not due", list(undue(client, ledger)))
    row.books(ledger.account(rig.starts()), reruns=KILLS * 2 * BOXES_EACH)


async def without_streams(rig: Rig, row: Row) -> None:
    """RabbitMQ has no streams, and closes the connection of a daemon that asks for one."""
    async with (
        rig.own_broker(feature_flags=WITHOUT_STREAMS) as broker,
        Ledger.open(broker.url) as ledger,
        rig.daemon(broker.url, boxes=BOXES_EACH) as running,
    ):
        await wait_until(lambda: running.logged("control.no_stream"))
        cancelled, last = (replace(bash("sleep 20; echo 42"), status=Status.CANCELLED), bash("echo 42"))
        await ledger.publish(cancelled)
        await wait_until(lambda: running.logged("submission.started"))
        await tell_all(broker_settings(broker.url), [ControlMessage(cancel=cancelled.id)])
        await ledger.publish(last)
        await ledger.complete(within_s=60)
        losses = running.logged("broker.lost")
        row.equal("exit code", 0, await running.end())
    row.equal("connections that were closed", 1, len(losses))
    row.books(ledger.account(rig.starts()), reruns=0)


def undue(client: Client, ledger: Ledger) -> Iterable[str]:
    """Yield what a submission was answered with, where it may not have that status."""
    for entry in ledger.entries.values():
        for answer in entry.answers:
            if answer.status not in client.allowed[entry.case.id]:
                yield f"{entry.case.id}: {answer.status}, not {client.allowed[entry.case.id]}"
