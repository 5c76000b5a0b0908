"""What one dead receiver among ten costs the others: delays of replies and of callbacks, with and without it.

Run as `python tests/harness/bench/callbacks.py [--sandbox PATH] [--count N] [--rate N]`.
Submissions come at a steady rate, each with a callback to the next of ten receivers. The dead one takes
connections and requests, and never answers. A reply's delay counts from when its submission was published, a
callback's from its reply.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from aio_pika.abc import AbstractIncomingMessage

from support.amqp import RESULTS, SUBMISSIONS, peer
from support.daemon import daemon
from support.rabbitmq import PrivateBroker
from support.receiver import SECRET, Receiver, never_answers
from support.waiting import wait_until

RECEIVERS = 10


async def run(isolate: str, count: int, rate: float, *, dead: bool) -> None:
    """Judge `count` submissions and print the delays."""
    receivers = [Receiver(host=f"127.0.0.{number}") for number in range(2, RECEIVERS + 2)]
    if dead:
        receivers[0].behaviours = [never_answers]
    sent_s: dict[str, float] = {}
    replied_s: dict[str, float] = {}

    async def replied(reply: AbstractIncomingMessage) -> None:
        replied_s[json.loads(reply.body)["id"]] = time.monotonic()

    async with AsyncExitStack() as stack:
        broker = stack.enter_context(PrivateBroker())
        for receiver in receivers:
            await stack.enter_async_context(receiver.up())
        running = await stack.enter_async_context(
            daemon(
                broker.folder / "daemon.log",
                broker__url=broker.url,
                sandbox__isolate=isolate,
                sandbox__boxes="2",
                callbacks__enabled="true",
                callbacks__secrets=SECRET,
                callbacks__allow_networks="127.0.0.0/8",
                callbacks__allow_ports=" ".join(str(receiver.port) for receiver in receivers),
            )
        )
        client = await stack.enter_async_context(peer(broker.url))
        replies = await client.channel.get_queue(RESULTS)
        await replies.consume(replied, no_ack=True)
        for number in range(count):
            url = receivers[number % RECEIVERS].url
            body = {"id": str(number), "language": "bash", "source_code": "echo 42", "callback_url": url}
            sent_s[str(number)] = time.monotonic()
            await client.publish(SUBMISSIONS, json.dumps(body).encode())
            await asyncio.sleep(1 / rate)
        others = receivers[1:]
        wanted = sum(number % RECEIVERS != 0 for number in range(count))
        await wait_until(lambda: sum(len(receiver.received) for receiver in others) >= wanted, within_s=120)
        await wait_until(lambda: len(replied_s) == count, within_s=120)
        failed = len(running.logged("callback.failed"))
    called_s = {
        json.loads(received.body)["id"]: received.at_s
        for receiver in others
        for received in receiver.received
    }
    print(f"{'one of ten dead' if dead else 'all ten alive'}: {failed} deliveries failed")
    show("replies", [replied_s[number] - sent_s[number] for number in sent_s])
    show("callbacks of the nine", [max(0.0, called_s[number] - replied_s[number]) for number in called_s])


def show(name: str, delays_s: list[float]) -> None:
    cuts = statistics.quantiles(delays_s, n=100)
    figures = {"median": cuts[49], "95 %": cuts[94], "99 %": cuts[98], "longest": max(delays_s)}
    print(
        f"  {name} ({len(delays_s)}):", ", ".join(f"{word} {1000 * s:.0f} ms" for word, s in figures.items())
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sandbox", default="auto", help="auto, embedded, or the path of isolate")
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--rate", type=float, default=10, help="submissions a second")
    arguments = parser.parse_args()
    for dead in (False, True) * 2:  # twice, as the machine has moods
        await run(arguments.sandbox, arguments.count, arguments.rate, dead=dead)


if __name__ == "__main__":
    asyncio.run(main())
