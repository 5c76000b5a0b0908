"""The broker of the tests is reached by nobody else, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.broker import Broker

pytestmark = pytest.mark.broker

OWNER = """
import time
from support.rabbitmq import PrivateBroker

with PrivateBroker():
    print("started", flush=True)
    time.sleep(60)
"""
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
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        said = owner.stdout.readline()
        running = processes_of(tmp_path)
        owner.kill()
    deadline_s = time.monotonic() + 30
    while (left := processes_of(tmp_path)) and time.monotonic() < deadline_s:
        time.sleep(0.05)  # Erlang's helpers see the end of their pipe and follow

    assert "started\n" == said
    assert len(running) > 1
    assert [] == left


def processes_of(folder: Path) -> list[int]:
    """The processes of the broker in this folder; each has its path in the environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


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
