"""Discovery of the sandbox: isolate if it is installed, else the embedded default."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from verdictd.concurrency import finish
from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import PROBE_LIMITS, BoxId, Command, Ending, Sandbox
from verdictd.sandbox.processes import execute
from verdictd.sandbox.recovery import end_keepers

OLDEST = (2, 6)
_EMBEDDED = (sys.executable, "-I", "-S", str(Path(__file__).parent / "embedded" / "__main__.py"))
_EMBEDDED_FLOOR_KIB = 16 * 1024  # a Python process has 8 MiB; the rest allows for other builds of Python
_PROBE_DEADLINE_S = 20.0
_PROBED_BOXES = 4

ControlGroups = Literal["auto", "always", "never"]


class NoSandbox(Exception):
    """The sandbox that `sandbox.isolate` names is missing or unusable: this host cannot judge."""


async def discover(
    isolate: str, *, allow_old: bool, control_groups: ControlGroups, boxes: Sequence[BoxId]
) -> Sandbox:
    """Find the sandbox for `isolate` (`auto`, `embedded` or a path) and prove it; raises NoSandbox.

    Control groups are used if a program runs in them now. The caller holds the locks of the boxes; the probe
    uses the first box that a killed daemon has not left unusable.
    """
    executable = _executable(isolate)
    name, version = await _version(executable, allow_old=allow_old)
    await end_keepers(executable, boxes)
    without = Sandbox(
        executable,
        name,
        version,
        control_groups=False,
        box_root=Path(),
        resident_floor_kib=_EMBEDDED_FLOOR_KIB if name == "embedded" else 0,
    )
    if control_groups == "never":
        return await _prove(without, boxes)
    try:
        return await _prove(replace(without, control_groups=True), boxes)
    except NoSandbox:
        if control_groups == "always":
            raise
        return await _prove(without, boxes)


def _executable(isolate: str) -> tuple[str, ...]:
    if isolate == "embedded":
        return _EMBEDDED
    if isolate == "auto":
        found = shutil.which("isolate")
        return (found,) if found else _EMBEDDED
    if not os.access(isolate, os.X_OK):
        raise NoSandbox(f"{isolate} is not an executable file; see sandbox.isolate")
    return (isolate,)


async def _version(executable: tuple[str, ...], *, allow_old: bool) -> tuple[str, str]:
    """Return name and version, from a first line `The process isolator 2.6` or `verdictd-box 1 (...)`."""
    try:
        ended = await execute(
            [*executable, "--version"], stdin=b"", output_bytes=4096, deadline_s=_PROBE_DEADLINE_S
        )
    except SandboxBroken as error:
        raise NoSandbox(str(error)) from error
    line = ended.stdout.data.decode(errors="replace").partition("\n")[0]
    found = re.match(r"(The process isolator|verdictd-box) ((\d+)[.\d]*)", line)
    if ended.returncode != 0 or found is None:
        raise NoSandbox(f"{' '.join(executable)} --version exited with {ended.returncode}: {line!r}")
    if found[1] == "verdictd-box":
        return "embedded", found[2]
    numbers = tuple(int(part) for part in found[2].split(".") if part)
    if numbers < OLDEST and not allow_old:
        oldest = ".".join(map(str, OLDEST))
        raise NoSandbox(f"isolate {found[2]} is older than {oldest}; sandbox.allow_old = true accepts it")
    return "isolate", found[2]


async def _prove(sandbox: Sandbox, boxes: Sequence[BoxId]) -> Sandbox:
    """Run one program in the way submissions are run; raises NoSandbox with the sandbox's message."""
    failures = []
    with tempfile.TemporaryDirectory(prefix="verdictd-") as directory:
        for number in boxes[:_PROBED_BOXES]:
            try:
                return replace(sandbox, box_root=await _try(Box(sandbox, number, Path(directory))))
            except SandboxBroken as error:
                failures.append(str(error))
    groups = "with" if sandbox.control_groups else "without"
    raise NoSandbox(f"{sandbox.name} {sandbox.version} {groups} control groups: {failures[0]}")


async def _made(box: Box) -> Path:
    """Make the box, also if a killed daemon has left it in the other control group mode."""
    try:
        return await box.reset()
    except SandboxBroken:
        await box.cleanup()
        return await box.reset()


async def _try(box: Box) -> Path:
    """Run a program in a box, and return the directory of all boxes."""
    try:
        root = await _made(box)
        report = await box.run(Command(argv=("/bin/echo", "ready"), constraints=PROBE_LIMITS))
    finally:
        with contextlib.suppress(SandboxBroken):
            await finish(box.cleanup())
    if report.ending is not Ending.EXITED or report.stdout.data != b"ready\n":
        raise SandboxBroken(f"cannot run /bin/echo: {report}", FaultKind.RUN)
    return root.parent
