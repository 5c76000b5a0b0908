"""Callbacks in a test: jobs on the real queues, delivered by a deliverer that is in a hurry."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from support.amqp import Peer, broker_settings, peer
from support.receiver import SECRET, Receiver
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp import topology
from verdictd.amqp.consumer import Consumer, FixedCapacity
from verdictd.amqp.delivery import Delivery, Settlement
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.callbacks.deliverer import Deliverer
from verdictd.callbacks.jobs import Job, Jobs
from verdictd.egress.rules import Egress
from verdictd.settings import CallbackSettings

CALLBACKS, DEAD_CALLBACKS = "verdictd.callbacks", "verdictd.callbacks.dead"
RETRY_DELAYS_S = (0.2, 0.4, 0.6)


def callback_settings(*ports: int, **changes: Any) -> CallbackSettings:
    """Settings that reach loopback, and try again soon."""
    settings = {
        "enabled": True,
        "secrets": SECRET,
        "allow_networks": "127.0.0.0/8",
        "allow_ports": ports or (80,),
        "retry_delays_s": RETRY_DELAYS_S,
        "timeout_s": 1,
    }
    return CallbackSettings.model_validate(settings | changes)


def job(receiver: Receiver, number: int = 1, **changes: Any) -> Job:
    """A callback to a receiver."""
    fields: dict[str, Any] = {
        "url": receiver.url,
        "body": b'{"id": "%d"}' % number,
        "submission_id": str(number),
        "webhook_id": f"msg_{uuid.uuid4().hex}",
        "trace": {},
    }
    return Job(**fields | changes)


@dataclass(frozen=True, slots=True)
class Delivering:
    """The queues of callbacks: where jobs are put, a peer that looks at them, what was delivered so far."""

    jobs: Jobs
    peer: Peer
    deliveries: list[Delivery]

    @property
    def steps(self) -> list[str]:
        """The queues on which the deliveries have waited before, of those that did."""
        deaths: list[Any] = [delivery.headers.get("x-death", []) for delivery in self.deliveries]
        return [death[0]["queue"] for death in deaths if death]


async def left(url: str) -> dict[str, int]:
    """How many messages are on each queue of callbacks once nobody has any; empty queues are left out."""
    names = [CALLBACKS, DEAD_CALLBACKS, *map(retry_queue, RETRY_DELAYS_S)]
    async with peer(url) as client:
        await asyncio.sleep(0.5)  # what was in hand comes back
        for _ in range(50):
            counts = {name: count for name in names if (count := await client.count(name))}
            if not counts:
                break
            await asyncio.sleep(0.1)  # what was acknowledged goes
    return counts


def retry_queue(step_s: float) -> str:
    return f"{CALLBACKS}.retry.{step_s:g}s"


@asynccontextmanager
async def delivering(
    url: str, settings: CallbackSettings, *, consume: bool = True
) -> AsyncIterator[Delivering]:
    """Deliver what is put on the queues, until the block ends."""
    broker = broker_settings(url)
    egress = Egress(networks=settings.allow_networks, hosts=settings.allow_hosts, ports=settings.allow_ports)
    queues = topology.queues(broker, settings)
    async with (
        ReconnectingConnection.keep(broker, "verdictd consume", queues) as connection,
        Publisher.keep(broker, queues) as publisher,
        peer(url) as client,
    ):
        await wait_until(lambda: connection.connected and publisher.connected)
        found = Delivering(Jobs(publisher, settings), client, [])
        if not consume:
            yield found
            return
        stop = asyncio.Event()
        async with Deliverer.open(settings, publisher, egress) as deliverer:

            async def handle(delivery: Delivery) -> Settlement:
                found.deliveries.append(delivery)
                return await deliverer.handle(delivery)

            capacity = FixedCapacity(settings.max_deliveries)
            consumer = Consumer(connection, {settings.queue: 1}, capacity=capacity)
            task = asyncio.create_task(consumer.run(handle, stop=stop, drain_timeout_s=1))
            await wait_until(lambda: consumer.consuming)
            try:
                yield found
            finally:
                stop.set()
                await asyncio.wait_for(task, LIMIT_S)
