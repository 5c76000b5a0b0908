"""Recovery of a box after a killed daemon, a killed keeper or a broken sandbox."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Collection, Sequence
from pathlib import Path

from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import PROBE_LIMITS, BoxId, Command, Ending
from verdictd.sandbox.processes import children

_PASSES = 60
_PAUSE_S = 0.05
_ORDINARY_UIDS = range(1_000, 2**31)
_PRINT_IDS = Command(argv=("/usr/bin/id",), constraints=PROBE_LIMITS)


async def end_keepers(executable: Sequence[str], boxes: Collection[BoxId]) -> None:
    """Terminate the keepers of these boxes, which ends their programs; kill those that do not end.

    The caller holds the locks of the boxes, so no other daemon waits for these processes.
    """
    keepers = await asyncio.to_thread(_keepers, executable, boxes)
    for keeper in keepers:
        _send(keeper, signal.SIGTERM)
    for _ in range(_PASSES):
        if not keepers:
            return
        await asyncio.sleep(_PAUSE_S)
        keepers = await asyncio.to_thread(_keepers, executable, boxes)
    for keeper in keepers:
        for process in (*children(keeper), keeper):
            _send(process, signal.SIGKILL)


def _keepers(executable: Sequence[str], boxes: Collection[BoxId]) -> list[int]:
    """Return the processes that run this executable on one of these boxes."""
    program = [os.fsencode(word) for word in executable]
    wanted = {f"--box-id={number}".encode() for number in boxes}
    found = []
    for process in _processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            argv = (process / "cmdline").read_bytes().split(b"\0")
            if argv[: len(program)] == program and not wanted.isdisjoint(argv[len(program) :][:1]):
                found.append(int(process.name))
    return found


async def recover(box: Box) -> int:
    """Reset the box and kill what outlived its daemon; return the number of programs killed.

    Programs whose keeper was killed are found by the user id of the box: without control groups, isolate's
    own --cleanup leaves them running. Raises SandboxBroken if the box cannot be recovered.
    """
    await end_keepers(box.sandbox.executable, [box.number])
    # Before files are removed: a program could make them as fast.
    killed = sum([await _kill_all(uid) for uid in _owners(box)])
    await box.cleanup()
    await box.reset()
    uid = await _uid(box)
    killed += await _kill_all(uid) if os.geteuid() == 0 else 0
    await box.reset()
    return killed


def _owners(box: Box) -> set[int]:
    """Return the users of earlier programs whom root may kill: the sandbox gave each its own /tmp."""
    if os.geteuid() != 0:
        return set()
    try:
        places = [*(box.sandbox.box_root / str(box.number) / "tmp").iterdir()]
    except FileNotFoundError:
        return set()
    uids = {place.stat(follow_symlinks=False).st_uid for place in places}
    return {uid for uid in uids if uid in _ORDINARY_UIDS}


async def _uid(box: Box) -> int:
    report = await box.run(_PRINT_IDS)
    found = re.match(rb"uid=(\d+)\S* gid=(\d+)", report.stdout.data)
    if report.ending is not Ending.EXITED or report.exit_code != 0 or found is None:
        raise SandboxBroken(f"cannot find out the user id of box {box.number}: {report}", FaultKind.RUN)
    uid, gid = int(found[1]), int(found[2])
    if uid == 0:
        raise SandboxBroken(f"programs in box {box.number} run as root", FaultKind.RUN)
    box.etc.ids = (uid, gid)
    return uid


async def _kill_all(uid: int) -> int:
    """Kill every process of a user id that belongs to one box alone; return their number."""
    if uid not in _ORDINARY_UIDS:
        raise SandboxBroken(f"programs run as the system user {uid}", FaultKind.RUN)
    killed: set[int] = set()
    for _ in range(_PASSES):
        survivors = await asyncio.to_thread(_processes_of, uid)
        if not survivors:
            return len(killed)
        for pid in survivors:
            _send(pid, signal.SIGKILL)
        killed |= set(survivors)
        await asyncio.sleep(_PAUSE_S)
    raise SandboxBroken(f"processes of user {uid} cannot be killed: {sorted(killed)}", FaultKind.SURVIVORS)


def _processes_of(uid: int) -> list[int]:
    found = []
    for process in _processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A zombie is dead already; its parent has not reaped it yet.
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if process.stat().st_uid == uid and state != "Z":
                found.append(int(process.name))
    return found


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
