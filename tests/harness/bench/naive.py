"""A naive daemon: what one writes in an hour over aio-pika. It judges the submissions of the part `cost`.

It promises nothing: no limits but the sandbox's own, no bound on output, no checks, no retries, no evidence.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage

from harness.bench.bare import LIMITS, command_words
from harness.bench.rig import Rig, own_broker
from support.amqp import RESULTS, SUBMISSIONS, peer
from support.daemon import Daemon
from support.forkserver import DIES_WITH_US
from verdictd.sandbox.model import Sandbox


async def main(url: str, folder: str, words: list[str], numbers: list[str]) -> None:
    """Judge until killed."""
    free: asyncio.Queue[str] = asyncio.Queue()
    for number in numbers:
        free.put_nowait(number)
    connection = await aio_pika.connect_robust(url)
    channel = await connection.channel()
    await channel.set_qos(len(numbers))
    queue = await channel.get_queue(SUBMISSIONS)

    async def judge(message: AbstractIncomingMessage) -> None:
        submission = orjson.loads(message.body)
        number = await free.get()
        sandbox, meta = [*words, f"--box-id={number}"], Path(folder, f"meta-{number}")
        root = await _output([*sandbox, "--init"])
        Path(root.decode().strip(), "box", "main.pl").write_text(submission["source_code"])
        run = [*LIMITS, f"--meta={meta}", "--run", "--", "/usr/bin/perl", "main.pl"]
        output = await _output([*sandbox, *run])
        accepted = output == submission["expected_output"].encode()
        status = "accepted" if accepted else "wrong_answer"
        result = {"id": message.message_id, "status": status, "message": meta.read_text()}
        free.put_nowait(number)
        reply = aio_pika.Message(orjson.dumps(result), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(reply, RESULTS)
        await message.ack()

    await queue.consume(judge)
    await asyncio.Event().wait()


async def _output(argv: list[str]) -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    output, _ = await process.communicate()
    return output


@asynccontextmanager
async def naive(sandbox: Sandbox, numbers: range) -> AsyncIterator[Rig]:
    """Run a broker, and a naive daemon with these boxes."""
    async with own_broker() as broker, peer(broker.url) as client:
        for name in (SUBMISSIONS, RESULTS):
            await client.channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        process = await asyncio.create_subprocess_exec(
            *DIES_WITH_US,
            *(sys.executable, "-m", "harness.bench.naive", broker.url, str(broker.folder)),
            *(" ".join(command_words(sandbox)), " ".join(map(str, numbers))),
        )
        try:
            await client.until_consumed(SUBMISSIONS)
            bench = Rig(broker, Daemon(process, Path("/dev/null")), client)
            await bench.listen()
            yield bench
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


if __name__ == "__main__":
    url, folder, words, numbers = sys.argv[1:]
    asyncio.run(main(url, folder, words.split(), numbers.split()))
