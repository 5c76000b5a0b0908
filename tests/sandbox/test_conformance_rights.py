"""Rights of a program: it has none, and cannot gain any."""

import os
import platform
import signal
import stat
from pathlib import Path

import pytest

from sandbox.conformance import ENDED_WELL, Box, Executable, answers, embedded_only, prog, signalled

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant what this test plants")

HIDDEN_SIGNALS = 1 << 31 | 1 << 32  # 32 and 33, as a mask
REFUSALS = {"EPERM", "EACCES", "ENOSYS"}


def test_user_is_nobody(box: Box) -> None:
    """Real, effective and saved ids are the same, none is root's, and there are no more groups."""
    uid, euid, suid, gid, egid, sgid, groups = map(int, box.run(prog("ids")).stdout.split())

    assert uid == euid == suid != 0
    assert gid == egid == sgid != 0
    assert 0 == groups


def status_of_the_program(box: Box) -> dict[str, str]:
    """Return the fields of /proc/self/status of a program in the box."""
    return dict(line.split(":\t", 1) for line in box.run(["/bin/cat", "/proc/self/status"]).lines)


def test_program_has_no_capability(box: Box) -> None:
    """All sets of capabilities that give rights are empty."""
    status = status_of_the_program(box)

    assert [0, 0, 0, 0] == [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]


@embedded_only
def test_program_can_get_no_capability(box: Box) -> None:
    """The bounding set is empty as well. (isolate leaves it, and relies on no_new_privs.)"""
    assert 0 == int(status_of_the_program(box)["CapBnd"], 16)


def test_program_can_get_no_new_privileges(box: Box) -> None:
    """The kernel grants no privileges to any program that is executed from here on."""
    assert "1" == status_of_the_program(box)["NoNewPrivs"]


def test_signals_are_as_usual(box: Box) -> None:
    """
    No signal is ignored, blocked or pending: the sandbox's own signal settings are not inherited.

    With isolate a program inherits what the caller ignores; make ignores two that the C library reserves.
    """
    status = status_of_the_program(box)

    assert [0, 0, 0] == [int(status[name], 16) & ~HIDDEN_SIGNALS for name in ("SigIgn", "SigBlk", "SigPnd")]


@embedded_only
def test_signals_that_the_caller_ignores_or_blocks_are_as_usual(box: Box) -> None:
    """The caller's signal settings are not inherited either. (With isolate they are.)"""
    caller = Executable(
        "", ("/usr/bin/env", "--ignore-signal=PIPE", "--block-signal=TERM", *box.executable.argv)
    )
    ran = caller.call(f"--box-id={box.number}", "--run", "--", "/bin/grep", "^Sig[BI]", "/proc/self/status")

    assert ["SigBlk:\t" + "0" * 16, "SigIgn:\t" + "0" * 16] == ran.stdout.decode().splitlines()


def test_files_are_made_for_everybody_to_read(box: Box) -> None:
    """The umask is 022 whatever that of the caller."""
    before = os.umask(0o077)
    try:
        ran = box.run(["/bin/sh", "-c", "umask"])
    finally:
        os.umask(before)

    assert ["0022"] == ran.lines


@needs_root
def test_set_uid_program_gains_nothing(box: Box, program: Path, tmp_path: Path) -> None:
    """The bit has no effect in a directory that is bound into the box."""
    tools = tmp_path / "tools"
    tools.mkdir(0o755)
    (tools / "prog").write_bytes(program.read_bytes())
    (tools / "prog").chmod(0o6755)
    plain = box.run(prog("ids"))
    raised = box.run(["/tools/prog", "ids"], f"--dir=tools={tools}")

    assert (ENDED_WELL, plain.stdout) == (raised.outcome, raised.stdout)


@needs_root
def test_set_uid_program_of_root_in_the_box_gains_nothing(box: Box) -> None:
    """The set-uid bit of root has no effect in the box itself either."""
    plain = box.run(prog("ids"))
    (box.files / "prog").chmod(0o6755)

    assert plain.stdout == box.run(prog("ids")).stdout


def test_set_uid_file_that_is_left_behind_is_no_danger(box: Box) -> None:
    """A program must not leave a set-uid file to the later owner of the box's files."""
    box.run(prog("make", "6755", "left"))
    left = (box.files / "left").stat()

    assert left.st_uid not in (0, os.geteuid()) or not left.st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_program_cannot_become_root(box: Box) -> None:
    """It lacks the right; in a box with users of its own, root is not even one of them."""
    assert box.run(prog("setuid")).lines[0] in {"EPERM", "EINVAL"}


@pytest.mark.parametrize(
    "flag", [0x20000, 0x10000000, 0x20000000, 0x40000000], ids=["mount", "user", "pid", "net"]
)
def test_new_namespace_is_refused(box: Box, flag: int) -> None:
    """
    A namespace of its own would give the program rights in it, and with them more of the kernel to attack.
    """
    assert ["EPERM"] == box.run(prog("unshare", flag)).lines


MOUNTS = ["mount", "remount", "umount", "chroot", "pivot_root", "mknod", "swapon", "open_by_handle_at"]
MACHINE = ["sethostname", "settime", "reboot", "init_module", "bpf"]
OTHERS = ["ptrace", "setns", "nice"]


def test_attempts_are_refused(box: Box) -> None:
    """Changes to the host, or to the set-up of the sandbox, need rights that the program does not have."""
    answered = answers(box, [*MOUNTS, *MACHINE, *OTHERS])

    assert {} == {attempt: answer for attempt, answer in answered.items() if answer not in REFUSALS}


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="only this machine has system calls of a second kind"
)
def test_system_call_of_the_32_bit_kind_is_sg(box: Box) -> None:
    """It would bypass the filter, so the program is killed."""
    assert signalled(signal.SIGSYS) == box.run(prog("legacy")).outcome
