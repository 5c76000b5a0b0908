# ruff: noqa: S108 - /tmp and /dev/shm are those of a box
"""The life of a box: made, filled, used by one at a time, reset."""

import os
import time
import uuid
from pathlib import Path

import pytest

from sandbox.conformance import DEADLINE_S, ENDED_WELL, Box, Executable, answers, failed, fresh_box, prog
from sandbox.host import box_number, names, wait_until
from support.processes import alive


def test_init_prints_where_the_box_is(executable: Executable) -> None:
    """The caller fills the directory `box` below it, and it is gone after the cleanup."""
    with fresh_box(executable) as box:
        assert ([], True) == (names(box.files), box.root.is_absolute())

    assert not box.root.exists()


def test_cleanup_of_nothing_is_no_fault(executable: Executable) -> None:
    """A box that does not exist is clean already."""
    with box_number() as number:
        assert [0, 0] == [executable.call(f"--box-id={number}", "--cleanup").returncode for _ in range(2)]


def test_box_that_was_not_made_is_refused(executable: Executable, tmp_path: Path) -> None:
    """Exit code 2 and `XX` for a run without `--init`."""
    meta = tmp_path / "meta"
    with box_number() as number:
        refused = executable.call(f"--box-id={number}", f"--meta={meta}", "--run", "--", "/bin/true")

    assert (2, "status:XX") == (refused.returncode, meta.read_text().splitlines()[0])


def test_box_that_was_cleaned_is_refused(executable: Executable) -> None:
    """After `--cleanup` a box must be made again."""
    with fresh_box(executable) as box:
        box.call("--cleanup")

        assert 2 == box.call("--run", "--", "/bin/true").returncode


def test_files_last_from_run_to_run(box: Box) -> None:
    """A compiler and the program that it made can use the same box."""
    files = ["/box/file", "/tmp/file"]
    answers(box, files, to="try-create")

    assert dict.fromkeys(files, "ok") == answers(box, files, to="try-read")


def test_files_do_not_outlast_a_reset(box: Box, program: Path) -> None:
    """`--init` on a box that exists empties it."""
    files = ["/box/file", "/tmp/file", "/dev/shm/file"]
    answers(box, files, to="try-create")
    reset = box.call("--init")
    (box.files / "prog").write_bytes(program.read_bytes())
    (box.files / "prog").chmod(0o755)

    assert (0, f"{box.root}\n".encode()) == (reset.returncode, reset.stdout)
    assert dict.fromkeys(files, "ENOENT") == answers(box, files, to="try-read")


def test_memory_files_do_not_outlast_a_run(box: Box) -> None:
    """/dev/shm is new in each run."""
    box.run(prog("try-create", "/dev/shm/file"))

    assert ["ENOENT"] == box.run(prog("try-read", "/dev/shm/file")).lines


def test_boxes_do_not_share_files(executable: Executable, program: Path, box: Box) -> None:
    """Every box has its own /box, /tmp and /dev/shm."""
    with fresh_box(executable, program=program) as other:
        files = ["/box/file", "/tmp/file", "/dev/shm/file"]
        answers(box, files, to="try-create")

        assert dict.fromkeys(files, "ENOENT") == answers(other, files, to="try-read")


@pytest.mark.parametrize(
    "command", [["--run", "--", "/bin/true"], ["--init"], ["--cleanup"]], ids=lambda c: c[0][2:]
)
def test_busy_box_is_refused(box: Box, command: list[str]) -> None:
    """While a program runs in a box nothing else is done with it, and the program does not notice."""
    program = ["/bin/sh", "-c", "read line; exit 7", uuid.uuid4().hex]
    with box.started(program) as run:
        wait_until(lambda: alive(program))
        refused = box.call(*command)
        run.process.communicate(b"go on\n")

        assert (2, failed(7)) == (refused.returncode, run.result().outcome)


def test_busy_box_is_waited_for_with_wait(box: Box) -> None:
    """The second run starts when the first has ended."""
    first = ["/bin/sh", "-c", "read line; echo first >file", uuid.uuid4().hex]
    with box.started(first) as run:
        wait_until(lambda: alive(first))
        with box.started(["/bin/cat", "file"], "--wait") as second:
            time.sleep(1)
            waits = second.process.poll() is None
            run.process.communicate(b"go on\n")
            out, _ = second.process.communicate(timeout=DEADLINE_S)

        assert (True, ENDED_WELL, b"first\n") == (waits, run.result().outcome, out)


def test_special_files_are_removed_after_the_run(box: Box) -> None:
    """Links, pipes and sockets are gone before the caller can meet them; files and directories stay."""
    ran = box.run(prog("special-files"))

    assert ENDED_WELL == ran.outcome
    assert ["kept", "kept/file", "prog"] == sorted(
        str(found.relative_to(box.files)) for found in box.files.rglob("*")
    )


def test_special_files_are_removed_although_the_program_failed(box: Box) -> None:
    """The end of the program makes no difference."""
    ran = box.run(["/bin/sh", "-c", "ln -s /etc/passwd link; exit 3"], "--processes=2")

    assert (failed(3), ["prog"]) == (ran.outcome, names(box.files))


def test_files_belong_to_the_caller_after_the_run(box: Box) -> None:
    """The caller reads what the program wrote, and does not need the rights of its user."""
    box.run(prog("write", "file", 1))
    status = (box.files / "file").stat()

    assert (os.geteuid(), 1024) == (status.st_uid, status.st_size)


def test_files_of_the_caller_are_the_programs_in_the_run(box: Box) -> None:
    """The program reads and changes what was put into its box, whatever the mode says of others."""
    (box.files / "private").write_text("given")
    (box.files / "private").chmod(0o600)
    ran = box.run(["/bin/sh", "-c", "cat private && echo taken >private"], "--processes=2")

    assert (b"given", "taken\n") == (ran.stdout, (box.files / "private").read_text())
