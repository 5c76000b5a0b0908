"""The broker of the tests is reached by nobody else, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.broker import Broker

pytestmark = pytest.mark.broker

OWNER = "from support.rabbitmq import PrivateBroker; PrivateBroker().start()"
NODE = {"epmd", "beam.smp", "erl_child_setup"}
"""Processes of a node that has begun to start: to wait for its end would cost seconds of a processor."""
LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1 and ::1, as /proc/net writes them


def test_broker_listens_on_loopback_only(broker: Broker) -> None:
    """Nobody outside of this machine can reach it, nor its Erlang channel and port mapper."""
    addresses = listening_addresses(processes_of(broker.folder))

    assert addresses
    assert set() == addresses - LOOPBACK


def test_broker_dies_with_a_killed_owner(tmp_path: Path) -> None:
    """A test run that is killed cannot clean up, and leaves no process all the same."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with owner:
        deadline_s = time.monotonic() + 60
        while not (running := set(names(processes_of(tmp_path)))) >= NODE and time.monotonic() < deadline_s:
            time.sleep(0.05)
        owner.kill()
    deadline_s = time.monotonic() + 30
    while (left := processes_of(tmp_path)) and time.monotonic() < deadline_s:
        time.sleep(0.05)  # Erlang's helpers see the end of their pipe and follow

    assert running >= NODE
    assert [] == left


def processes_of(folder: Path) -> list[int]:
    """The processes of the broker in this folder; each has its path in the environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def names(pids: list[int]) -> Iterator[str]:
    """Yield the names of the programs of these processes."""
    for pid in pids:
        with suppress(OSError):  # it has ended
            yield Path(f"/proc/{pid}/comm").read_text().strip()


def listening_addresses(pids: list[int]) -> set[str]:
    """The TCP addresses on which these processes listen, in the kernel's hexadecimal."""
    sockets = {name for pid in pids for name in open_files(pid)}
    rows = [
        row.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for row in Path(table).read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if LISTENING == row[3] and f"socket:[{row[9]}]" in sockets}


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process lead to; those that it closes meanwhile are left out."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(link.readlink().name)
    return names
