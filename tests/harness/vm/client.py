"""Runs inside the machine: publishes submissions, and collects results from the queue where they are kept."""

import asyncio
import json
import os
import sys

import aio_pika

URL = os.environ.get("URL", "amqp://guest:guest@127.0.0.1:5672")


async def publish(bodies: list[bytes]) -> None:
    """Publish submissions; RabbitMQ has each on disk when this returns."""
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, "verdictd.submissions")


async def collect(missing: set[str], limit_s: float) -> None:
    """Write the results of these submissions as they come, duplicates included, until each has one."""
    async with asyncio.timeout(limit_s), await aio_pika.connect(URL) as connection:
        queue = await (await connection.channel()).get_queue("verdictd.results")
        async with queue.iterator() as results:
            async for message in results:
                await message.ack()
                sys.stdout.write(message.body.decode() + "\n")
                missing.discard(json.loads(message.body)["id"])
                if not missing:
                    return


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "publish":
        asyncio.run(publish(sys.stdin.buffer.read().splitlines()))
    else:
        asyncio.run(collect(set(words[1:]), float(words[0])))
