"""Isolate's command line and meta file: the only place that uses its vocabulary."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox.model import BoxId, Captured, Command, Ending, Noise, Report, Sandbox, Watched

_UNWATCHED = Watched()
_UNKNOWN = Noise()
_STREAMS = "pipes"
"""Place of the directory of streams in a box."""


def init_argv(sandbox: Sandbox, box: BoxId, *, control_groups: bool) -> list[str]:
    """Return the command line that makes a box, or resets an existing one."""
    return [*_head(sandbox, box, control_groups), "--init"]


def cleanup_argv(sandbox: Sandbox, box: BoxId, *, control_groups: bool) -> list[str]:
    """Return the command line that removes a box."""
    return [*_head(sandbox, box, control_groups), "--cleanup"]


def run_argv(
    sandbox: Sandbox, box: BoxId, meta: Path, command: Command, *, rules: Sequence[str] = ()
) -> list[str]:
    """Return the command line that runs one command in an initialised box.

    `rules`: directory rules that come before those of the command.

    Every number is formatted here and is never 0, which isolate reads as "unlimited".
    """
    constraints = command.constraints
    control_groups = sandbox.control_groups and command.control_groups
    argv = [
        *_head(sandbox, box, control_groups),
        f"--meta={meta}",
        "--silent",
        f"--time={_seconds(constraints.cpu_time_s)}",
        # Isolate counts extra time from the start of the program, not from the limit.
        f"--extra-time={_seconds(constraints.cpu_time_s + constraints.cpu_extra_time_s)}",
        f"--wall-time={_seconds(constraints.wall_time_s)}",
        f"--stack={_positive(constraints.stack_kib)}",
        f"--fsize={_positive(constraints.file_size_kib)}",
        f"--processes={_positive(constraints.processes)}",
        f"--open-files={_positive(constraints.open_files)}",
    ]
    if constraints.address_space_kib is not None:
        argv.append(f"--mem={_positive(constraints.address_space_kib)}")
    if control_groups and constraints.memory_kib is not None:
        argv.append(f"--cg-mem={_positive(constraints.memory_kib)}")
    # A file system in memory has no bound in isolate, and without a group nobody counts it. So /dev/shm lies
    # on disk beside /tmp, and what is written there counts with it.
    argv.append("--dir=dev/shm:tmp")
    if command.streams is not None:
        argv.append(f"--dir={_STREAMS}={command.streams.directory}")
        argv += [f"--std{name}=/{_STREAMS}/{name}" for name in ("in", "out", "err")]
    if command.stderr_to_stdout:
        argv.append("--stderr-to-stdout")
    if command.network:
        argv.append("--share-net")
    argv += [f"--dir={rule}" for rule in (*rules, *command.directories)]
    argv += [f"--env={name}={value}" for name, value in command.environment.items()]
    return [*argv, "--run", "--", *command.argv]


def _head(sandbox: Sandbox, box: BoxId, control_groups: bool) -> list[str]:
    return [*sandbox.executable, f"--box-id={box}", *(["--cg"] if control_groups else [])]


def _seconds(value: float) -> str:
    text = f"{value:.3f}"
    if not 0.001 <= float(text) < 1_000_000:
        raise ValueError(f"a time limit of {value} s cannot be passed to the sandbox")
    return text


def _positive(value: int) -> str:
    if not 0 < value < 2**40:
        raise ValueError(f"a limit of {value} cannot be passed to the sandbox")
    return str(value)


_NOT_EXECUTED = 127
"""Exit code in the place of the program's, if that could not be executed; programs may exit with it too."""

_REFUSED = 2
"""Exit code of a sandbox that could not do what it was asked to do."""

_KNOWN_KEYS = frozenset(
    [
        "cg-mem",
        "cg-oom-killed",
        "exitcode",
        "exitsig",
        "killed",
        "max-rss",
        "message",
        "status",
        "time",
        "time-wall",
    ]
)


def read_meta(text: str) -> dict[str, str]:
    """Parse the known keys of a meta file; the first of a kind counts, as a message may hold forged lines."""
    meta: dict[str, str] = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key in _KNOWN_KEYS:
            meta.setdefault(key, value)
    return meta


def report(
    exit_code: int,
    meta_text: str,
    stdout: Captured,
    stderr: Captured,
    *,
    executable: Callable[[], bool] = lambda: True,
    ended_for: Ending | None = None,
    exceeded: Ending | None = None,
    watched: Watched = _UNWATCHED,
    group_kib: int | None = None,
    noise: Noise = _UNKNOWN,
) -> Report:
    """Interpret a finished `--run`; raises SandboxBroken if it says nothing about the program.

    `executable` tells whether the program can be executed: a text about a failed execution is its own then.
    `ended_for`: the limit for which the daemon ended the run. `exceeded`: the limit that a program was found
    to have exceeded after it had ended by itself. `watched`: figures that the daemon saw, and that may be
    above those of the sandbox. `group_kib`: memory limit of the control group; None without one.
    """
    meta = read_meta(meta_text)
    # It measures a program that it has started, also where it fails afterwards: on too deep a tree, say.
    failed = exit_code not in {0, 1}
    measured = exit_code == _REFUSED and "time" in meta
    if failed and not (measured and exceeded):
        said = meta.get("message") or _own_message(exit_code, stderr)
        kind = FaultKind.PROGRAM if measured else FaultKind.RUN
        raise SandboxBroken(f"the sandbox exited with {exit_code}: {said[:500]!r}", kind)
    if "cg-oom-killed" in meta:
        _check_whose_memory(meta, group_kib)
    try:
        ended_for = exceeded if failed else ended_for
        ending, exit_status, signal = _ending(meta, ended_for)
        if ending is Ending.EXITED and _not_executed(exit_status, stdout, stderr) and not executable():
            ending = Ending.NOT_EXECUTED
        if exceeded is not None and ending in {Ending.EXITED, Ending.SIGNALLED}:
            ending = exceeded
        return Report(
            ending=ending,
            exit_code=exit_status,
            signal=signal,
            cpu_time_s=max(_measured_s(meta["time"]), watched.cpu_time_s),
            wall_time_s=_measured_s(meta["time-wall"]),
            memory_kib=max(_memory_kib(meta, in_group=group_kib is not None), watched.memory_kib),
            stdout=stdout,
            stderr=stderr,
            noise=noise,
            killed="killed" in meta,
        )
    except (KeyError, ValueError) as error:
        raise SandboxBroken(
            f"the sandbox left an unusable meta file: {meta_text[:500]!r}", FaultKind.RUN
        ) from error


def _own_message(exit_code: int, stderr: Captured) -> str:
    """Return the sandbox's last line on stderr, or nothing if a program ran: its output is not for logs."""
    if exit_code != _REFUSED:
        return ""
    return stderr.data.decode(errors="replace").strip().rpartition("\n")[2]


def _check_whose_memory(meta: dict[str, str], group_kib: int | None) -> None:
    """Raise SandboxBroken if a process was killed because of another memory limit than that of the group.


    The kernel counts every kill in a group, also one for the limit of a group above it or of the whole host.
    A kill for the group's own limit comes only when the group has nearly reached it.
    """
    peak = meta.get("cg-mem", "")
    if group_kib is None or (peak.isdecimal() and 4 * int(peak) < 3 * group_kib):
        raise SandboxBroken(
            f"the host ran out of memory: a program with {peak or 'unknown'} KiB of {group_kib} was killed",
            FaultKind.RUN,
        )


def _memory_kib(meta: dict[str, str], *, in_group: bool) -> int:
    return _count((meta.get("cg-mem") if in_group else None) or meta["max-rss"])


def _measured_s(text: str) -> float:
    """Return a time as isolate writes it; float() would take `nan`, `-1` and `1_0` too. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError(f"time {text!r}")
    return float(text)


def _count(text: str, *, below: int = 2**53) -> int:
    """Return a number as isolate writes it; raises ValueError for all others."""
    if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) >= below:
        raise ValueError(f"number {text!r}")
    return int(text)


def _ending(meta: dict[str, str], ended_for: Ending | None) -> tuple[Ending, int | None, int | None]:
    """Return ending, exit code and signal; raises KeyError or ValueError if the meta file makes no sense."""
    exit_status = _count(meta["exitcode"], below=256) if "exitcode" in meta else None
    signal = _count(meta["exitsig"], below=65) if "exitsig" in meta else None
    status, message = meta.get("status"), meta.get("message", "")
    if "cg-oom-killed" in meta:  # checked first: it occurs beside any status, even with exit code 0
        return Ending.OUT_OF_MEMORY, exit_status, signal
    if ended_for is Ending.STOPPED and message != "Interrupted":
        ended_for = None  # it had ended by itself
    if ended_for is not None:
        # The signal, if any, is the one with which the daemon ended the run.
        return ended_for, exit_status, None
    match status:
        case "TO":
            return (Ending.WALL_TIME if "wall clock" in message else Ending.CPU_TIME), exit_status, signal
        case "SG" if signal is not None and message != "Interrupted":
            return Ending.SIGNALLED, None, signal
        case "RE" if exit_status is not None:
            return Ending.EXITED, exit_status, None
        case None if exit_status == 0:
            return Ending.EXITED, 0, None
    raise ValueError(f"status {status!r}, message {message!r}")


def _not_executed(exit_status: int | None, stdout: Captured, stderr: Captured) -> bool:
    """Return whether the sandbox said that the execution failed; a program can print the same."""
    said = any(stream.data.startswith(b'execve("') for stream in (stdout, stderr))
    return said and exit_status == _NOT_EXECUTED
