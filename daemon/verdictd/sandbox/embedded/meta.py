"""Report of a run: the meta file, the message on stderr, the exit code."""

from __future__ import annotations

import os


class Measured:
    """Measurements of a run; `status` is that of waitpid, or None if the program was not waited for."""

    __slots__ = (
        "cg_mem_kib",
        "cg_oom_killed",
        "cpu_time_s",
        "interrupted_by",
        "killed_for",
        "max_rss_kib",
        "status",
        "switches_forced",
        "switches_voluntary",
        "wall_time_s",
    )

    def __init__(self) -> None:
        self.status: int | None = None
        self.killed_for: str | None = None
        self.interrupted_by: int | None = None
        self.cpu_time_s = 0.0
        self.wall_time_s = 0.0
        self.max_rss_kib = 0
        self.switches_voluntary = 0
        self.switches_forced = 0
        self.cg_mem_kib: int | None = None
        self.cg_oom_killed = False


class RunStatus:
    """Text of the meta file, message for stderr and exit code of one run."""

    def __init__(self, lines: list[tuple[str, object]], message: str, exit_code: int) -> None:
        self.text = "".join(f"{key}:{_one_line(str(value))}\n" for key, value in lines)
        self.message = message
        self.exit_code = exit_code


def broken(message: str) -> RunStatus:
    """Report a failure of the sandbox; nothing about the program can be trusted."""
    return RunStatus([("status", "XX"), ("message", message)], message, 2)


def conclude(measured: Measured, *, time_s: float | None, wall_time_s: float | None) -> RunStatus:
    """Report the end of a run that had these limits."""
    facts = _facts(measured)
    if measured.killed_for is not None:
        return _killed(measured, facts)
    late = None
    if time_s is not None and measured.cpu_time_s > time_s:
        late = "Time limit exceeded"
    elif wall_time_s is not None and measured.wall_time_s > wall_time_s:
        late = "Time limit exceeded (wall clock)"
    if late is not None:
        return RunStatus([*facts, ("status", "TO"), ("message", late)], late, 1)
    code = os.waitstatus_to_exitcode(measured.status or 0)
    if code < 0:
        message = f"Caught fatal signal {-code}"
        return RunStatus([*facts, ("exitsig", -code), ("status", "SG"), ("message", message)], message, 1)
    if code > 0:
        message = f"Exited with error status {code}"
        return RunStatus([*facts, ("exitcode", code), ("status", "RE"), ("message", message)], message, 1)
    message = f"OK ({measured.cpu_time_s:.3f} sec real, {measured.wall_time_s:.3f} sec wall)"
    return RunStatus([*facts, ("exitcode", 0)], message, 0)


def _killed(measured: Measured, facts: list[tuple[str, object]]) -> RunStatus:
    message = measured.killed_for or ""
    signal: list[tuple[str, object]] = []
    status = "TO"
    if measured.interrupted_by is not None:
        signal, status = [("exitsig", measured.interrupted_by)], "SG"
    lines = [*signal, ("status", status), ("message", message), ("killed", 1), *facts]
    return RunStatus(lines, message, 1)


def _facts(measured: Measured) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("time", f"{measured.cpu_time_s:.3f}"),
        ("time-wall", f"{measured.wall_time_s:.3f}"),
        ("max-rss", measured.max_rss_kib),
        ("csw-voluntary", measured.switches_voluntary),
        ("csw-forced", measured.switches_forced),
    ]
    if measured.cg_mem_kib is not None:
        facts.append(("cg-mem", measured.cg_mem_kib))
    if measured.cg_oom_killed:
        facts.append(("cg-oom-killed", 1))
    return facts


def _one_line(text: str) -> str:
    """Make a value that cannot forge a line of the meta file, whatever a program has called its files."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
