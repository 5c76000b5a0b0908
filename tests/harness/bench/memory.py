"""Memory of the daemon: idle, with full outputs in 8 boxes, and with large test data by reference."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from harness.bench.cost import TRIVIAL, require_accepted
from harness.bench.figures import Figure
from harness.bench.rig import Rig, body, rig
from support.boxes import boxes
from support.broker import HOST
from support.processes import memory_kib
from support.rabbitmq import free_ports

_MIB = 1024 * 1024
_BOXES = 8
_FULL = body("perl", "print 'x' x 4194304")
_COUNT = "my $n = 0; $n += length while <>; print $n"


async def memory(isolate: str, *, mib: int = 200) -> list[Figure]:
    """Measure the resident set and its peaks."""
    with (
        boxes(_BOXES) as numbers,
        tempfile.TemporaryDirectory(dir="/var/tmp", prefix="verdictd-bench-") as name,
    ):
        folder = Path(name)
        (folder / "files").mkdir()
        digest = _make(folder / "files" / "large.in", mib)
        async with rig(isolate, numbers) as bench:
            idle = Figure("memory", "idle", await _idle_mib(bench), "MiB", at_most=60)
        async with _served(folder / "files") as port, rig(isolate, numbers, **_data(folder, port)) as bench:
            with_urls = Figure("memory", "idle, with test data by URL", await _idle_mib(bench), "MiB")
            remote = {"sha256": digest, "url": f"http://{HOST}:{port}/large.in"}
            provided = {"file": "large.in"}
            before_mib = _mib(bench, "VmHWM")
            for stdin in (remote, remote, provided):
                counted = body(
                    "perl", _COUNT, stdin=stdin, expected_output=f"{mib * _MIB}", cpu_time_limit=30
                )
                require_accepted(await bench.judge_all([counted]))
            large = Figure(
                "memory",
                f"peak above that with {mib} MiB of input",
                _mib(bench, "VmHWM") - before_mib,
                "MiB",
                at_most=16,
            )
            require_accepted(await bench.judge_all([_FULL] * 4 * _BOXES))
            full = Figure(
                "memory",
                f"peak with full standard outputs in {_BOXES} boxes",
                _mib(bench, "VmHWM"),
                "MiB",
                at_most=120,
            )
    return [idle, with_urls, large, full]


async def _idle_mib(bench: Rig) -> float:
    await bench.judge_all([TRIVIAL] * 4 * _BOXES)
    return _mib(bench, "VmRSS")


def _mib(bench: Rig, name: str) -> float:
    return memory_kib(bench.daemon.process.pid, name) / 1024


def _make(file: Path, mib: int) -> str:
    """Write a large file of lines; return its digest."""
    with file.open("wb") as opened:
        opened.writelines([b"%015d\n" % 7 * (_MIB // 16)] * mib)
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _data(folder: Path, port: int) -> dict[str, str]:
    return {
        "data__directory": str(folder / "files"),
        "data__cache_directory": str(folder / "cache"),
        "data__allow_urls": "true",
        "data__allow_hosts": HOST,
        "data__allow_ports": str(port),
    }


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[int]:
    """Serve the files of a folder over HTTP; yield the port."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        (port,) = free_ports(1)
        await web.TCPSite(runner, HOST, port).start()
        yield port
    finally:
        await runner.cleanup()
