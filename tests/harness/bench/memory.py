"""Memory of the daemon while it judges with large test data by reference.

Run as `python tests/harness/bench/memory.py [--sandbox PATH] [--mib N]`.
A program counts the bytes of a file that is fetched, then of the same file from the cache, then of one from
the operator's directory, with which its output is compared too. The daemon's peak counts from before the
first of them, after a small submission.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import orjson
from aiohttp import web

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.broker import HOST
from support.daemon import daemon
from support.rabbitmq import PrivateBroker, free_ports
from verdictd.contract.limits import MIB

COUNT = {"language": "bash", "source_code": "wc -c", "cpu_time_limit": 30, "wall_time_limit": 120}


def figure_kib(pid: int, name: str) -> int:
    """Return a line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def judge(client: Peer, **fields: object) -> str:
    """Return what came of a submission, and the seconds that it took."""
    began_s = time.monotonic()
    await client.publish(SUBMISSIONS, orjson.dumps(COUNT | fields))
    result = orjson.loads((await client.take(RESULTS, 600)).body)
    return f"{result['status']}, {result['stdout'].strip()} bytes, {time.monotonic() - began_s:.1f} s"


async def run(isolate: str, mib: int, folder: Path) -> None:
    """Judge, and print the peaks of the daemon."""
    (folder / "files").mkdir()
    file = folder / "files" / "large.in"
    lines = b"".join(b"%015d\n" % number for number in range(MIB // 16))
    with file.open("wb") as opened:
        opened.writelines([lines] * mib)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    app = web.Application()
    app.router.add_static("/", folder / "files")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, HOST, port).start()
    settings = {
        "sandbox__isolate": isolate,
        "sandbox__boxes": "1",
        "data__directory": str(folder / "files"),
        "data__cache_directory": str(folder / "cache"),
        "data__allow_urls": "true",
        "data__allow_hosts": HOST,
        "data__allow_ports": str(port),
    }
    remote = {"sha256": digest, "url": f"http://{HOST}:{port}/large.in"}
    provided = {"file": "large.in"}
    with PrivateBroker() as broker:
        url = broker.fresh_vhost()
        async with daemon(folder / "log", broker__url=url, **settings) as running, peer(url) as client:
            await judge(client, stdin="small", expected_output="5")
            before_kib = figure_kib(running.process.pid, "VmHWM")
            print(f"fetched:  {await judge(client, stdin=remote)}")
            print(f"cached:   {await judge(client, stdin=remote)}")
            print(f"provided: {await judge(client, stdin=provided, expected_output=provided)}")
            peak_kib = figure_kib(running.process.pid, "VmHWM")
            print(
                f"peak of the daemon: {before_kib} KiB, and {peak_kib - before_kib} KiB more with {mib} MiB"
            )
    await runner.cleanup()


def main() -> None:
    """Parse the options, and run it in a folder on disk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sandbox", default="embedded", help="embedded, or the path of an isolate")
    parser.add_argument("--mib", type=int, default=500, help="size of the file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="verdictd-bench-") as folder:
        asyncio.run(run(options.sandbox, options.mib, Path(folder)))


if __name__ == "__main__":
    main()
