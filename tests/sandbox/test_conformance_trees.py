"""Files that programs leave: of any name, mode, number and depth, they are removed, and forge nothing."""

import re
import stat
from pathlib import Path

import pytest

from sandbox.conformance import BROKEN, ENDED_WELL, MANY_OPEN_FILES, Box, embedded_only, prog
from sandbox.host import names, open_files

FEW_OPEN_FILES = 1_024
"""The usual soft limit of a process: trees that are deeper cannot be held open at once."""

WELL_OR_BROKEN = {(0, None), (2, "XX")}

NAMES = {
    "not-utf-8": b"\xff\xfe\x80",
    "longest": b"x" * 255,
    "newline": b"a\nstatus:XX\ntime:0",
    "dash": b"-rf",
    "spaces": b" .. ",
    "escape": b"\x1b[2J",
}


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_cleaned(box: Box, name: str) -> None:
    """Names are bytes: files of any name are gone after a reset."""
    ran = box.run(
        ["/bin/sh", "-c", 'mkdir "./$1" && ln -s / "./$1/$1" && : >"./$1/x"', "sh", NAMES[name]], "-p9"
    )
    reset = box.call("--init")

    assert (ENDED_WELL, 0, []) == (ran.outcome, reset.returncode, names(box.files))


def test_directories_that_nobody_may_enter_are_cleaned(box: Box) -> None:
    """Modes do not protect what a program left."""
    ran = box.run(prog("lock-away"))
    reset = box.call("--init")

    assert (ENDED_WELL, 0, []) == (ran.outcome, reset.returncode, names(box.files))


def test_1_500_files_are_cleaned(box: Box) -> None:
    """Many files cost time, not the box."""
    ran = box.run(prog("litter", 1_500))
    count = len(names(box.files))
    reset = box.call("--init")

    assert (ENDED_WELL, 1_501, 0, []) == (ran.outcome, count, reset.returncode, names(box.files))


def test_1_100_nested_directories_are_cleaned(box: Box) -> None:
    """
    A deep tree may be a fault of the sandbox (isolate opens all of it at once), never the loss of the box.
    """
    with open_files(FEW_OPEN_FILES):
        ran = box.run(prog("nest", 1_100, "d"))
    with open_files(MANY_OPEN_FILES):
        cleanup = box.call("--cleanup")
    removed = not box.root.exists()
    box.call("--init")

    assert (ran.outcome.exit_code, ran.outcome.status) in WELL_OR_BROKEN
    assert (0, True) == (cleanup.returncode, removed)
    assert ENDED_WELL == box.run(["/bin/true"]).outcome


@embedded_only
def test_nested_directories_are_nothing_special(box: Box) -> None:
    """Neither the number of open files nor the longest path bounds how deep a program may build."""
    with open_files(FEW_OPEN_FILES):
        ran = box.run(prog("nest", 1_100, "x" * 200))
        reset = box.call("--init")

    assert (ENDED_WELL, 0, []) == (ran.outcome, reset.returncode, names(box.files))


def test_files_of_the_host_are_not_touched_by_a_reset(box: Box, tmp_path: Path) -> None:
    """A link is removed, not followed, although `--init` works with the rights of root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("secret")
    (outside / "canary").chmod(0o600)
    (box.files / "link").symlink_to(outside)
    (box.files / "file").symlink_to(outside / "canary")
    box.run(prog("hello"))
    (box.root / "tmp" / "link").symlink_to(outside)
    reset = box.call("--init")

    assert (0, "secret") == (reset.returncode, (outside / "canary").read_text())
    assert 0o600 == stat.S_IMODE((outside / "canary").stat().st_mode)


def test_owner_of_a_file_of_the_host_is_not_changed(box: Box, tmp_path: Path) -> None:
    """Files of the box change their owner with each run; the targets of links do not."""
    canary = tmp_path / "canary"
    canary.touch()
    before = canary.stat()
    (box.files / "link").symlink_to(canary)
    box.run(prog("hello"))

    assert (before.st_uid, before.st_gid, before.st_mode) == canary.stat()[4:6] + canary.stat()[:1]


@pytest.mark.parametrize("directories", [1, 1_100])
def test_file_names_cannot_forge_the_meta_file(box: Box, directories: int) -> None:
    """
    The first line of each key is true, whatever names a program gives to files that make the sandbox fail.
    """
    with open_files(FEW_OPEN_FILES):
        ran = box.run(
            ["/bin/sh", "-c", f'exec /box/prog nest {directories} "$(printf "d\\nexitcode:0\\nstatus:OK")"'],
            "-p9",
        )

    assert (ran.outcome.exit_code, ran.outcome.status) in WELL_OR_BROKEN


KEYS = "time(-wall)?|max-rss|csw-(voluntary|forced)|cg-(mem|oom-killed)|exit(code|sig)|killed|status|message"


@embedded_only
def test_meta_file_has_one_line_for_each_key(box: Box) -> None:
    """A newline in a message is replaced."""
    ran = box.run(prog("hello"), "--stdin=missing\nexitcode:0\nstatus:OK")

    assert BROKEN == ran.outcome
    assert len(ran.meta) == len(ran.meta_lines)
    assert all(re.fullmatch(f"({KEYS}):.*", line) for line in ran.meta_lines)
