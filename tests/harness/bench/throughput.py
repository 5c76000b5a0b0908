"""How many `print 42` a second: the whole daemon beside a bare shell loop over the same sandbox.

Run as `python tests/harness/bench/throughput.py [--sandbox PATH] [--count N] [--boxes N]`.
The loop does init, run and cleanup and nothing else, in as many processes at once as there are boxes.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.amqp import RESULTS, SUBMISSIONS, peer
from support.boxes import boxes
from support.daemon import daemon
from support.rabbitmq import PrivateBroker
from verdictd.sandbox.discovery import discover
from verdictd.sandbox.model import BoxId

PROGRAMS = {
    "python": ("/usr/bin/python3 -c 'print(42)'", {"language": "python", "source_code": "print(42)"}),
    "bash": ("/bin/bash -c 'echo 42'", {"language": "bash", "source_code": "echo 42"}),
}


def loop(executable: tuple[str, ...], options: str, program: str, count: int, numbers: range) -> float:
    """Runs a second of the bare loop."""
    each = count // len(numbers)
    sandbox = " ".join(executable)
    limits = "--time=2 --wall-time=6 --processes=60 --open-files=256 --silent"
    script = (
        f"for n in $(seq {each}); do"
        f" {sandbox} --box-id=$1 {options} --init >/dev/null;"
        f" {sandbox} --box-id=$1 {options} {limits} --meta=$2 --run -- {program} >/dev/null;"
        f" {sandbox} --box-id=$1 {options} --cleanup; done"
    )
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.monotonic()
        loops = [
            subprocess.Popen(["/bin/sh", "-c", script, "sh", str(number), f"{folder}/meta-{number}"])
            for number in numbers
        ]
        for process in loops:
            process.wait(600)
        return each * len(numbers) / (time.monotonic() - began_s)


async def end_to_end(submission: dict[str, str], isolate: str, count: int, box_count: int) -> float:
    """Submissions a second, from the first publication to the last reply."""
    body = json.dumps(submission | {"expected_output": "42"}).encode()
    with PrivateBroker() as broker:
        settings = {"broker__url": broker.url, "sandbox__isolate": isolate, "sandbox__boxes": str(box_count)}
        log = broker.folder / "daemon.log"
        async with daemon(log, **settings), peer(broker.url) as client:
            replies = await client.channel.get_queue(RESULTS)
            answered: asyncio.Queue[str] = asyncio.Queue()
            await replies.consume(lambda reply: answered.put(json.loads(reply.body)["status"]), no_ack=True)
            began_s = time.monotonic()
            await asyncio.gather(*(client.publish(SUBMISSIONS, body) for _ in range(count)))
            statuses = {await answered.get() for _ in range(count)}
            rate = count / (time.monotonic() - began_s)
    if statuses != {"accepted"}:
        raise SystemExit(f"not all were accepted: {statuses}")
    return rate


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sandbox", default="auto", help="auto, embedded, or the path of isolate")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--boxes", type=int, default=2)
    arguments = parser.parse_args()
    with boxes(arguments.boxes) as numbers:
        ids = [BoxId(number) for number in numbers]
        sandbox = await discover(arguments.sandbox, allow_old=False, control_groups="auto", boxes=ids)
        groups = "--cg" if sandbox.control_groups else ""
        print(f"{sandbox.name} {sandbox.version} {groups or 'without control groups'}, {len(numbers)} boxes")
        for name, (program, submission) in PROGRAMS.items():
            bare = await asyncio.to_thread(
                loop, sandbox.executable, groups, program, arguments.count, numbers
            )
            whole = await end_to_end(submission, arguments.sandbox, arguments.count, len(numbers))
            print(f"{name}: loop {bare:.0f}/s, daemon {whole:.0f}/s, ratio {whole / bare:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
