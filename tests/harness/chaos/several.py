"""Several daemons on one queue: they share the work, and what one leaves behind the others finish."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from harness.chaos.ledger import Ledger
from harness.chaos.mixture import sleepers
from harness.chaos.rig import Rig
from harness.chaos.row import Row, Skipped
from support.daemon import Daemon
from support.proxy import Proxy

NETWORK = "198.18"  # for benchmarks: no other network has it


async def two_daemons(rig: Rig, row: Row) -> None:
    """Two daemons on one host compete; one is killed, the other finishes its work."""
    url = await rig.vhost()
    async with Ledger.open(url) as ledger, AsyncExitStack() as stack:
        daemons = [
            await stack.enter_async_context(rig.daemon(url, boxes=2, offset=2 * number))
            for number in range(2)
        ]
        await _compete(rig, row, ledger, daemons)


async def three_hosts(rig: Rig, row: Row) -> None:
    """Three daemons, each in a network of its own, compete; one is killed, the others finish its work."""
    url = await rig.vhost()
    async with Ledger.open(url) as ledger, AsyncExitStack() as stack:
        daemons = []
        for number in range(3):
            network = stack.enter_context(private_network(number))
            proxy = await stack.enter_async_context(Proxy.open(url, network.host))
            daemon = rig.daemon(proxy.url, boxes=2, offset=2 * number, within=network.enter)
            daemons.append(await stack.enter_async_context(daemon))
        await _compete(rig, row, ledger, daemons)


async def _compete(rig: Rig, row: Row, ledger: Ledger, daemons: Sequence[Daemon]) -> None:
    """Kill the first of the daemons in the middle of the work."""
    count = 120 * len(daemons)
    await ledger.publish_all(sleepers(count, 0.2))
    async with asyncio.timeout(120):
        while ledger.answered < count // 3:
            await asyncio.sleep(0.05)
    shares = [len(daemon.logged("submission.answered")) for daemon in daemons]
    row.at_least("share of the least busy, of the mean", 0.6, min(shares) * len(shares) / sum(shares))
    await daemons[0].end(signal.SIGKILL)
    await ledger.complete(within_s=120)
    row.books(ledger.account(rig.starts()), reruns=2)


@dataclass(frozen=True, slots=True)
class PrivateNetwork:
    """A network namespace: the address by which it reaches us, and the command that enters it."""

    host: str
    enter: tuple[str, ...]


@contextmanager
def private_network(number: int) -> Iterator[PrivateNetwork]:
    """A network with us and one other host in it; nothing else can be reached from there."""
    if os.geteuid() != 0:
        raise Skipped("only root may make networks")
    name, link = f"verdictd-{os.getpid()}-{number}", f"vd{os.getpid()}-{number}"
    ours, theirs = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.2"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "host", "netns", name)
        _ip("addr", "add", f"{ours}/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", name, "addr", "add", f"{theirs}/30", "dev", "host")
        _ip("-n", name, "link", "set", "host", "up")
        # Only the network: its own mounts, as `ip netns exec` makes them, would be without control groups.
        yield PrivateNetwork(ours, ("nsenter", f"--net=/run/netns/{name}"))
    finally:
        subprocess.run(["/usr/sbin/ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["/usr/sbin/ip", "link", "del", link], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    try:
        subprocess.run(["/usr/sbin/ip", *arguments], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Skipped("ip (Debian package iproute2) is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Skipped(f"ip {' '.join(arguments)}: {error.stderr.strip()}") from error
