"""Which sandbox this host has: isolate where it is installed, else the embedded default."""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from verdictd.errors import SandboxBroken
from verdictd.sandbox import BoxId, Command, Constraints, Ending
from verdictd.sandbox.box import Box
from verdictd.sandbox.isolate import Sandbox
from verdictd.sandbox.processes import execute

OLDEST = (2, 6)
_EMBEDDED = (sys.executable, "-I", "-S", str(Path(__file__).parent / "embedded"))
_PROBE_DEADLINE_S = 20.0

ControlGroups = Literal["auto", "always", "never"]


class NoSandbox(Exception):
    """The sandbox that the settings ask for is missing or unusable: nothing can be judged on this host."""


async def discover(
    isolate: str, *, allow_old: bool, control_groups: ControlGroups, probe_box: BoxId
) -> Sandbox:
    """The sandbox for `isolate`: `auto`, `embedded` or a path; raises NoSandbox.

    Control groups are used where a program runs in them now, in a box that the caller owns.
    """
    executable = _executable(isolate)
    name, version = await _version(executable, allow_old=allow_old)
    with_groups = Sandbox(executable, name, version, control_groups=True)
    without = Sandbox(executable, name, version, control_groups=False)
    if control_groups == "never":
        await _prove(without, probe_box)
        return without
    try:
        await _prove(with_groups, probe_box)
    except NoSandbox:
        if control_groups == "always":
            raise
        await _prove(without, probe_box)
        return without
    return with_groups


def _executable(isolate: str) -> tuple[str, ...]:
    if isolate == "embedded":
        return _EMBEDDED
    if isolate == "auto":
        found = shutil.which("isolate")
        return (found,) if found else _EMBEDDED
    if not os.access(isolate, os.X_OK):
        raise NoSandbox(f"{isolate} is not an executable file")
    return (isolate,)


async def _version(executable: tuple[str, ...], *, allow_old: bool) -> tuple[str, str]:
    """Name and version; the first line is `The process isolator 2.6`, or `verdictd-box 1 (...)`."""
    try:
        outcome = await execute(
            [*executable, "--version"], stdin=b"", output_bytes=4096, deadline_s=_PROBE_DEADLINE_S
        )
    except SandboxBroken as error:
        raise NoSandbox(str(error)) from error
    line = outcome.stdout.data.decode(errors="replace").partition("\n")[0]
    found = re.match(r"(The process isolator|verdictd-box) ((\d+)[.\d]*)", line)
    if outcome.returncode != 0 or found is None:
        raise NoSandbox(f"{' '.join(executable)} --version ended with {outcome.returncode}: {line!r}")
    if found[1] == "verdictd-box":
        return "embedded", found[2]
    numbers = tuple(int(part) for part in found[2].split(".") if part)
    if numbers < OLDEST and not allow_old:
        wanted = ".".join(map(str, OLDEST))
        raise NoSandbox(f"isolate {found[2]} is older than {wanted}; sandbox.allow_old = true accepts it")
    return "isolate", found[2]


async def _prove(sandbox: Sandbox, number: BoxId) -> None:
    """Run one program as every submission will be run; raises NoSandbox with what the sandbox said."""
    constraints = Constraints(
        cpu_time_s=5,
        cpu_extra_time_s=0.5,
        wall_time_s=10,
        memory_kib=65_536,
        address_space_kib=None,
        stack_kib=8_192,
        file_size_kib=1_024,
        processes=4,
        open_files=64,
        output_bytes=1_024,
    )
    with tempfile.TemporaryDirectory(prefix="verdictd-") as directory:
        box = Box(sandbox, number, Path(directory))
        try:
            await box.reset()
            report = await box.run(Command(argv=("/bin/echo", "ready"), constraints=constraints))
            await box.cleanup()
        except SandboxBroken as error:
            await _try_cleanup(box)
            groups = "with" if sandbox.control_groups else "without"
            raise NoSandbox(f"{sandbox.name} {sandbox.version} {groups} control groups: {error}") from error
    if report.ending is not Ending.EXITED or report.stdout.data != b"ready\n":
        raise NoSandbox(f"{sandbox.name} {sandbox.version} cannot run /bin/echo: {report}")


async def _try_cleanup(box: Box) -> None:
    try:
        await box.cleanup()
    except SandboxBroken:
        await asyncio.sleep(0)
