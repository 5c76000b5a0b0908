"""What goes wrong: processes killed and stopped, a broker that goes, a disk that is full."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.chaos.row import Skipped
from support.rabbitmq import PrivateBroker


async def restart(broker: PrivateBroker, *, kill: bool) -> None:
    """Stop the broker, or kill it as a power cut would, and start it again."""
    await asyncio.to_thread(broker.kill if kill else broker.stop)
    await asyncio.to_thread(broker.start)


async def hold(pid: int, seconds: float) -> None:
    """Stop a process with SIGSTOP for a while."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill(pid: int) -> bool:
    """Kill a process; False where it has ended meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def small_disk(folder: Path, size_kib: int = 65_536) -> Iterator[Path]:
    """A file system of our own, which can be filled without harm to anybody."""
    if os.geteuid() != 0:
        raise Skipped("only root may mount a file system of its own")
    folder.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=700", "chaos", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", folder], check=True)


def fill(path: Path) -> None:
    """Write to a file until nothing more fits on its disk."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65_536)):
            pass
