"""Unpack and check additional files; a ZIP archive cannot lie about its size."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from verdictd.files import File, check_name

_END_OF_DIRECTORY = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_END_BYTES, _MAX_COMMENT_BYTES = 22, 65_535
_MAX_DESCRIPTOR_BYTES = 24  # behind an entry whose size was not known before
_DIRECTORY_BYTES_PER_FILE = 1024  # a central directory entry has 46 bytes and the name; the rest is generous
# Exceptions of zipfile for a damaged archive, beside ValueError.
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, OverflowError)


def check_files(files: Iterable[File], *, max_files: int, max_bytes: int) -> tuple[File, ...]:
    """Return the files if they fit the bounds and can be placed beside each other, else raise ValueError."""
    checked = tuple(files)
    if len(checked) > max_files:
        raise ValueError(f"{len(checked)} files; at most {max_files} are allowed")
    total = sum(len(file.content) for file in checked)
    if total > max_bytes:
        raise ValueError(f"{total} bytes in all files; at most {max_bytes} are allowed")
    names: set[str] = set()
    for file in checked:
        if file.name in names:
            raise ValueError(f"two files are named {file.name!r}")
        names.add(file.name)
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in names:
                raise ValueError(f"{'/'.join(parts[:depth])!r} is both a file and a directory")
    return checked


def unpack(archive: bytes, *, max_files: int, max_bytes: int) -> tuple[File, ...]:
    """Return the files of a ZIP archive; raise ValueError if it is damaged, too large or has links."""
    with opened(archive, max_files=max_files) as found:
        _check_names(found.infolist())
        entries = [entry for entry in found.infolist() if not _name(entry).endswith("/")]
        if len(entries) > max_files:
            raise ValueError(f"the archive has {len(entries)} files; at most {max_files} are allowed")
        _check_entries(entries)
        _check_layout(archive, found.infolist(), found.start_dir)
        left = max_bytes
        files = []
        for entry in entries:
            with found.open(entry) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise ValueError(f"the archive unpacks to more than {max_bytes} bytes")
            files.append(File(check_name(_name(entry)), content, _is_executable(entry)))
    return check_files(files, max_files=max_files, max_bytes=max_bytes)


@contextmanager
def opened(archive: bytes, *, max_files: int) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP archive with one directory of about `max_files` at most.

    Raises ValueError if it cannot be read, then or while the block reads its entries.
    """
    _check_directory(archive, max_files)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as found:
            yield found
    except _DAMAGED as error:
        raise ValueError(f"the archive is not a readable ZIP file: {error}") from error


def _name(entry: zipfile.ZipInfo) -> str:
    """Return the path of an entry; some programs on Windows write it with backslashes."""
    return entry.filename.replace("\\", "/")


def _is_executable(entry: zipfile.ZipInfo) -> bool:
    return bool(entry.external_attr >> 16 & 0o111)


def _check_directory(archive: bytes, max_files: int) -> None:
    """Refuse a second directory, and one of a million entries before zipfile makes an object of each."""
    end = archive.rfind(_END_OF_DIRECTORY, max(0, len(archive) - _END_BYTES - _MAX_COMMENT_BYTES))
    if end < 0 or len(archive) < end + _END_BYTES:
        raise ValueError("the archive is not a readable ZIP file: the end of its directory is missing")
    if archive[max(0, end - 20) : end].startswith(_ZIP64_LOCATOR):
        raise ValueError("ZIP64 archives are not supported")
    directory_bytes, offset, comment_bytes = struct.unpack_from("<2IH", archive, end + 12)
    if directory_bytes > (max_files + 1) * _DIRECTORY_BYTES_PER_FILE:
        raise ValueError(f"the archive has too many entries; at most {max_files} files are allowed")
    # Programs differ in which end they read, and in what they take offsets to be relative to.
    if _is_in_comment(archive, end) or end + _END_BYTES + comment_bytes != len(archive):
        raise ValueError("the archive has a second end, or other data behind its end")
    if offset + directory_bytes != end:
        raise ValueError("the archive has other data before its files, or behind their directory")


def _is_in_comment(archive: bytes, end: int) -> bool:
    """Return True if an earlier end of a directory has a comment that reaches to the end of the archive."""
    place = max(0, len(archive) - _END_BYTES - _MAX_COMMENT_BYTES)
    while (place := archive.find(_END_OF_DIRECTORY, place, end)) >= 0:
        (comment_bytes,) = struct.unpack_from("<H", archive, place + _END_BYTES - 2)
        if place + _END_BYTES + comment_bytes == len(archive):
            return True
        place += 1
    return False


def _check_names(entries: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse names with NUL, where zipfile cuts them and other programs do not."""
    for entry in entries:
        if "\0" in entry.orig_filename:
            raise ValueError(f"{entry.orig_filename!r}: a file name cannot contain control characters")


def _check_layout(archive: bytes, entries: Iterable[zipfile.ZipInfo], directory: int) -> None:
    """Refuse entries that overlap, and data between them that other programs take for entries."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ValueError(f"{entry.filename!r} overlaps another entry")
        if entry.header_offset > end + _MAX_DESCRIPTOR_BYTES:
            raise ValueError(f"the archive has other data before {entry.filename!r}")
        name_bytes, extra_bytes = struct.unpack_from("<2H", archive, entry.header_offset + 26)
        end = entry.header_offset + 30 + name_bytes + extra_bytes + entry.compress_size
    if not end <= directory <= end + _MAX_DESCRIPTOR_BYTES:
        raise ValueError("the archive has other data before its directory")


def _check_entries(entries: Iterable[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise ValueError(f"{entry.filename!r} is encrypted")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            raise ValueError(f"{entry.filename!r} is a link or a special file")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"{entry.filename!r} uses an unsupported compression method; use deflate")
