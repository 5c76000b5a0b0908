"""Limits of files: their size, and the number of open files."""

import signal
from pathlib import Path

import pytest

from sandbox.conformance import ENDED_WELL, Box, failed, prog, signalled
from sandbox.host import names

KIB = 1024


def test_file_beyond_its_limit_is_sg(box: Box) -> None:
    """The signal says so, and the file holds what fitted."""
    ran = box.run(prog("write", "big", 1000), "--fsize=100")

    assert (signalled(signal.SIGXFSZ), 100 * KIB) == (ran.outcome, (box.files / "big").stat().st_size)


def test_file_beyond_its_limit_is_an_error_where_the_signal_is_ignored(box: Box) -> None:
    """The limit also holds for a program that ignores the signal."""
    ran = box.run(prog("write-ignoring", "big", 1000), "--fsize=100")

    assert (failed(1), b"write: File too large\n") == (ran.outcome, ran.stderr)
    assert 100 * KIB == (box.files / "big").stat().st_size


def test_redirected_output_is_limited_as_a_file(box: Box) -> None:
    """`--fsize` holds for the file that `--stdout` names."""
    ran = box.run(prog("print", 1000), "--fsize=100", "--stdout=out.txt")

    assert (signalled(signal.SIGXFSZ), 100 * KIB) == (ran.outcome, (box.files / "out.txt").stat().st_size)


def test_inherited_output_is_limited_as_a_file(box: Box, tmp_path: Path) -> None:
    """`--fsize` holds for a file that the caller opened as standard output."""
    with (tmp_path / "out").open("wb") as file:
        ran = box.run(prog("print", 1000), "--fsize=100", stdout=file)

    assert (signalled(signal.SIGXFSZ), 100 * KIB) == (ran.outcome, (tmp_path / "out").stat().st_size)


def test_pipe_is_no_file(box: Box) -> None:
    """`--fsize` does not limit what goes through a pipe."""
    ran = box.run(prog("print", 1000), "--fsize=100")

    assert (ENDED_WELL, 1000 * KIB) == (ran.outcome, len(ran.stdout))


def test_meta_file_is_whole_although_files_are_limited(box: Box) -> None:
    """Limits of the program are not limits of the sandbox."""
    ran = box.run(prog("exit", 3), "--fsize=1", "--open-files=4")

    assert (failed(3), "Exited with error status 3") == (ran.outcome, ran.meta["message"])


@pytest.mark.parametrize(("options", "most"), [(["--open-files=20"], 20), ([], 64)], ids=["20", "default"])
def test_open_files_are_limited(box: Box, options: list[str], most: int) -> None:
    """Standard streams included; 64 unless told otherwise."""
    ran = box.run(prog("open-many", 1000), *options)

    assert (failed(1), f"{most - 3}\n".encode()) == (ran.outcome, ran.stdout)
    assert b"open: Too many open files\n" == ran.stderr


def test_zero_is_no_limit_of_open_files(box: Box) -> None:
    """`--open-files=0` grants more than the default."""
    assert ENDED_WELL == box.run(prog("open-many", 500), "--open-files=0").outcome


LIMITS = {
    "as": ("--mem=30000", 30000 * KIB),
    "core": ("--core=9", 9 * KIB),
    "fsize": ("--fsize=5", 5 * KIB),
    "nofile": ("--open-files=33", 33),
    "stack": ("--stack=1024", 1024 * KIB),
}


def test_limits_cannot_be_raised_again(box: Box) -> None:
    """Hard and soft limit are the same."""
    ran = box.run(prog("rlimits"), *(option for option, _ in LIMITS.values()))

    assert [f"{name} {value} {value}" for name, (_, value) in LIMITS.items()] == ran.lines


def test_limits_that_hold_by_default(box: Box) -> None:
    """64 open files and no core file; sizes are unlimited."""
    defaults = ["as -1 -1", "core 0 0", "fsize -1 -1", "nofile 64 64", "stack -1 -1"]

    assert defaults == box.run(prog("rlimits")).lines


def test_crash_leaves_no_core_file(box: Box) -> None:
    """The box holds what the program wrote, nothing else."""
    box.run(prog("abort"))

    assert ["prog"] == names(box.files)
