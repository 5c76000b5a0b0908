"""Recovery of a box after a killed daemon, a killed keeper or a broken sandbox."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from verdictd.concurrency import finish
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox import guardian as guardian_module
from verdictd.sandbox.box import Box
from verdictd.sandbox.guardian import keepers, processes, send
from verdictd.sandbox.model import PROBE_LIMITS, BoxId, Command, Ending
from verdictd.sandbox.processes import children

_GUARDIAN = guardian_module.__file__
_PASSES = 60
_PAUSE_S = 0.05
_ORDINARY_UIDS = range(1_000, 2**31)
_PRINT_IDS = Command(argv=("/usr/bin/id",), constraints=PROBE_LIMITS)


async def end_keepers(executable: Sequence[str], boxes: Collection[BoxId]) -> None:
    """Terminate the keepers of these boxes, which ends their programs; kill those that do not end.

    The caller holds the locks of the boxes, so no other daemon waits for these processes.
    """
    alive = await asyncio.to_thread(keepers, executable, boxes)
    for keeper in alive:
        send(keeper, signal.SIGTERM)
    for _ in range(_PASSES):
        if not alive:
            return
        await asyncio.sleep(_PAUSE_S)
        alive = await asyncio.to_thread(keepers, executable, boxes)
    for keeper in alive:
        for process in (*children(keeper), keeper):
            send(process, signal.SIGKILL)


@asynccontextmanager
async def guarded(executable: Sequence[str], boxes: Sequence[BoxId]) -> AsyncIterator[None]:
    """End the programs in these boxes if this process is killed before the block has ended."""
    words = [str(boxes[0]), str(boxes[-1]), *executable]
    guardian = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", _GUARDIAN, *words, stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        if guardian.stdin is not None:
            guardian.stdin.close()
        await finish(guardian.wait())


async def recover(box: Box) -> int:
    """Reset the box and kill what outlived its daemon; return the number of programs killed.

    Programs whose keeper was killed are found by the user id of the box: without control groups, isolate's
    own --cleanup leaves them running. Raises SandboxBroken if the box cannot be recovered.
    """
    await end_keepers(box.sandbox.executable, [box.number])
    # Before files are removed: a program could make them as fast.
    killed = sum([await _kill_all(uid) for uid in _owners(box)])
    if box.exists:
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
            send(pid, signal.SIGKILL)
        killed |= set(survivors)
        await asyncio.sleep(_PAUSE_S)
    raise SandboxBroken(f"processes of user {uid} cannot be killed: {sorted(killed)}", FaultKind.SURVIVORS)


def _processes_of(uid: int) -> list[int]:
    found = []
    for process in processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A zombie is dead already; its parent has not reaped it yet.
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if process.stat().st_uid == uid and state != "Z":
                found.append(int(process.name))
    return found
