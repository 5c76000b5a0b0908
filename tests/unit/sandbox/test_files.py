"""Files in a box are written and read by descriptor, regardless of what a program left there."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from verdictd.files import File
from verdictd.sandbox.files import UnusableFile, place, take


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """An open directory, as that of a box."""
    (tmp_path / "box").mkdir()
    fd = os.open(tmp_path / "box", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_placed_files_have_content_mode_and_directories(directory: int, tmp_path: Path) -> None:
    """Directories are made as names need them."""
    place(directory, [File("a/b/c", b"deep"), File("a/d", b"beside")], mode=0o755)

    assert b"deep" == (tmp_path / "box/a/b/c").read_bytes()
    assert b"beside" == (tmp_path / "box/a/d").read_bytes()
    assert 0o755 == (tmp_path / "box/a/d").stat().st_mode & 0o777


@pytest.mark.parametrize("name", ["link", "way/file"])
def test_placing_follows_no_link(directory: int, tmp_path: Path, name: str) -> None:
    """A link in the way is an error, and what it points to stays as it was."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "canary").write_text("unchanged")
    (tmp_path / "box/link").symlink_to(tmp_path / "canary")
    (tmp_path / "box/way").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        place(directory, [File(name, b"overwritten")])

    assert "unchanged" == (tmp_path / "canary").read_text()
    assert [] == list((tmp_path / "outside").iterdir())


def test_taken_files_are_those_that_match(directory: int, tmp_path: Path) -> None:
    """Patterns name files in the directory itself, in order of their names."""
    for name in ("Main.class", "Main$1.class", "Main.java", ".class"):
        (tmp_path / "box" / name).write_text(name)
    (tmp_path / "box/sub").mkdir()
    (tmp_path / "box/sub/Other.class").write_text("")

    assert ["Main$1.class", "Main.class"] == [file.name for file in take(directory, ["M*.class"], 100)]


def test_files_in_directories_are_taken_where_a_pattern_leads_there(directory: int, tmp_path: Path) -> None:
    """Directories are entered by descriptor; empty ones are not kept."""
    place(directory, [File("Main.class", b"1"), File("a/b/C.class", b"2"), File("a/C.java", b"3")])
    (tmp_path / "box/empty").mkdir()

    assert [("Main.class", b"1"), ("a/b/C.class", b"2")] == [
        (file.name, file.content) for file in take(directory, ["**/*.class"], 100)
    ]
    assert ["Main.class", "a/C.java", "a/b/C.class"] == [file.name for file in take(directory, ["**"], 100)]


def test_link_to_a_directory_is_not_entered(directory: int, tmp_path: Path) -> None:
    """A link that matches is not a regular file; one that does not match is nothing."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/X.class").write_text("secret")
    (tmp_path / "box/way").symlink_to(tmp_path / "outside")

    assert () == take(directory, ["**/*.class"], 100)
    with pytest.raises(UnusableFile, match="not a regular file"):
        take(directory, ["**"], 100)


def test_directories_without_end_are_refused(directory: int, tmp_path: Path) -> None:
    """A compiler cannot keep the daemon busy with directories."""
    (tmp_path / "box" / "/".join("d" * 40)).mkdir(parents=True)
    with pytest.raises(UnusableFile, match="more than 32 deep"):
        take(directory, ["**"], 100)

    assert () == take(directory, ["*.class"], 100)


def test_files_larger_than_allowed_are_refused(directory: int, tmp_path: Path) -> None:
    """The bound is for all of them together, and a hole counts like any other part."""
    (tmp_path / "box/a").write_bytes(b"x" * 60)
    (tmp_path / "box/b").write_bytes(b"x" * 60)
    with pytest.raises(UnusableFile, match="at most 40"):
        take(directory, ["*"], 100)
    os.truncate(tmp_path / "box/a", 10 << 30)
    with pytest.raises(UnusableFile, match="10737418240 bytes"):
        take(directory, ["a"], 100)


@pytest.mark.parametrize(
    "kind", ["symlink", "dangling", "fifo", "directory", "hard link", "socket", "device"]
)
def test_anything_but_a_regular_file_of_its_own_is_refused(
    directory: int, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered at once, and not a byte of it is read."""
    monkeypatch.chdir(tmp_path)
    target, canary = tmp_path / "box/main", tmp_path / "canary"
    canary.write_text("secret")
    match kind:
        case "symlink":
            target.symlink_to(canary)
        case "dangling":
            target.symlink_to("/nonexistent")
        case "fifo":
            os.mkfifo(target)
        case "directory":
            target.mkdir()
        case "hard link":
            target.hardlink_to(canary)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("box/main")
        case "device":
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(target, 0o600 | 0o020000, os.makedev(1, 5))
    with pytest.raises(UnusableFile, match="not a regular file"):
        take(directory, ["main"], 100)


def test_executable_file_is_placed_executable(directory: int, tmp_path: Path) -> None:
    """As it was in the archive; all others have the mode of their kind."""
    place(directory, [File("run.sh", b"", executable=True), File("in.txt", b"")])

    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "box").iterdir()}
    assert {"run.sh": 0o755, "in.txt": 0o644} == modes
