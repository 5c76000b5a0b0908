"""Processes of this machine, as they are seen from outside the boxes."""

import os
from collections.abc import Sequence
from pathlib import Path

from verdictd.sandbox.processes import children


def alive(program: Sequence[str | bytes]) -> list[int]:
    """The ids, outside, of processes with exactly this command line; not those that only pass it on."""
    wanted = b"".join(os.fsencode(word) + b"\0" for word in program)
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _cmdline(entry) == wanted
    ]


def sandboxes(daemon: int, word: str = "--run") -> list[int]:
    """The sandboxes that a daemon has running with this word in their command line, by process id."""
    wanted = word.encode()
    return [pid for pid in children(daemon) if wanted in _cmdline(Path(f"/proc/{pid}")).split(b"\0")]


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def ancestors(pid: int) -> list[int]:
    """The parent of a process, its parent, and so on; those that still live."""
    found: list[int] = []
    while pid > 1:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds of a process itself, and of its children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + system) / ticks, (children_user + children_system) / ticks


def memory_kib(pid: int, name: str = "VmRSS") -> int:
    """A figure of /proc/PID/status: the memory of the process itself."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])
