"""Unpack and check additional files; a ZIP archive cannot lie about its size."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable

from verdictd.files import File, check_name

_END_OF_DIRECTORY = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
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
    _check_directory_size(archive, max_files)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = [entry for entry in opened.infolist() if not _name(entry).endswith("/")]
            if len(entries) > max_files:
                raise ValueError(f"the archive has {len(entries)} files; at most {max_files} are allowed")
            _check_entries(entries)
            left = max_bytes
            files = []
            for entry in entries:
                with opened.open(entry) as stream:
                    content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise ValueError(f"the archive unpacks to more than {max_bytes} bytes")
                files.append(File(check_name(_name(entry)), content, _is_executable(entry)))
    except _DAMAGED as error:
        raise ValueError(f"the archive is not a readable ZIP file: {error}") from error
    return check_files(files, max_files=max_files, max_bytes=max_bytes)


def _name(entry: zipfile.ZipInfo) -> str:
    """Return the path of an entry; some programs on Windows write it with backslashes."""
    return entry.filename.replace("\\", "/")


def _is_executable(entry: zipfile.ZipInfo) -> bool:
    return bool(entry.external_attr >> 16 & 0o111)


def _check_directory_size(archive: bytes, max_files: int) -> None:
    """Refuse a directory of a million entries before zipfile makes an object of each."""
    end = archive.rfind(_END_OF_DIRECTORY, max(0, len(archive) - 65_557))
    if end < 0 or len(archive) < end + 22:
        raise ValueError("the archive is not a readable ZIP file: the end of its directory is missing")
    if archive[max(0, end - 20) : end].startswith(_ZIP64_LOCATOR):
        raise ValueError("ZIP64 archives are not supported")
    (directory_bytes,) = struct.unpack_from("<I", archive, end + 12)
    if directory_bytes > (max_files + 1) * _DIRECTORY_BYTES_PER_FILE:
        raise ValueError(f"the archive has too many entries; at most {max_files} files are allowed")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.flag_bits & 0x1:
            raise ValueError(f"{entry.filename!r} is encrypted")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            raise ValueError(f"{entry.filename!r} is a link or a special file")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError(f"{entry.filename!r} uses an unsupported compression method; use deflate")
        if entry.header_offset < end:
            raise ValueError(f"{entry.filename!r} overlaps another entry")
        end = entry.header_offset + entry.compress_size
