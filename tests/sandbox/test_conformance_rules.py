# ruff: noqa: S108 - /tmp and /dev/shm are those of a box
"""Directory rules: parts of the host's file system in a box, and their rights."""

from pathlib import Path

import pytest

from sandbox.conformance import BROKEN, ENDED_WELL, Box, failed, prog
from sandbox.host import names


@pytest.fixture
def data(tmp_path: Path, program: Path) -> Path:
    """A directory of the host that every user may use."""
    directory = tmp_path / "data"
    (directory / "inner").mkdir(parents=True)
    (directory / "file").write_text("from outside")
    (directory / "prog").write_bytes(program.read_bytes())
    (directory / "prog").chmod(0o755)
    directory.chmod(0o777)
    return directory


def test_directory_is_bound_elsewhere(box: Box, data: Path) -> None:
    """`in=out` shows the directory `out` as `in`, which is made on the way."""
    assert b"from outside" == box.run(["/bin/cat", "/some/where/file"], f"--dir=some/where={data}").stdout


def test_directory_is_bound_where_it_is(box: Box) -> None:
    """A path alone is the same inside and outside."""
    ran = box.run(["/bin/ls", "/etc/alternatives"], "--dir=/etc/alternatives")

    assert set(names(Path("/etc/alternatives"))) == set(ran.lines)


def test_directory_is_read_only(box: Box, data: Path) -> None:
    """Unless told otherwise, whatever its mode."""
    ran = box.run(prog("try-create", "/data/new"), f"--dir=data={data}")

    assert (["EROFS"], False) == (ran.lines, (data / "new").exists())


def test_directory_is_writable_with_rw(box: Box, data: Path) -> None:
    """What is written there is there for the caller."""
    ran = box.run(prog("try-create", "/data/new"), f"--dir=data={data}:rw")

    assert (["ok"], True) == (ran.lines, (data / "new").exists())


@pytest.mark.parametrize(
    ("options", "expected"), [("", ENDED_WELL), (":noexec", failed(127))], ids=["default", "noexec"]
)
def test_programs_of_a_directory_can_be_executed_unless_noexec(
    box: Box, data: Path, options: str, expected: object
) -> None:
    """Compilers and interpreters lie in bound directories."""
    assert expected == box.run(["/data/prog", "hello"], f"--dir=data={data}{options}").outcome


@pytest.mark.parametrize(("options", "expected"), [("", "EACCES"), (":dev", "ok")], ids=["default", "dev"])
def test_devices_of_a_directory_work_with_dev_only(box: Box, options: str, expected: str) -> None:
    """A device in a bound directory is dead unless told otherwise."""
    assert [expected] == box.run(prog("try-read", "/devices/null"), f"--dir=devices=/dev{options}").lines


def test_missing_directory_is_a_fault_of_the_sandbox(box: Box) -> None:
    """The program is not started without a directory that was asked for."""
    ran = box.run(prog("write", "/box/started", 1), "--dir=data=/no/such/directory")

    assert (BROKEN, False) == (ran.outcome, (box.files / "started").exists())
    assert "time" not in ran.meta


def test_missing_directory_is_left_out_with_maybe(box: Box, data: Path) -> None:
    """The rule is for directories that exist on some hosts only."""
    ran = box.run(["/bin/ls", "/"], "--dir=data=/no/such/directory:maybe", f"--dir=there={data}:maybe")

    assert ENDED_WELL == ran.outcome
    assert {"there"} == {"data", "there"} & set(ran.lines)


def test_file_is_no_directory(box: Box, data: Path) -> None:
    """Only directories can be bound."""
    assert BROKEN == box.run(prog("hello"), f"--dir=data={data / 'file'}").outcome


def test_temporary_directory_can_be_written(box: Box) -> None:
    """`in:tmp` makes one, for the program to use."""
    assert ["ok"] == box.run(prog("try-create", "/scratch/file"), "--dir=scratch:tmp").lines


@pytest.mark.parametrize(("options", "expected"), [("", "EROFS"), (":rw", "ok")], ids=["default", "rw"])
def test_file_system_is_mounted_with_fs(box: Box, options: str, expected: str) -> None:
    """Read-only unless told otherwise, as all rules."""
    assert [expected] == box.run(prog("try-create", "/memory/file"), f"--dir=memory=tmpfs:fs{options}").lines


def test_process_file_system_is_mounted_with_fs(box: Box) -> None:
    """`proc` is another that can be asked for."""
    assert b"cat\0/processes/self/cmdline\0" == box.run(
        ["/bin/cat", "/processes/self/cmdline"], "--dir=processes=proc:fs"
    ).stdout.removeprefix(b"/bin/")


def test_rule_can_be_removed(box: Box) -> None:
    """`in=` takes a default rule away."""
    seen = set(box.run(["/bin/ls", "/"], "--dir=tmp=").lines)

    assert {"box"} == {"box", "tmp"} & seen


def test_rule_can_be_replaced(box: Box, data: Path) -> None:
    """The last rule for a path counts."""
    ran = box.run(["/bin/ls", "/tmp"], "--dir=tmp=/no/such/directory", f"--dir=tmp={data}")

    assert ["file", "inner", "prog"] == ran.lines


def test_rules_are_executed_in_order(box: Box, data: Path) -> None:
    """A directory can be bound into one that was bound before."""
    ran = box.run(["/bin/ls", "/data/inner"], f"--dir=data={data}", f"--dir=data/inner={data}")

    assert ["file", "inner", "prog"] == ran.lines


def test_nothing_is_made_in_a_bound_directory(box: Box, data: Path) -> None:
    """A path that is missing in a bound directory is a fault: directories of the host are not changed."""
    ran = box.run(prog("hello"), f"--dir=data={data}:rw", f"--dir=data/new={data}")

    assert (BROKEN, False) == (ran.outcome, (data / "new").exists())


def test_rule_does_not_follow_a_link_out_of_the_box(box: Box, data: Path) -> None:
    """A link that a program left where a rule is to be mounted leads nowhere but into the box."""
    (box.files / "link").symlink_to(data / "inner")
    box.run(prog("hello"), f"--dir=box/link={data}")

    assert [] == names(data / "inner")
    assert not any(str(data) in line for line in Path("/proc/self/mounts").read_text().splitlines())


def test_no_default_directories(box: Box) -> None:
    """`--no-default-dirs` leaves what the other rules say: a static program needs no more than the box."""
    ran = box.run(prog("disks"), "--no-default-dirs", f"--dir=box={box.files}:rw")
    absent = box.run(["/bin/true"], "--no-default-dirs", f"--dir=box={box.files}:rw")

    assert (ENDED_WELL, failed(127)) == (ran.outcome, absent.outcome)


@pytest.mark.parametrize(
    "rule",
    ["data=/usr:bogus", "../data=/usr", "data=../usr", "a/../b=/usr", "scratch=/usr:tmp", "memory=ext4:fs"],
)
def test_malformed_rule_is_refused(box: Box, rule: str) -> None:
    """Exit code 2, and nothing is started."""
    ran = box.run(prog("write", "/box/started", 1), f"--dir={rule}")

    assert (2, False) == (ran.outcome.exit_code, (box.files / "started").exists())
