"""Additional files: what an archive or a list may hold, and what it may not."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support import archives
from support.archives import (
    archive,
    commented,
    directory_entry,
    encrypted,
    end_of_directory,
    linked,
    lying,
    overlapping,
)
from verdictd.contract.archives import check_files, unpack
from verdictd.files import File, check_name

MAX_FILES = 4
MAX_BYTES = 1_000


def refusal(check: Callable[..., object], *arguments: object, **bounds: int) -> str:
    try:
        check(*arguments, **bounds)
    except ValueError as error:
        return str(error)
    return "not refused"


def unpack_refusal(packed: bytes) -> str:
    return refusal(unpack, packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_of_an_archive_are_unpacked_in_order(method: int) -> None:
    """
    Stored and deflated files come out as they went in; directories need no entry, and theirs count for none.
    """
    packed = archive(("b.txt", b"two\n"), ("d/", b""), ("d/a.txt", b""), ("ü", b"\xff"), method=method)

    expected = (File("b.txt", b"two\n"), File("d/a.txt", b""), File("ü", b"\xff"))
    assert expected == unpack(packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("x")
    made.filename = name  # as it stands: the constructor replaces what is a separator here
    made.create_system = 3
    made.external_attr = mode << 16
    return made


@pytest.mark.parametrize("name", ["data\\in.txt", "data/in.txt"])
def test_backslash_of_windows_is_a_slash(name: str) -> None:
    """Some programs on Windows write names with backslashes; their folders are none of the files."""
    packed = archive((entry("data\\", 0o40755), b""), (entry(name, 0), b"1"))

    assert (File("data/in.txt", b"1"),) == unpack(packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("name", ["..\\x", "\\x", "a\\..\\..\\x", "a\\\\x"])
def test_backslash_leads_nowhere_else(name: str) -> None:
    """What a name means is checked after the backslashes are slashes."""
    reason = 'a file name must be a relative path without empty parts, "." or ".."'

    assert reason == unpack_refusal(archive((entry(name, 0), b"")))


@pytest.mark.parametrize(
    ("mode", "executable"), [(0o100755, True), (0o100744, True), (0o755, True), (0o100644, False), (0, False)]
)
def test_executable_file_stays_executable(mode: int, executable: bool) -> None:
    """The mode is in the archive if it was made on Linux or macOS."""
    packed = archive((entry("run.sh", mode), b"#!/bin/sh"))

    expected = (File("run.sh", b"#!/bin/sh", executable=executable),)
    assert expected == unpack(packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)


def test_archive_that_fills_the_bounds_is_taken() -> None:
    """The bounds themselves are inside."""
    packed = archive(*((str(number), bytes(250)) for number in range(4)))

    assert 4 == len(unpack(packed, max_files=4, max_bytes=1_000))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("a/../../x", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("/etc/passwd", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("./x", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("a//x", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("..", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("a\nb", "a file name cannot contain control characters"),
        ("a\x7fb", "a file name cannot contain control characters"),
        ("x" * 256, "a file name can have at most 255 bytes"),
        ("é" * 128, "a file name can have at most 255 bytes"),
        ("1/2/3/4/5/6/7/8/9", "a file name can have at most 8 parts"),
    ],
)
def test_name_that_leads_elsewhere_is_refused(name: str, reason: str) -> None:
    """A name is a path below the working directory of the box, in a list as in an archive."""
    assert reason == refusal(check_name, name)
    assert reason == unpack_refusal(archive((name, b"")))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("d/", 'a file name must be a relative path without empty parts, "." or ".."'),
        ("a\0b", "a file name cannot contain control characters"),
    ],
)
def test_name_that_an_archive_cannot_hold_is_refused_in_a_list(name: str, reason: str) -> None:
    """Empty names, directories and NUL characters name no file."""
    assert reason == refusal(check_name, name)


@pytest.mark.parametrize(
    "name", ["a", "a/b.c", "-rf", "...", "~", "a b", "$(id)", "ü", "x" * 255, "1/2/3/4/5/6/7/8"]
)
def test_name_below_the_directory_is_taken(name: str) -> None:
    """No shell reads a name, so every other character is as good as a letter."""
    assert name == check_name(name)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "two files are named 'a'"),
        (["a", "a/b"], "'a' is both a file and a directory"),
        (["x/y/z", "x"], "'x' is both a file and a directory"),
        (["1", "2", "3", "4", "5"], "5 files; at most 4 are allowed"),
    ],
)
def test_files_that_cannot_lie_together_are_refused(names: Iterable[str], reason: str) -> None:
    """No two files may take the same place, and their number is bounded."""
    files = [File(name, b"") for name in names]

    assert reason == refusal(check_files, files, max_files=MAX_FILES, max_bytes=MAX_BYTES)


def test_files_of_too_many_bytes_in_all_are_refused() -> None:
    """The bound holds for the sum."""
    files = [File("a", bytes(600)), File("b", bytes(401))]

    reason = "1001 bytes in all files; at most 1000 are allowed"
    assert reason == refusal(check_files, files, max_files=MAX_FILES, max_bytes=MAX_BYTES)


def test_duplicate_names_in_an_archive_are_refused() -> None:
    """No entry hides another."""
    assert "two files are named 'a'" == unpack_refusal(archive(("a", b"1"), ("a", b"2")))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(kind: int) -> None:
    """Only regular files are unpacked."""
    packed = archive((linked("/etc/passwd", kind=kind), b"/etc/passwd"))

    assert "'link' is a link or a special file" == unpack_refusal(packed)


def test_bomb_of_100_mib_is_refused_at_the_bound() -> None:
    """Unpacking ends as soon as the bound is passed, whatever the archive declares."""
    packed = archive(("bomb", bytes(100 * 2**20)))

    assert "the archive unpacks to more than 1000 bytes" == unpack_refusal(packed)


def test_bound_holds_for_all_files_together() -> None:
    """Many small files cannot exceed it either."""
    packed = archive(("a", bytes(600)), ("b", bytes(600)))

    assert "the archive unpacks to more than 1000 bytes" == unpack_refusal(packed)


def test_declared_size_that_lies_is_refused() -> None:
    """The size in the directory proves nothing: a smaller one leaves the checksum wrong."""
    assert unpack_refusal(lying()).startswith("the archive is not a readable ZIP file: Bad CRC-32")


def test_bad_checksum_is_refused() -> None:
    """A damaged file is not judged with."""
    assert unpack_refusal(archives.damaged()).startswith("the archive is not a readable ZIP file: Bad CRC-32")


def test_overlapping_entries_are_refused() -> None:
    """One compressed part cannot be unpacked many times over."""
    assert "'b' overlaps another entry" == unpack_refusal(overlapping())


def test_encrypted_entries_are_refused() -> None:
    """No password can be asked for."""
    assert "'a' is encrypted" == unpack_refusal(encrypted())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method: int) -> None:
    """Stored and deflated are what every tool writes; other decoders stay untouched."""
    packed = archive(("a", b"content"), method=method)

    assert "'a' uses an unsupported compression method; use deflate" == unpack_refusal(packed)


def test_a_million_entries_are_refused_unread() -> None:
    """The size of the directory tells, before an object is made of each entry."""
    directory = directory_entry() * 1_000_000

    reason = "the archive has too many entries; at most 4 files are allowed"
    assert reason == unpack_refusal(directory + end_of_directory(len(directory)))


def test_a_million_entries_behind_zip64_are_refused_unread() -> None:
    """The larger format has a second directory size, which would get past the check of the first."""
    directory = directory_entry() * 1_000_000
    record = b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, len(directory), 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(directory), 1)

    reason = "ZIP64 archives are not supported"
    assert reason == unpack_refusal(directory + record + locator + end_of_directory(0))


def test_more_files_than_taken_are_refused_though_their_names_are_short() -> None:
    """The number of entries is counted too."""
    packed = archive(*((str(number), b"") for number in range(5)))

    assert "the archive has 5 files; at most 4 are allowed" == unpack_refusal(packed)


@pytest.mark.parametrize(
    "packed", [b"", b"PK", b"not an archive", b"PK\5\6", archive(("a", b"content"))[:-1]]
)
def test_what_is_no_archive_is_refused(packed: bytes) -> None:
    """Without its end a directory cannot be found."""
    reason = "the archive is not a readable ZIP file: the end of its directory is missing"
    assert reason == unpack_refusal(packed)


@pytest.mark.parametrize("comment", [archive(("b", b"2")), b"PK\5\6" + bytes(18), b"PK\5\6" + bytes(40)])
def test_comment_with_a_second_end_is_refused(comment: bytes) -> None:
    """Programs that look for the first end would see other files than those that look for the last."""
    reason = "the archive has a second end, or other data behind its end"
    assert reason == unpack_refusal(commented(archive(("a", b"1")), comment))


def test_comment_and_archive_in_an_archive_are_taken() -> None:
    """Only what ends the archive as well makes it ambiguous."""
    inner = archive(("b", b"2"))
    packed = commented(archive(("a.zip", inner), method=zipfile.ZIP_STORED), b"made by hand")

    assert (File("a.zip", inner),) == unpack(packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)


def test_archive_from_a_stream_is_taken() -> None:
    """A program that cannot seek writes the sizes behind each file."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a", b"1")
        opened.writestr("b", b"2")

    unpacked = unpack(stream.getvalue(), max_files=MAX_FILES, max_bytes=MAX_BYTES)
    assert (File("a", b"1"), File("b", b"2")) == unpacked


@pytest.mark.parametrize("around", [(b"#!/bin/sh\n", b""), (b"", b"\0"), (b"", b"PK\5\6"), (bytes(100), b"")])
def test_data_around_an_archive_is_refused(around: tuple[bytes, bytes]) -> None:
    """A script that is an archive too, or bytes behind the end, are not what any tool for ZIP writes."""
    before, after = around

    assert unpack_refusal(before + archive(("a", b"1")) + after).startswith("the archive ")


def test_archive_between_entries_and_directory_is_refused() -> None:
    """A program that reads from the front would stop at the directory that is hidden there."""
    first, hidden = archive(("a", b"1")), archive(("b", b"2"))
    directory, end = first.rindex(b"PK\1\2"), first.rindex(b"PK\5\6")
    packed = first[:directory] + hidden + first[directory:end]
    packed += end_of_directory(end - directory, offset=directory + len(hidden))

    assert "the archive has other data before its directory" == unpack_refusal(packed)


@pytest.mark.parametrize("name", ["a\0b", "a\0/", "\0"])
def test_name_with_nul_in_an_archive_is_refused(name: str) -> None:
    """The library would cut it there, and place the file under another name."""
    packed = archive(("x" * len(name), b"1")).replace(b"x" * len(name), name.encode())

    assert f"{name!r}: a file name cannot contain control characters" == unpack_refusal(packed)


def test_entry_without_a_name_is_refused() -> None:
    """The library itself would stumble over it."""
    directory = directory_entry(b"")

    assert unpack_refusal(directory + end_of_directory(len(directory))).startswith("the archive ")


def test_offset_beyond_every_file_is_refused() -> None:
    """The library would raise another error for an offset beyond the file."""
    directory = directory_entry(offset=0xFFFFFFFF, extra=struct.pack("<2HQ", 1, 8, 2**63))

    assert unpack_refusal(directory + end_of_directory(len(directory))).startswith("the archive ")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An archive with some bytes changed, most of them in its directory."""
    contents = draw(st.lists(st.binary(max_size=40), max_size=3))
    packed = bytearray(archive(*((f"d/{number}", content) for number, content in enumerate(contents))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(1, len(packed)))
        packed[-place : len(packed) - place + 1] = draw(st.binary(max_size=8))
    return bytes(packed)


@given(st.one_of(st.binary(max_size=200), damaged()))
@example(b"")
def test_any_bytes_unpack_within_the_bounds_or_are_refused(packed: bytes) -> None:
    """No archive raises anything but ValueError."""
    try:
        files = unpack(packed, max_files=MAX_FILES, max_bytes=MAX_BYTES)
    except ValueError:
        files = ()

    assert files == check_files(files, max_files=MAX_FILES, max_bytes=MAX_BYTES)
    assert [file.name for file in files] == [check_name(file.name) for file in files]
