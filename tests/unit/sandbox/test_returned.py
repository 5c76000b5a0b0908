"""Files that are taken out of a box after a run: bounded, and nothing that is not the program's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from verdictd.sandbox.files import place_input
from verdictd.sandbox.model import Descriptor, TakenFile, Wanted
from verdictd.sandbox.returned import take_wanted

MISSING = "is missing, or not a regular file that can be read"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The working directory of a box after a run."""
    (tmp_path / "box" / "out").mkdir(parents=True)
    for name in ("a.txt", "out/b.txt", "out/c.txt", "out/d.log"):
        (tmp_path / "box" / name).write_text(name)
    return tmp_path / "box"


@pytest.fixture
def directory(box: Path) -> Iterator[int]:
    fd = os.open(box, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def taken(
    directory: int, *patterns: str, max_files: int = 9, max_bytes: int = 99
) -> dict[str, tuple[bytes, bool, str | None]]:
    wanted = Wanted(patterns=patterns, max_files=max_files, max_bytes=max_bytes)
    _, files = take_wanted(directory, wanted)
    return {file.name: (file.content, file.truncated, file.problem) for file in files}


def test_files_are_taken_by_name_and_by_pattern(directory: int) -> None:
    """Each once, in the order of the patterns; those that are not there are named."""
    found = taken(directory, "out/*.txt", "a.txt", "none", "*.pdf", "out/b.txt")

    assert {
        "out/b.txt": (b"out/b.txt", False, None),
        "out/c.txt": (b"out/c.txt", False, None),
        "a.txt": (b"a.txt", False, None),
        "none": (b"", False, MISSING),
        "*.pdf": (b"", False, "matches no file"),
    } == found
    assert ["out/b.txt", "out/c.txt", "a.txt", "none", "*.pdf"] == list(found)


def test_number_and_bytes_are_bounded(directory: int) -> None:
    """What is beyond a bound is said, and no more is read."""
    assert {
        "a.txt": (b"a.txt", False, None),
        "out/b.txt": (b"ou", True, None),
        "out/c.txt": (b"", True, None),
        "out/d.log": (b"", False, "is not returned, as a result can have 3 files"),
    } == taken(directory, "a.txt", "out/*", max_files=3, max_bytes=7)


def test_what_is_no_regular_file_of_the_program_is_not_read(
    directory: int, box: Path, tmp_path: Path
) -> None:
    """Links, pipes, folders, second names, and ways through a link; a name need not be UTF-8."""
    canary = tmp_path / "canary"
    canary.write_text("secret")
    (box / "link").symlink_to(canary)
    (box / "way").symlink_to(tmp_path)
    (box / "second").hardlink_to(canary)
    os.mkfifo(box / "pipe")
    names = ("link", "way/canary", "second", "pipe", "out", "out/b.txt/x")

    assert dict.fromkeys(names, (b"", False, MISSING)) == taken(directory, *names)
    assert {"link", "pipe", "second", "way"} == taken(directory, "[lpsw]*").keys()
    assert [b""] * 4 == [content for content, _, _ in taken(directory, "[lpsw]*").values()]


def test_sparse_file_is_read_to_its_bound(directory: int, box: Path) -> None:
    """10 GiB that take no space on disk, and no memory here."""
    with (box / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    output, _ = take_wanted(directory, Wanted(file="sparse", file_bytes=5))

    assert TakenFile("sparse", bytes(5), truncated=True) == output


def test_too_many_files_to_look_through_are_said(directory: int, box: Path) -> None:
    """A file that is asked for by its name is found all the same."""
    for number in range(10_001):
        os.close(os.open(box / f"{number}.x", os.O_CREAT))

    assert {
        "*.txt": (b"", False, "cannot be looked for: more than 10000 files"),
        "a.txt": (b"a.txt", False, None),
    } == taken(directory, "*.txt", "a.txt")


@pytest.mark.parametrize("by_descriptor", [False, True])
def test_input_is_placed_as_a_file_to_be_read(directory: int, box: Path, by_descriptor: bool) -> None:
    """In the place of what the compiler may have left there; a large one is copied by the kernel."""
    content = os.urandom(1 << 20)
    source = box.parent / "source"
    source.write_bytes(content)
    with source.open("rb") as file:
        given = Descriptor(file.fileno()) if by_descriptor else content
        place_input(directory, "a.txt", given)
        place_input(directory, "new/b", given)

    assert content == (box / "a.txt").read_bytes() == (box / "new" / "b").read_bytes()
    assert 0o444 == (box / "a.txt").stat().st_mode & 0o777
