"""Ends of programs: exit codes, signals, programs that cannot be executed."""

import os
import re
import signal

import pytest

from sandbox.conformance import ENDED_WELL, TIMED_OUT, Box, failed, prog, signalled


def test_program_that_exits_with_0_ended_well(box: Box) -> None:
    """Exit code 0 gives no status, and the sandbox exits with 0 itself."""
    ran = box.run(prog("hello"))

    assert (ENDED_WELL, b"hello\n", b"") == (ran.outcome, ran.stdout, ran.stderr)


@pytest.mark.parametrize("code", [1, 2, 127, 255])
def test_other_exit_code_is_re(box: Box, code: int) -> None:
    """Every other exit code is a run-time error, and the sandbox ends with 1 whatever the code was."""
    ran = box.run(prog("exit", code))

    assert (failed(code), f"Exited with error status {code}") == (ran.outcome, ran.meta["message"])


@pytest.mark.parametrize(
    ("behaviour", "number"), [("segv", signal.SIGSEGV), ("abort", signal.SIGABRT), ("divide", signal.SIGFPE)]
)
def test_crash_is_sg(box: Box, behaviour: str, number: int) -> None:
    """A fault of the program is the signal that the kernel ended it with."""
    ran = box.run(prog(behaviour))

    assert (signalled(number), f"Caught fatal signal {number}") == (ran.outcome, ran.meta["message"])


@pytest.mark.parametrize("name", ["HUP", "KILL", "PIPE", "TERM", "XFSZ", "SYS"])
def test_own_signal_is_sg(box: Box, name: str) -> None:
    """Every signal has its usual effect: none is ignored or blocked when the program starts."""
    number = signal.Signals[f"SIG{name}"]

    assert signalled(number) == box.run(prog("raise", int(number))).outcome


def test_program_that_stops_itself_is_ended_at_the_wall_limit(box: Box) -> None:
    """A stopped program uses no processor time and never ends: only the wall clock ends it."""
    ran = box.run(prog("raise", int(signal.SIGSTOP)), "--wall-time=0.3")

    assert (TIMED_OUT, "Time limit exceeded (wall clock)") == (ran.outcome, ran.meta["message"])


def test_meta_file_of_a_good_end_has_every_measure(box: Box) -> None:
    """Times are seconds with fractions, the rest are whole numbers."""
    ran = box.run(prog("hello"))
    shapes = {key: re.sub(r"\d+", "N", value) for key, value in ran.meta.items()}

    assert {
        "time": "N.N",
        "time-wall": "N.N",
        "max-rss": "N",
        "csw-voluntary": "N",
        "csw-forced": "N",
        "exitcode": "N",
    } == shapes


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, rb"OK \(\d+\.\d+ sec real, \d+\.\d+ sec wall\)\n"), (3, rb"Exited with error status 3\n")],
)
def test_status_is_said_on_standard_error(box: Box, code: int, said: bytes) -> None:
    """One line describes the end, unless `--silent` is given (as `Box.run` does)."""
    ran = box.call("--run", "--", *prog("exit", code))

    assert re.fullmatch(said, ran.stderr)


def test_arguments_arrive_byte_for_byte(box: Box) -> None:
    """Words are not split, expanded, decoded or taken for options of the sandbox."""
    words: list[str | bytes] = [
        "",
        " a  b ",
        "$HOME",
        "*",
        "a'b\"c",
        "a\nb",
        "\\",
        "--run",
        "--",
        "-b1",
        b"\xff\xfe",
        "x" * 100_000,
    ]
    expected = b"".join(os.fsencode(word) + b"\0" for word in words)

    assert expected == box.run(prog("arguments", *words)).stdout


def test_program_is_found_from_the_working_directory(box: Box) -> None:
    """A name without a slash is a file of the working directory."""
    assert b"hello\n" == box.run(["prog", "hello"]).stdout


ELF_OF_ANOTHER_MACHINE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x7f\x01\x00\x00\x00" + bytes(40)


@pytest.mark.parametrize("name", ["/box/missing", "missing", "ls", "", "/box/missing/file"])
def test_program_that_is_missing_is_127(box: Box, name: str) -> None:
    """
    The end is that of a program that exits with 127; only the text on its standard error tells them apart.
    """
    ran = box.run([name], "--env=PATH=/bin:/usr/bin")

    assert failed(127) == ran.outcome
    assert f'execve("{name}"): No such file or directory\n' == ran.stderr.decode()


@pytest.mark.parametrize(
    ("name", "reason"), [("/box", "Permission denied"), ("/box/prog/file", "Not a directory")]
)
def test_path_that_is_no_file_is_127(box: Box, name: str, reason: str) -> None:
    """The text has the kernel's reason."""
    ran = box.run([name])

    assert (failed(127), f'execve("{name}"): {reason}\n') == (ran.outcome, ran.stderr.decode())


UNUSABLE: dict[str, tuple[bytes, int, str]] = {
    "not-executable": (b"#!/bin/sh\n", 0o644, "Permission denied"),
    "no-interpreter": (b"echo hello\n", 0o755, "Exec format error"),
    "bad-interpreter": (b"#!/no/such/interpreter\n", 0o755, "No such file or directory"),
    "empty": (b"", 0o755, "Exec format error"),
    "cut-elf": (b"\x7fELF", 0o755, "Exec format error"),
    "other-machine": (ELF_OF_ANOTHER_MACHINE, 0o755, "Exec format error"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_file_that_cannot_be_executed_is_127(box: Box, kind: str) -> None:
    """The text has the kernel's reason."""
    content, mode, reason = UNUSABLE[kind]
    (box.files / "unusable").write_bytes(content)
    (box.files / "unusable").chmod(mode)
    ran = box.run(["/box/unusable"])

    assert (failed(127), f'execve("/box/unusable"): {reason}\n') == (ran.outcome, ran.stderr.decode())


def test_script_runs_under_its_interpreter(box: Box) -> None:
    """A script with an interpreter line is a program like any other."""
    (box.files / "script").write_text('#!/bin/sh\necho "$1"\nexit 7\n')
    (box.files / "script").chmod(0o755)
    ran = box.run(["/box/script", "hello"])

    assert (failed(7), b"hello\n") == (ran.outcome, ran.stdout)


def test_program_that_could_not_be_executed_says_so_in_its_own_error_file(box: Box) -> None:
    """The text goes where the program's standard error goes, not to that of the sandbox."""
    ran = box.run(["/box/missing"], "--stderr=errors")

    assert (b"", 'execve("/box/missing"): No such file or directory\n') == (
        ran.stderr,
        (box.files / "errors").read_text(),
    )
