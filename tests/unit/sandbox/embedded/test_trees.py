"""The embedded sandbox cleans up after hostile programs without following their links."""

import os
from pathlib import Path

import pytest

from verdictd.sandbox.embedded import trees

DEPTH = 2500  # deeper than descriptors or recursion would allow


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box"
    path.mkdir()
    return path


def nest(top: Path, depth: int) -> None:
    """Make directories within directories, with a file in the last."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)


def empty(path: Path) -> None:
    top = os.open(path, os.O_RDONLY)
    try:
        trees.empty(top)
    finally:
        os.close(top)


def hand_over(path: Path) -> None:
    top = os.open(path, os.O_RDONLY)
    try:
        trees.hand_over(top, os.getuid(), guest=os.getuid())
    finally:
        os.close(top)


def test_2500_nested_directories_are_removed(box: Path) -> None:
    """Depth costs neither descriptors nor recursion."""
    nest(box, DEPTH)
    empty(box)

    assert [] == list(box.iterdir())


def test_2500_nested_directories_are_handed_over(box: Path) -> None:
    """A tree that is handed over, and not removed, can be as deep."""
    nest(box, DEPTH)
    hand_over(box)
    remaining = list(box.iterdir())
    empty(box)

    assert [box / "d"] == remaining


def test_names_that_are_no_text_are_removed(box: Path) -> None:
    """A name is any bytes but a slash."""
    directory = os.path.join(os.fsencode(box), b"\xff\n")  # noqa: PTH118 - Path knows no bytes
    os.mkdir(directory)  # noqa: PTH102
    os.close(os.open(os.path.join(directory, b"\xfe"), os.O_CREAT))  # noqa: PTH118
    empty(box)

    assert [] == list(box.iterdir())


def test_links_are_removed_and_not_followed(box: Path, tmp_path: Path) -> None:
    """The target of a link is not removed."""
    canary = tmp_path / "outside" / "canary"
    canary.parent.mkdir()
    canary.write_text("alive")
    (box / "directory").symlink_to(canary.parent)
    (box / "file").symlink_to(canary)
    empty(box)

    assert ([], "alive") == (list(box.iterdir()), canary.read_text())


def test_hand_over_removes_all_but_files_and_directories(box: Path) -> None:
    """A caller who opens what a program left must not meet a pipe or a link."""
    (box / "kept").write_text("x")
    (box / "sub").mkdir()
    (box / "sub" / "link").symlink_to("/etc/passwd")
    os.mkfifo(box / "sub" / "pipe")
    hand_over(box)

    assert [box / "kept", box / "sub"] == sorted(box.rglob("*"))


def test_hand_over_takes_set_uid_bits_away(box: Path) -> None:
    """A change of owner voids the set-uid bit, which must not survive under another owner's name."""
    program = box / "program"
    program.touch()
    program.chmod(0o4755)
    hand_over(box)

    assert 0o755 == program.stat().st_mode & 0o7777


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_file_with_a_second_name_keeps_its_owner(box: Path, tmp_path: Path) -> None:
    """A file linked into the box from elsewhere does not become the guest's to change."""
    outside = tmp_path / "cached"
    outside.touch()
    os.link(outside, box / "artifact")
    top = os.open(box, os.O_RDONLY)
    try:
        trees.hand_over(top, 60007, guest=60007)
    finally:
        os.close(top)

    assert (0, 60007) == (outside.stat().st_uid, box.stat().st_uid)
