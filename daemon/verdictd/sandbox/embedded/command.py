"""Commands: --init, --run, --cleanup and those that only print something."""

from __future__ import annotations

import os

from verdictd.sandbox.embedded import guest, kernel
from verdictd.sandbox.embedded.boxes import FIRST_UID, BoxDirectory, enter
from verdictd.sandbox.embedded.faults import BoxError, UsageError
from verdictd.sandbox.embedded.groups import parents
from verdictd.sandbox.embedded.keeper import keep
from verdictd.sandbox.embedded.meta import RunStatus, broken, conclude
from verdictd.sandbox.embedded.options import Options, parse
from verdictd.sandbox.embedded.signals import signal

VERSION = "verdictd-box 1 (speaks isolate 2.6)\n"


def main(arguments: list[str]) -> int:
    """Execute the command line; return 2 for every failure of the sandbox itself."""
    options = Options()
    meta = -1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _occupy_standard_descriptors()
        try:
            parse(arguments, options)
        finally:
            # Emptied even after a usage error, so that an earlier run's file is not mistaken for this one's.
            meta = _open_meta(options.meta)
        return _COMMANDS[options.mode](options, meta)
    except UsageError as problem:
        _say(f"{problem}\n")
    except BoxError as problem:
        _finish(broken(str(problem)), meta)
    except BaseException as problem:  # an unexpected failure must not look like one of the program
        _finish(broken(f"Internal error: {type(problem).__name__}: {problem}"), meta)
    return 2


def _run(options: Options, meta: int) -> int:
    box = BoxDirectory(options.box_id, wait=options.wait)
    group = box.require(cg=options.cg)
    if options.verbose:
        for rule in options.directories():
            _say(f"Mounting {rule.outside or 'a temporary directory'} on {rule.inside}\n")
        _say(f"Starting as user {box.uid} in {box.directory}\n")
    measured = keep(options, box, group)
    status = conclude(measured, time_s=options.time_s, wall_time_s=options.wall_time_s)
    return _finish(status, meta, silent=options.silent)


def _initialise(options: Options, _meta: int) -> int:
    box = BoxDirectory(options.box_id, wait=options.wait)
    box.initialise(cg=options.cg)
    return _print(f"{box.directory}\n")


def _clean_up(options: Options, _meta: int) -> int:
    BoxDirectory(options.box_id, wait=options.wait).clean_up()
    return 0


def _version(_options: Options, _meta: int) -> int:
    return _print(VERSION)


def _check_config(options: Options, _meta: int) -> int:
    """Check that this host permits namespaces; those made here end with this process."""
    enter(FIRST_UID + options.box_id)
    try:
        kernel.unshare(guest.NAMESPACES | kernel.NEW_NAMESPACE_NET | kernel.NEW_NAMESPACE_PID)
        kernel.privatise_mounts()
    except OSError as problem:
        raise BoxError(f"Cannot create namespaces: {problem.strerror}") from problem
    return 0


def _print_cg_root(_options: Options, _meta: int) -> int:
    return _print("".join(f"{directory}\n" for directory in parents()))


def _occupy_standard_descriptors() -> None:
    """Open standard streams that the caller has closed, so that no other file gets their descriptors."""
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


def _finish(status: RunStatus, meta: int, *, silent: bool = False) -> int:
    """Write the meta file, print the message, and return the exit code."""
    if meta >= 0:
        os.write(meta, os.fsencode(status.text))
    if not silent or status.exit_code > 1:
        _say(f"{status.message}\n")
    return status.exit_code


def _print(text: str) -> int:
    os.write(1, os.fsencode(text))
    return 0


def _say(text: str) -> None:
    try:
        os.write(2, os.fsencode(text))
    except OSError:
        return  # nobody reads stderr; the exit code tells the outcome


_COMMANDS = {
    "init": _initialise,
    "run": _run,
    "cleanup": _clean_up,
    "version": _version,
    "check-config": _check_config,
    "print-cg-root": _print_cg_root,
}
