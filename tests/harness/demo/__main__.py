"""Start a private RabbitMQ and the daemon, send it programs, and show each verdict as it comes."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from rich.console import Console
from rich.text import Text

from harness.demo.submissions import SUBMISSIONS, Case
from support.broker import BrokerFailed
from support.daemon import Daemon, launched
from support.rabbitmq import PrivateBroker
from verdictd.contract.result import Result, Status

LIMIT_S = 100
SUBMISSIONS_QUEUE = "verdictd.submissions"
CONTROL_EXCHANGE = "verdictd.control"
REPLY_QUEUE = "verdictd.reply.demo"
ROW = "{:<17} {:<11} {:<22} {:<22} {:>9} {:>11}"
HEADING = ROW.format("id", "language", "verdict", "expected", "CPU time", "memory")

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The daemon failed; the message says what is known."""


def main() -> int:
    """Run the demo; 0 if every verdict is the expected one."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, as Ctrl-C does
    try:
        console.print("Starting a private RabbitMQ ...")
        with PrivateBroker() as broker:
            return asyncio.run(demo(broker))
    except (BrokerFailed, DemoFailed) as error:
        console.print(Text(f"{error}", style="red"))
        return 1
    except KeyboardInterrupt:
        return 130


async def demo(broker: PrivateBroker) -> int:
    """Judge all submissions through this broker; 0 if every verdict is the expected one."""
    log = broker.folder / "daemon.log"
    cache = {"judge__cache_directory": str(broker.folder / "cache"), "judge__cache_kib": "65536"}
    settings = {"broker__url": broker.url} | cache
    console.print("Starting verdictd ...")
    try:
        async with asyncio.timeout(LIMIT_S), launched(log, **settings) as judge:
            await consuming(judge)
            results = await judged(broker.url)
            exit_code = await judge.end()
    except TimeoutError:
        raise DemoFailed(
            f"not all were judged within {LIMIT_S} s; the daemon said:\n{log.read_text()}"
        ) from None
    if exit_code != 0:
        raise DemoFailed(f"the daemon ended with exit code {exit_code}; it said:\n{judge.text}")
    return summary(results)


async def consuming(judge: Daemon) -> None:
    """Wait until the daemon takes submissions."""
    while not judge.logged("broker.consuming"):
        if judge.process.returncode is not None:
            raise DemoFailed(f"the daemon did not start; it said:\n{judge.text}")
        await asyncio.sleep(0.05)


async def judged(url: str) -> list[tuple[Case, Result]]:
    """Publish every submission, those after another one when that is judged; show each result as it comes."""
    missing = {case.id: case for case in SUBMISSIONS}
    results = []
    async with replies(url) as (channel, arriving):
        began_s = time.monotonic()
        await publish(channel, after=None)
        console.print(f"Sending {len(SUBMISSIONS)} submissions; these are the results as they come.\n")
        console.print(Text(HEADING, "bold"))
        while missing:
            result = Result.model_validate_json((await arriving.get()).body)
            case = missing.pop(result.id)
            show(case, result)
            results.append((case, result))
            await publish(channel, after=case.id)
        console.print(f"\nAll were judged in {time.monotonic() - began_s:.1f} s.")
    return results


@asynccontextmanager
async def replies(url: str) -> AsyncIterator[tuple[AbstractChannel, asyncio.Queue[AbstractIncomingMessage]]]:
    """Yield a channel with publisher confirms, and the messages that arrive on the reply queue."""
    arriving: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue(REPLY_QUEUE, exclusive=True)
        await queue.consume(arriving.put, no_ack=True)
        yield channel, arriving


async def publish(channel: AbstractChannel, *, after: str | None) -> None:
    """Send the submissions that come after this one, as a publisher in any language would."""
    for case in SUBMISSIONS:
        if case.after != after:
            continue
        message = aio_pika.Message(
            case.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=case.id,
            reply_to=REPLY_QUEUE,
            timestamp=time.time(),
        )
        await channel.default_exchange.publish(message, SUBMISSIONS_QUEUE)
        if case.cancelled:
            exchange = await channel.get_exchange(CONTROL_EXCHANGE)
            await exchange.publish(aio_pika.Message(orjson.dumps({"cancel": case.id})), "")


def show(case: Case, result: Result) -> None:
    """Print one row: green if the verdict is the expected one, else red."""
    time_s = "" if result.time is None else f"{result.time:.3f} s"
    memory_kib = "" if result.memory is None else f"{result.memory:,} KiB"
    row = ROW.format(case.id, case.language, result.status, case.expected, time_s, memory_kib)
    console.print(
        Text("  ".join((row, *notes(result))), "green" if result.status == case.expected else "bold red")
    )


def notes(result: Result) -> Iterator[str]:
    """Yield what only some submissions have: tests, points, a program that was there already."""
    if result.tests:
        accepted = sum(test.status == Status.ACCEPTED for test in result.tests)
        yield f"{accepted} of {len(result.tests)} tests"
    if result.points is not None:
        yield f"{result.points:g} of {result.max_points:g} points"
    if result.compile_cached:
        yield "compiled before"


def summary(results: list[tuple[Case, Result]]) -> int:
    """Print the sandbox, and the verdicts that were not expected; return the exit code."""
    sandboxes = {f"{result.worker.sandbox} {result.worker.sandbox_version}" for _, result in results}
    console.print(
        f"Judged by verdictd {results[0][1].worker.verdictd} in the sandbox {', '.join(sandboxes)}."
    )
    wrong = [(case, result) for case, result in results if result.status != case.expected]
    for case, result in wrong:
        console.print(Text(f"{case.id}: {result.status}, not {case.expected}. {result.message}", "bold red"))
    if wrong:
        return 1
    console.print("Every verdict is the expected one.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
