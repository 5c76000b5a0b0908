"""Environment and working directory of a program."""

import pytest

from sandbox.conformance import BROKEN, Box, prog


def environment(box: Box, *options: str | bytes) -> list[bytes]:
    """Return the environment that a program finds."""
    return sorted(box.run(prog("environment"), *options).stdout.split(b"\0")[:-1])


def test_environment_is_empty_but_for_a_setting_of_libc(box: Box) -> None:
    """The setting makes libc say on standard error why it aborts a program."""
    assert [b"LIBC_FATAL_STDERR_=1"] == environment(box)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--env=A=1"], [b"A=1"]),
        (["-EA=1", "-E", "B=2"], [b"A=1", b"B=2"]),
        (["--env=A=1", "--env=A=2"], [b"A=2"]),
        (["--env=A=x=y"], [b"A=x=y"]),
        (["--env=A= a\nb "], [b"A= a\nb "]),
        ([b"--env=A=\xff"], [b"A=\xff"]),
        (["--env=A=1", "--env=A="], []),
        (["--env=OUTER"], [b"OUTER=from outside"]),
        (["--env=NOWHERE"], []),
        (["--env=OUTER", "--env=OUTER=from inside"], [b"OUTER=from inside"]),
    ],
    ids=["set", "two", "again", "equals", "spaces", "bytes", "removed", "inherited", "unset", "replaced"],
)
def test_environment_rules(
    box: Box, monkeypatch: pytest.MonkeyPatch, options: list[str | bytes], expected: list[bytes]
) -> None:
    """Rules are applied in order: a variable is set, inherited, or removed by an empty value."""
    monkeypatch.setenv("OUTER", "from outside")
    monkeypatch.delenv("NOWHERE", raising=False)

    assert sorted([*expected, b"LIBC_FATAL_STDERR_=1"]) == environment(box, *options)


def test_full_environment_comes_before_the_rules(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--full-env` inherits everything, and other rules change it wherever it stands."""
    monkeypatch.setenv("OUTER", "from outside")
    monkeypatch.setenv("ANOTHER", "one")
    variables = environment(box, "--env=OUTER=from inside", "--full-env")

    assert {b"OUTER=from inside", b"ANOTHER=one", b"LIBC_FATAL_STDERR_=1"} <= set(variables)


def test_program_starts_in_the_box(box: Box) -> None:
    """The working directory is /box unless told otherwise."""
    assert ["/box"] == box.run(["/bin/pwd"]).lines


def test_working_directory_can_be_chosen(box: Box) -> None:
    """`--chdir` takes a path as the program sees it."""
    (box.files / "sub").mkdir(mode=0o755)

    assert ["/box/sub"] == box.run(["/bin/pwd"], "--chdir=/box/sub").lines


def test_streams_are_found_from_the_box(box: Box) -> None:
    """
    A relative name of `--stdin`, `--stdout` or `--stderr` starts at /box, whatever the working directory.
    """
    (box.files / "in.txt").write_text("input")
    box.run(["/bin/cat"], "--chdir=/tmp", "--stdin=in.txt", "--stdout=out.txt")

    assert "input" == (box.files / "out.txt").read_text()


@pytest.mark.parametrize("directory", ["/box/missing", "/etc", "/box/prog"])
def test_working_directory_that_cannot_be_entered_is_a_fault_of_the_sandbox(box: Box, directory: str) -> None:
    """Exit code 2 and `XX`: the program was not started."""
    assert BROKEN == box.run(prog("hello"), f"--chdir={directory}").outcome
