# ruff: noqa: S108 - /tmp and /dev/shm are those of a box
"""Isolation: a program sees nothing of the host but what the rules give it."""

from pathlib import Path

import pytest

from sandbox.conformance import ENDED_WELL, Box, Executable, answers, embedded_only, failed, fresh_box, prog

REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOENT"}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that everybody may read and write."""
    file = tmp_path / "canary"
    file.write_text("secret")
    file.chmod(0o666)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    return file


def test_root_holds_only_what_programs_need(box: Box) -> None:
    """No /etc, /home, /root, /run, /sys, /var."""
    assert {"bin", "box", "dev", "lib", "proc", "tmp", "usr"} == set(box.run(["/bin/ls", "/"]).lines) - {
        "lib64"
    }


@pytest.mark.parametrize(
    "way", ["", "/box/../../../..", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/../.."]
)
def test_file_of_the_host_is_not_found(box: Box, canary: Path, way: str) -> None:
    """There is no way up out of the box's root, and none through the processes that watch."""
    ran = box.run(["/bin/cat", f"{way}{canary}"])

    assert (1, b"") == (ran.outcome.program_exit_code, ran.stdout)


def test_directories_of_the_system_cannot_be_written(box: Box) -> None:
    """Only the box's own directories can: everything else is mounted read-only or belongs to another user."""
    directories = ["/", "/usr", "/bin", "/lib", "/dev", "/proc", "/proc/sys/kernel"]
    answered = answers(box, [f"{one}/verdictd-test-canary" for one in directories], to="try-create")

    assert {} == {file: answer for file, answer in answered.items() if answer not in REFUSALS}


def test_files_of_the_system_cannot_be_written(box: Box) -> None:
    """Not even where the file itself can be seen."""
    files = ["/usr/bin/env", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"]
    answered = answers(box, files, to="try-write")

    assert {} == {file: answer for file, answer in answered.items() if answer not in REFUSALS}


def test_directories_of_the_box_can_be_written(box: Box) -> None:
    """The working directory, and two for temporary files."""
    files = ["/box/file", "/tmp/file", "/dev/shm/file"]

    assert dict.fromkeys(files, "ok") == answers(box, files, to="try-create")


def test_usual_devices_work(box: Box) -> None:
    """Programs of all languages rely on these."""
    script = "cd /dev; cat null; head -qc1 zero full random urandom | wc -c; echo gone >null"
    ran = box.run(["/bin/sh", "-c", script], "--processes=5", "--env=PATH=/usr/bin:/bin")

    assert (["4"], b"") == (ran.lines, ran.stderr)


def test_no_disk_can_be_opened(box: Box) -> None:
    """Block devices are absent or closed."""
    ran = box.run(prog("disks"))

    assert (ENDED_WELL, []) == (ran.outcome, ran.lines)


def test_box_of_another_is_out_of_reach(executable: Executable, program: Path, box: Box) -> None:
    """Another box is reached neither by its path nor by its user."""
    with fresh_box(executable, program=program) as other:
        mine = box.run(prog("ids")).stdout.split()
        others = other.run(prog("ids")).stdout.split()
        ran = box.run(["/bin/ls", str(other.files)])

    assert (failed(2), b"") == (ran.outcome, ran.stdout)
    assert mine[0] != others[0]


@embedded_only
def test_name_of_the_host_is_not_told(box: Box) -> None:
    """Every box has the same name. (isolate tells the host's.)"""
    assert ["box"] == box.run(["/bin/uname", "-n"]).lines


def test_environment_of_the_caller_is_not_seen(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the program's own environment nor in that of a process that it can look at."""
    monkeypatch.setenv("VERDICTD_TEST_SECRET", "secret")
    ran = box.run(["/bin/sh", "-c", "cat /proc/*/environ; cat /proc/self/environ; set"], "--processes=2")

    assert b"secret" not in ran.stdout


def test_mount_table_does_not_show_where_the_host_keeps_its_files(box: Box) -> None:
    """Of all mounts only those of the box are seen."""
    points = [line.split()[1] for line in box.run(["/bin/cat", "/proc/self/mounts"]).lines]

    assert {"box", "bin", "dev", "lib", "lib64", "proc", "tmp", "usr", ""} >= {
        point.split("/")[1] for point in points
    }
