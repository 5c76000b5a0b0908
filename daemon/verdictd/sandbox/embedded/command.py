"""The commands: --init, --run, --cleanup and those that only tell something."""

from __future__ import annotations

import os
import signal

from verdictd.sandbox.embedded import guest, kernel
from verdictd.sandbox.embedded.boxes import FIRST_UID, Box, enter
from verdictd.sandbox.embedded.faults import BoxError, UsageError
from verdictd.sandbox.embedded.groups import parents
from verdictd.sandbox.embedded.keeper import keep
from verdictd.sandbox.embedded.meta import Verdict, broken, judge
from verdictd.sandbox.embedded.options import Options, parse

VERSION = "verdictd-box 1 (speaks isolate 2.6)\n"


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code is 2 for whatever goes wrong with the sandbox itself."""
    options = Options()
    meta = -1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _occupy_standard_descriptors()
        try:
            parse(arguments, options)
        finally:
            # Emptied even after a usage error, so that no older run's file can be taken for this one's.
            meta = _open_meta(options.meta)
        return _COMMANDS[options.mode](options, meta)
    except UsageError as problem:
        _say(f"{problem}\n")
    except BoxError as problem:
        _finish(broken(str(problem)), meta)
    except BaseException as problem:  # nothing unexpected may look like the program's failure
        _finish(broken(f"Internal error: {type(problem).__name__}: {problem}"), meta)
    return 2


def _run(options: Options, meta: int) -> int:
    box = Box(options.box_id, wait=options.wait)
    group = box.require(cg=options.cg)
    if options.verbose:
        for rule in options.directories():
            _say(f"Mounting {rule.outside or 'a temporary directory'} on {rule.inside}\n")
        _say(f"Starting as user {box.uid} in {box.directory}\n")
    measured = keep(options, box, group)
    verdict = judge(measured, time_s=options.time_s, wall_time_s=options.wall_time_s)
    return _finish(verdict, meta, silent=options.silent)


def _initialise(options: Options, _meta: int) -> int:
    box = Box(options.box_id, wait=options.wait)
    box.initialise(cg=options.cg)
    return _tell(f"{box.directory}\n")


def _clean_up(options: Options, _meta: int) -> int:
    Box(options.box_id, wait=options.wait).clean_up()
    return 0


def _version(_options: Options, _meta: int) -> int:
    return _tell(VERSION)


def _check_config(options: Options, _meta: int) -> int:
    """Find out whether this machine lets us isolate anything at all; the namespaces end with this process."""
    enter(FIRST_UID + options.box_id)
    try:
        kernel.unshare(guest.NAMESPACES | kernel.NEW_NAMESPACE_NET | kernel.NEW_NAMESPACE_PID)
        kernel.privatise_mounts()
    except OSError as problem:
        raise BoxError(f"Cannot create namespaces: {problem.strerror}") from problem
    return 0


def _print_cg_root(_options: Options, _meta: int) -> int:
    return _tell("".join(f"{directory}\n" for directory in parents()))


def _occupy_standard_descriptors() -> None:
    """Let none of our own files take the place of a standard stream that the caller closed."""
    fd = os.open("/dev/null", os.O_RDWR)
    while fd <= 2:
        fd = os.dup(fd)
    os.close(fd)


def _open_meta(path: str | None) -> int:
    if path is None:
        return -1
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError:
        raise UsageError(f"Failed to open metafile '{path}'") from None


def _finish(verdict: Verdict, meta: int, *, silent: bool = False) -> int:
    """Write the meta file, say how it ended, and return the exit code."""
    if meta >= 0:
        os.write(meta, os.fsencode(verdict.text))
    if not silent or verdict.exit_code > 1:
        _say(f"{verdict.message}\n")
    return verdict.exit_code


def _tell(text: str) -> int:
    os.write(1, os.fsencode(text))
    return 0


def _say(text: str) -> None:
    try:
        os.write(2, os.fsencode(text))
    except OSError:
        return  # nobody listens, and the exit code says it all


_COMMANDS = {
    "init": _initialise,
    "run": _run,
    "cleanup": _clean_up,
    "version": _version,
    "check-config": _check_config,
    "print-cg-root": _print_cg_root,
}
