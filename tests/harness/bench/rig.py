"""A daemon with a broker of its own, a client, and what they cost so far."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.daemon import Daemon, daemon
from support.processes import cpu_s
from support.rabbitmq import PrivateBroker

_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of the daemon's own process, of its children that have ended, and of the broker."""

    own_s: float
    children_s: float
    broker_s: float
    at_s: float

    def since(self, before: "Spent", count: int) -> "Spent":
        """Return the part of each of so many submissions; `at_s` is the wall time."""
        return Spent(
            (self.own_s - before.own_s) / count,
            (self.children_s - before.children_s) / count,
            (self.broker_s - before.broker_s) / count,
            (self.at_s - before.at_s) / count,
        )


class Rig:
    """Publishes submissions, and waits for their results."""

    def __init__(self, broker: PrivateBroker, running: Daemon, client: Peer) -> None:
        self._broker = broker
        self.url = broker.url
        self.folder = broker.folder
        self.daemon = running
        self.client = client
        self._answered: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(self) -> None:
        """Take results as they come."""
        replies = await self.client.channel.get_queue(RESULTS)
        await replies.consume(lambda reply: self._answered.put(orjson.loads(reply.body)), no_ack=True)

    def spent(self) -> Spent:
        """Return what was spent until now."""
        own_s, children_s = cpu_s(self.daemon.process.pid)
        return Spent(own_s, children_s, cpu_s(self._broker.pid)[0], time.monotonic())

    async def judge_all(self, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
        """Publish all at once; return the results in the order in which they came."""
        publishing = asyncio.ensure_future(self._publish(bodies))
        async with asyncio.timeout(_LIMIT_S):
            results = [await self._answered.get() for _ in bodies]
        await publishing
        return results

    async def _publish(self, bodies: Iterable[bytes]) -> None:
        for part in _parts(list(bodies), 200):
            await asyncio.gather(*(self.client.publish(SUBMISSIONS, body) for body in part))

    async def latencies_s(self, body: bytes, count: int) -> list[float]:
        """Publish one after the other; return the seconds from each publication to its result."""
        taken = []
        for _ in range(count):
            began_s = time.monotonic()
            await self.judge_all([body])
            taken.append(time.monotonic() - began_s)
            await asyncio.sleep(0.05)  # until its box is clean again: the daemon is idle
        return taken


def _parts(items: list[bytes], size: int) -> Iterable[list[bytes]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def body(language: str, source_code: str, **fields: Any) -> bytes:
    """Return a submission."""
    return orjson.dumps({"language": language, "source_code": source_code, **fields})


@asynccontextmanager
async def own_broker() -> AsyncIterator[PrivateBroker]:
    """Run a broker until the block ends."""
    broker = PrivateBroker()
    try:
        await asyncio.to_thread(broker.start)
        yield broker
    finally:
        await asyncio.to_thread(broker.close)


@asynccontextmanager
async def rig(isolate: str, numbers: range, **settings: str) -> AsyncIterator[Rig]:
    """Run a broker and a daemon with these boxes, in production's log format."""
    own = {
        "sandbox__isolate": isolate,
        "sandbox__boxes": str(len(numbers)),
        "sandbox__first_box": str(numbers.start),
        "log__format": "json",
    }
    async with (
        own_broker() as broker,
        # A process of its own: one that is forked from the tests' has all that they have imported.
        daemon(
            broker.folder / "daemon.log", within=("env",), broker__url=broker.url, **(own | settings)
        ) as running,
        peer(broker.url) as client,
    ):
        bench = Rig(broker, running, client)
        await bench.listen()
        yield bench
