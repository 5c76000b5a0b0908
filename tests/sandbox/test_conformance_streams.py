"""Standard streams: their sources and targets; no other descriptor reaches a program."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sandbox.conformance import BROKEN, DEADLINE_S, ENDED_WELL, Box, prog
from sandbox.host import box_number
from support.ordinary import ordinary_user

KIB = 1024
OWNER = """
cat /dev/stdin
chmod 666 /proc/self/fd/0 2> /dev/null || echo refused
echo changed 2> /dev/null > /proc/self/fd/0 || echo refused
readlink /proc/self/fd/0
"""


def test_standard_input_is_inherited(box: Box) -> None:
    """The program reads what the caller of the sandbox gives, byte for byte."""
    given = os.urandom(300 * KIB)

    assert given == box.run(["/bin/cat"], stdin=given).stdout


def test_standard_input_can_be_a_file_that_has_no_name(box: Box, tmp_path: Path) -> None:
    """The descriptor is enough: nothing is opened again by name."""
    with (tmp_path / "input").open("w+b") as file:
        file.write(b"unlinked")
        file.seek(0)
        (tmp_path / "input").unlink()
        ran = subprocess.run(
            [*box.executable.argv, f"--box-id={box.number}", "--run", "--", "/bin/cat"],
            stdin=file,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )

    assert b"unlinked" == ran.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_standard_input_cannot_be_changed_by_its_owner(tmp_path: Path) -> None:
    """In the embedded sandbox of an ordinary user, that may be the program; nor does it learn the path."""
    (tmp_path / "stage").mkdir()
    user = ordinary_user(tmp_path / "stage", open_files=4_096)
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file, box_number() as number:
        file.write(b"input\n")
        file.flush()
        os.fchown(file.fileno(), 65_534, 65_534)
        box = f'"{sys.executable}" -m verdictd.sandbox.embedded --box-id={number}'
        script = (
            f'{box} --init && {box} --processes=9 --run -- /bin/sh -c "$0" < {file.name}; {box} --cleanup'
        )
        ran = subprocess.run(
            [*user, "sh", "-c", script, OWNER],
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )

        assert b"input\nrefused\nrefused\n/\n" == ran.stdout.partition(b"\n")[2], ran.stderr
        assert b"input\n" == Path(file.name).read_bytes()


def test_standard_output_carries_much(box: Box) -> None:
    """Nothing is lost or added on the way out."""
    assert b"x" * (4096 * KIB) == box.run(prog("print", 4096)).stdout


def test_standard_error_carries_much(box: Box) -> None:
    """The sandbox writes nothing between the lines of the program."""
    assert b"x" * (300 * KIB) == box.run(["/bin/sh", "-c", "exec /box/prog print 300 >&2"]).stderr


def test_input_from_a_file_of_the_box(box: Box) -> None:
    """`--stdin` names a file as the program sees it."""
    (box.files / "in.txt").write_bytes(b"input\n")

    assert b"input\n" == box.run(["/bin/cat"], "--stdin=in.txt").stdout


def test_output_to_files_of_the_box(box: Box) -> None:
    """`--stdout` and `--stderr` name files as the program sees them; what they held before is gone."""
    (box.files / "out.txt").write_text("something longer than the new output")
    ran = box.run(["/bin/sh", "-c", "echo out; echo err >&2"], "--stdout=out.txt", "--stderr=/box/err.txt")

    assert (b"", b"") == (ran.stdout, ran.stderr)
    assert ("out\n", "err\n") == ((box.files / "out.txt").read_text(), (box.files / "err.txt").read_text())


@pytest.mark.parametrize(
    ("options", "where"), [([], "stdout"), (["--stdout=out.txt"], "file")], ids=["inherited", "redirected"]
)
def test_standard_error_can_join_standard_output(box: Box, options: list[str], where: str) -> None:
    """`--stderr-to-stdout` follows standard output wherever it goes, in the order written."""
    ran = box.run(["/bin/sh", "-c", "echo out; echo err >&2; echo out"], "--stderr-to-stdout", *options)
    text = ran.stdout if where == "stdout" else (box.files / "out.txt").read_bytes()

    assert (b"out\nerr\nout\n", b"") == (text, ran.stderr)


@pytest.mark.parametrize(
    "option",
    ["--stdin=missing", "--stdin=/etc/passwd", "--stdout=/usr/x", "--stdout=/box", "--stderr=/missing/x"],
)
def test_stream_that_cannot_be_opened_is_a_fault_of_the_sandbox(box: Box, option: str) -> None:
    """Exit code 2 and `XX`: the program was not started, so nothing is measured."""
    ran = box.run(prog("write", "/box/started", 1), option)

    assert BROKEN == ran.outcome
    assert "time" not in ran.meta
    assert not (box.files / "started").exists()


@pytest.mark.parametrize("option", ["--stdin", "--stdout", "--stderr"])
def test_stream_is_not_followed_out_of_the_box(box: Box, tmp_path: Path, option: str) -> None:
    """A link in the box leads to what the program sees, never to a file of the host."""
    canary = tmp_path / "canary"
    canary.write_text("secret")
    canary.chmod(0o666)
    (box.files / "link").symlink_to(canary)
    ran = box.run(["/bin/cat"], f"{option}=link", stdin=b"input")

    assert b"secret" not in ran.stdout
    assert "secret" == canary.read_text()


def test_program_may_close_its_streams(box: Box) -> None:
    """That is not a failure: the exit code counts."""
    assert ENDED_WELL == box.run(prog("silence")).outcome


@pytest.mark.parametrize("number", [0, 1, 2])
def test_sandbox_started_without_a_standard_stream_hands_out_nothing_else(
    box: Box, tmp_path: Path, number: int
) -> None:
    """
    No file that the sandbox opens for itself may land on the number of a closed stream: it could be written.
    """
    meta = tmp_path / "meta"
    command = [
        *box.executable.argv,
        f"--box-id={box.number}",
        f"--meta={meta}",
        "--run",
        "--",
        "/bin/sh",
        "-c",
    ]
    script = 'for n in 0 1 2; do echo "time:0" >&$n; done 2>/dev/null; exit 3'
    subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {number}>&-', "sh", *command, script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=DEADLINE_S,
        check=False,
    )

    assert "time:0" not in meta.read_text().splitlines()


def test_no_other_descriptor_reaches_the_program(box: Box, tmp_path: Path) -> None:
    """Descriptors of the caller and of the sandbox are closed before the program starts."""
    with (tmp_path / "secret").open("w") as secret:
        os.dup2(secret.fileno(), 57, inheritable=True)
        try:
            ran = subprocess.run(
                [
                    *box.executable.argv,
                    f"--box-id={box.number}",
                    "--open-files=0",
                    "--run",
                    "--",
                    *prog("descriptors"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=DEADLINE_S,
                pass_fds=[57],
                check=False,
            )
        finally:
            os.close(57)

    assert b"0\n1\n2\n" == ran.stdout
