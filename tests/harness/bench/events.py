"""What events cost: submissions a second with and without them, and with those who listen badly.

Run as `python tests/harness/bench/events.py [--sandbox PATH] [--count N] [--rounds N] [--boxes N]`.
The ways take turns, so that all have the same machine. Each submission has ten tests, and so thirteen events.
The CPU time is that of the daemon itself, without its sandboxes.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pamqp.common import FieldTable

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.daemon import daemon
from support.processes import cpu_s as cpu_of
from support.rabbitmq import PrivateBroker

EXCHANGE = "verdictd.events"
WAYS = {
    "off": "no events",
    "on": "nobody listens",
    "read": "one listens",
    "stalled": "a queue of 100 that nobody reads",
    "forgotten": "a queue without a bound that nobody reads",
}
ALARM_S = 3


async def judged(client: Peer, answered: "asyncio.Queue[str]", count: int, *, events: bool) -> float:
    """Seconds from the first publication to the last reply."""
    test = {"expected_output": "42"}
    fields = {"language": "bash", "source_code": "echo 42", "tests": [test] * 10, "events": events}
    began_s = time.monotonic()
    bodies = [json.dumps(fields | {"id": str(uuid.uuid4())}).encode() for _ in range(count)]
    await client.publish_all(SUBMISSIONS, bodies)
    statuses = {await answered.get() for _ in range(count)}
    if statuses != {"accepted"}:
        raise SystemExit(f"not all were accepted: {statuses}")
    return time.monotonic() - began_s


@asynccontextmanager
async def listening(url: str, way: str) -> AsyncIterator[None]:
    """Someone who listens in this way."""
    if way in {"off", "on"}:
        yield
        return
    async with peer(url) as other:
        arguments: FieldTable = {"x-max-length": 100} if way == "stalled" else {}
        queue = await other.channel.declare_queue(exclusive=True, arguments=arguments)
        await queue.bind(EXCHANGE, "#")
        if way == "read":
            await queue.consume(lambda _: asyncio.sleep(0), no_ack=True)
        yield


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sandbox", default="auto", help="auto, embedded, or the path of isolate")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--boxes", type=int, default=2)
    arguments = parser.parse_args()
    took_s: defaultdict[str, list[float]] = defaultdict(list)
    cpu_s: defaultdict[str, float] = defaultdict(float)
    with PrivateBroker() as broker:
        settings = {"sandbox__isolate": arguments.sandbox, "sandbox__boxes": str(arguments.boxes)}
        log = broker.folder / "daemon.log"
        async with daemon(log, broker__url=broker.url, **settings) as running, peer(broker.url) as client:
            answered: asyncio.Queue[str] = asyncio.Queue()
            replies = await client.channel.get_queue(RESULTS)
            await replies.consume(lambda reply: answered.put(json.loads(reply.body)["status"]), no_ack=True)
            await judged(client, answered, arguments.count, events=True)  # warm
            for _ in range(arguments.rounds):
                for way in WAYS:
                    async with listening(broker.url, way):
                        before_s = cpu_of(running.process.pid)[0]
                        took_s[way].append(
                            await judged(client, answered, arguments.count, events=way != "off")
                        )
                        cpu_s[way] += cpu_of(running.process.pid)[0] - before_s
            for way in ("off", "on"):
                took_s[f"alarm, {way}"].append(
                    await through_alarm(broker, client, answered, arguments.count, way)
                )
    off_s = statistics.median(took_s["off"])
    for way, meaning in WAYS.items():
        middle_s = statistics.median(took_s[way])
        spread = f"{min(took_s[way]):.2f} to {max(took_s[way]):.2f} s"
        cpu_ms = 1_000 * cpu_s[way] / arguments.count / arguments.rounds
        rate = f"{arguments.count / middle_s:6.1f}/s, ratio {off_s / middle_s:.3f}"
        print(f"{way:10} {rate}, {spread}, CPU {cpu_ms:.1f} ms each: {meaning}")
    off_s, on_s = took_s["alarm, off"][0], took_s["alarm, on"][0]
    print(f"alarm of {ALARM_S} s: {off_s:.2f} s without events, {on_s:.2f} s with, ratio {off_s / on_s:.3f}")


async def through_alarm(
    broker: PrivateBroker, client: Peer, answered: "asyncio.Queue[str]", count: int, way: str
) -> float:
    """Seconds for as many submissions, while the broker is short of memory for a while."""
    judging = asyncio.create_task(judged(client, answered, count, events=way == "on"))
    await asyncio.sleep(0.5)  # they are on the queue
    async with broker.memory_alarm():
        await asyncio.sleep(ALARM_S)
    return await judging


if __name__ == "__main__":
    asyncio.run(main())
