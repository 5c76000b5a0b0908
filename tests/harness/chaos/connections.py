"""The connection stalls, is closed, or may not be used any more."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import chain, pairwise

from harness.chaos.account import Entry, settle
from harness.chaos.ledger import Ledger
from harness.chaos.mixture import sleepers
from harness.chaos.rig import BOXES, Rig, elapsed
from harness.chaos.row import Row
from support.amqp import SUBMISSIONS, broker_settings, peer
from support.broker import vhost
from support.daemon import Daemon
from support.proxy import Proxy
from support.waiting import wait_until
from verdictd.amqp import topology

HEARTBEAT_S = 5
LATE_S = 0.5  # beyond a moment that both sides count to: nobody acts at once
CONNECTIONS = {"verdictd consume", "verdictd publish"}


async def stalled(rig: Rig, row: Row) -> None:
    """No packet passes any more, though no connection was closed: both ways, or one of them."""
    ways = {"both ways": (True, True), "to the broker": (True, False), "from the broker": (False, True)}
    entries = await asyncio.gather(
        *(
            _stalled(rig, row, f"{name}: ", up=up, down=down, offset=BOXES * number)
            for number, (name, (up, down)) in enumerate(ways.items())
        )
    )
    row.books(settle(chain.from_iterable(entries), rig.starts()), reruns=0)


async def _stalled(rig: Rig, row: Row, name: str, *, up: bool, down: bool, offset: int) -> list[Entry]:
    url = await rig.vhost()
    async with (
        Ledger.open(url) as ledger,
        Proxy.open(url) as proxy,
        rig.daemon(proxy.url, offset=offset, broker__heartbeat_s=str(HEARTBEAT_S)) as running,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ledger.publish_all(sleepers(100, 0.2), pause_s=4))
        await ledger.more_answers(1, within_s=30)
        before = len(running.logged("broker.lost"))

        def noticed() -> bool:
            return {line["connection"] for line in running.logged("broker.lost")[before:]} >= CONNECTIONS

        proxy.stall(to_broker=up, to_client=down)
        row.at_most(f"{name}noticed", 3 * HEARTBEAT_S + LATE_S, await elapsed(noticed, 6 * HEARTBEAT_S), " s")
        await asyncio.sleep(3)
        consuming = len(running.logged("broker.consuming"))
        proxy.heal()
        back_s = await elapsed(lambda: len(running.logged("broker.consuming")) > consuming, 90)
        row.at_most(f"{name}consuming after it healed", 45, back_s, " s")
        await ledger.complete(within_s=60)
    return list(ledger.entries.values())


async def cut(rig: Rig, row: Row) -> None:
    """Connections are reset at any moment, again and again."""
    url = await rig.vhost()
    async with (
        Ledger.open(url) as ledger,
        Proxy.open(url) as proxy,
        rig.daemon(proxy.url, broker__reconnect_max_s="1") as running,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(ledger.publish_all(sleepers(100, 0.2), pause_s=1))
        await ledger.more_answers(1, within_s=30)
        cuts = 0
        while cuts < 10:
            await wait_until(lambda: running.logged("broker.consuming"))
            await asyncio.sleep(rig.random.uniform(0.2, 1.5))
            cuts += proxy.cut() > 0
        await ledger.complete(within_s=60)
    row.note("cuts", cuts)
    row.books(ledger.account(rig.starts()), reruns=0)


async def refused(rig: Rig, row: Row) -> None:
    """The queue is deleted, or replaced by another one; the consumer cancelled; the connections closed."""
    url = await rig.vhost()
    arguments = topology.queues(broker_settings(url))[SUBMISSIONS]
    async with Ledger.open(url) as ledger, peer(url) as client, rig.daemon(url) as running:

        async def delete() -> None:
            await client.channel.queue_delete(SUBMISSIONS)

        async def declare() -> None:
            await client.channel.declare_queue(SUBMISSIONS, durable=True, arguments=dict(arguments))

        async def cancel() -> None:  # as RabbitMQ does when a queue goes
            await delete()
            await asyncio.sleep(0.2)
            await declare()

        async def replace() -> None:  # of which RabbitMQ 3.10 does not tell the consumers of a quorum queue
            await delete()
            await declare()

        async def close() -> None:
            await rig.ctl("close_all_connections", "--vhost", vhost(url), "for a test")

        faults = {
            "queue deleted": delete,
            "consumer cancelled": cancel,
            "queue replaced": replace,
            "connections closed": close,  # ours too, so it comes last
        }
        for what, fault in faults.items():
            row.at_most(f"{what}: consuming after", 15, await _again(ledger, running, fault), " s")
    row.books(ledger.account(rig.starts()), reruns=0)


async def _again(ledger: Ledger, running: Daemon, fault: Callable[[], Awaitable[None]]) -> float:
    """The seconds until what is sent after a fault is begun; what was in the boxes is answered meanwhile."""
    begun = len(running.logged("submission.started")) + BOXES
    await ledger.publish_all(sleepers(BOXES, 1))
    await elapsed(lambda: len(running.logged("submission.started")) == begun, 20)
    await fault()
    await ledger.publish_all(sleepers(BOXES, 1))
    back_s = await elapsed(lambda: len(running.logged("submission.started")) > begun, 40)
    await ledger.complete(within_s=20)
    return back_s


async def revoked(rig: Rig, row: Row) -> None:
    """The user may do nothing any more, and is let in again later."""
    url = await rig.vhost()
    name, user = vhost(url), f"judge-{rig.random.randrange(10**6)}"
    as_user = url.replace("guest:guest", f"{user}:secret")
    everything, nothing = [".*"] * 3, [""] * 3
    await rig.ctl("add_user", user, "secret")
    await rig.ctl("set_permissions", "-p", name, user, *everything)
    async with Ledger.open(url) as ledger, AsyncExitStack() as stack:
        running = await stack.enter_async_context(rig.daemon(as_user))
        await ledger.publish_all(sleepers(3 * BOXES, 1))
        await ledger.more_answers(1, within_s=30)
        await rig.ctl("set_permissions", "-p", name, user, *nothing)
        await rig.ctl("close_all_connections", "--vhost", name, "for a test")
        revoked_at = datetime.now(UTC)
        await asyncio.sleep(40)
        row.at_most("silent while it may do nothing", 30, longest_silence_s(running, revoked_at), " s")
        row.equal("said why", True, "refused" in running.text.lower())
        await rig.ctl("set_permissions", "-p", name, user, *everything)
        consuming = len(running.logged("broker.consuming"))
        if running.process.returncode is None:
            back_s = await elapsed(lambda: len(running.logged("broker.consuming")) > consuming, 60)
            row.at_most("consuming after it may again", 15, back_s, " s")
        else:
            row.at_least("exit code", 1, running.process.returncode)
            await stack.enter_async_context(rig.daemon(as_user))
        await ledger.complete(within_s=60)
    row.books(ledger.account(rig.starts()), reruns=0)


def longest_silence_s(running: Daemon, since: datetime) -> float:
    """The longest time between two lines of the log, from a moment until now."""
    moments = sorted(datetime.fromisoformat(line["timestamp"]) for line in running.logged())
    moments = [since, *(moment for moment in moments if moment > since), datetime.now(UTC)]
    return max((later - earlier).total_seconds() for earlier, later in pairwise(moments))
