"""Command line: forms of options, and usage errors that are found before anything is started."""

import os
from pathlib import Path

import pytest

from sandbox.conformance import ENDED_WELL, TIMED_OUT, Box, Executable, embedded_only, failed, prog
from sandbox.conftest import missing_groups


def test_version_is_printed(executable: Executable) -> None:
    """`--version` prints the name of the sandbox, and exits with 0."""
    asked = executable.call("--version")

    assert (0, b"") == (asked.returncode, asked.stderr)
    assert asked.stdout.strip()


def test_configuration_is_checked(executable: Executable) -> None:
    """`--check-config` ends with 0 where boxes could be made."""
    assert 0 == executable.call("--check-config").returncode


def test_root_of_control_groups_is_printed_where_there_is_one(executable: Executable) -> None:
    """
    `--print-cg-root` prints directories that exist, one for each hierarchy, or says why not and ends with 2.
    """
    asked = executable.call("--print-cg-root")

    assert (asked.returncode == 0) == (missing_groups(executable) == "")
    if asked.returncode == 0:
        assert all(Path(os.fsdecode(line)).is_dir() for line in asked.stdout.splitlines())
        assert asked.stdout
    else:
        assert (2, b"", True) == (asked.returncode, asked.stdout, asked.stderr != b"")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nonsense", "--init"],
        ["--init", "--run", "--", "/bin/true"],
        ["--init", "--cleanup"],
        ["--run"],
        ["--run", "--"],
        ["--time", "--run", "--", "/bin/true"],
    ],
    ids=["nothing", "unknown", "two-modes", "two-others", "no-program", "no-program-2", "no-value"],
)
def test_wrong_usage_is_refused(box: Box, arguments: list[str]) -> None:
    """Exit code 2 with a word of why, and nothing is done."""
    refused = box.call(*arguments)

    assert 2 == refused.returncode
    assert refused.stderr


@pytest.mark.parametrize("number", ["-1", "99999999", "x", "0x10", "1.5", "", "99999999999999999999"])
def test_box_id_that_is_none_is_refused(executable: Executable, number: str) -> None:
    """Exit code 2: another box must never be taken by mistake."""
    assert 2 == executable.call(f"--box-id={number}", "--init").returncode


@pytest.mark.parametrize(
    "options",
    [["--time=.05"], ["--time", ".05"], ["-t.05"], ["-t", ".05"], ["--time=20", "--time=.05"], ["-st.05"]],
    ids=" ".join,
)
def test_option_can_be_written_in_several_ways(box: Box, options: list[str]) -> None:
    """Long and short, joined and apart; the last one counts."""
    assert TIMED_OUT == box.run(prog("burn", 20), *options, "--wall-time=10").outcome


def test_words_after_the_program_are_its_own(box: Box) -> None:
    """Nothing after `--` is an option of the sandbox."""
    assert failed(3) == box.run(["/bin/sh", "-c", "exit $#", "sh", "--time=0", "--cg", "-b1"]).outcome


def test_meta_file_that_cannot_be_written_is_refused(box: Box) -> None:
    """A run that could not be reported is not begun."""
    refused = box.call("--meta=/no/such/directory/meta", "--run", "--", *prog("write", "/box/started", 1))

    assert (2, False) == (refused.returncode, (box.files / "started").exists())


def test_memory_of_a_group_without_a_group_is_refused(box: Box) -> None:
    """A limit that cannot hold is not accepted."""
    assert 2 == box.call("--cg-mem=1000", "--run", "--", "/bin/true").returncode


def test_verbose_says_more(box: Box) -> None:
    """`-v` reports what goes on, and changes nothing else."""
    quiet = box.call("--run", "--", "/bin/true")
    verbose = box.call("-v", "--run", "--", "/bin/true")

    assert (0, 0) == (quiet.returncode, verbose.returncode)
    assert len(verbose.stderr) > len(quiet.stderr)


SECONDS = ["--time", "--wall-time", "--extra-time"]
NO_SECONDS = ["", "abc", "nan", "inf", "-1", "1e400", "0.0004", "1s", " 1", "0x1p3"]
COUNTS = ["--mem", "--stack", "--fsize", "--open-files", "--processes", "--core"]
NO_COUNTS = ["abc", "-1", "1.5", "1e3", "99999999999999999999999", "", " 1"]


@embedded_only
@pytest.mark.parametrize(
    ("option", "number"),
    [*zip(SECONDS, NO_SECONDS, strict=False), *((SECONDS[0], one) for one in NO_SECONDS)],
)
def test_number_of_seconds_that_is_none_is_refused(executable: Executable, option: str, number: str) -> None:
    """Nothing is taken for zero, which would be no limit. (isolate reads some of these as 0.)"""
    assert 2 == executable.call(f"{option}={number}", "--version").returncode


@embedded_only
@pytest.mark.parametrize(
    ("option", "number"), [*zip(COUNTS, NO_COUNTS, strict=False), *((COUNTS[0], one) for one in NO_COUNTS)]
)
def test_whole_number_that_is_none_is_refused(executable: Executable, option: str, number: str) -> None:
    """Sizes and counts are whole, and small enough for the kernel."""
    assert 2 == executable.call(f"{option}={number}", "--version").returncode


def test_large_numbers_are_accepted(box: Box) -> None:
    """Limits far above what any program uses are limits like others."""
    options = [
        "--time=3600.5",
        "--wall-time=86400",
        "--extra-time=7200",
        "--mem=1000000000",
        "--fsize=1000000000",
    ]

    assert ENDED_WELL == box.run(prog("hello"), *options, "--stack=1000000", "--processes=1000").outcome


@embedded_only
def test_two_ways_for_standard_error_are_refused(box: Box) -> None:
    """`--stderr` and `--stderr-to-stdout` exclude each other. (isolate accepts both.)"""
    assert 2 == box.run(["/bin/true"], "--stderr=err", "--stderr-to-stdout").outcome.exit_code
