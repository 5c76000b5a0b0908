"""ZIP archives as no tool writes them."""

import base64
import io
import stat
import struct
import warnings
import zipfile


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of these files, names as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is written twice
        for name, content in entries:
            opened.writestr(name, content, compress_type=method)
    return buffer.getvalue()


def linked(target: str, *, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    """The entry of a link, or of a special file."""
    entry = zipfile.ZipInfo("link")
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    entry.comment = target.encode()
    return entry


def directory_entry(name: bytes = b"a", *, offset: int = 0, extra: bytes = b"") -> bytes:
    """One record of a ZIP directory, written by hand."""
    fields = struct.pack("<6H3I5H2I", 20, 45, 0, 0, 0, 0, 0, 0, 0, len(name), len(extra), 0, 0, 0, 0, offset)
    return b"PK\1\2" + fields + name + extra


def end_of_directory(size: int, *, offset: int = 0) -> bytes:
    """The record that ends an archive."""
    return b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, size, offset, 0)


def overlapping() -> bytes:
    """Two entries with one compressed part."""
    packed = archive(("a", b"content"))
    directory = packed.rindex(b"PK\1\2")
    first = packed[directory : packed.rindex(b"PK\5\6")]
    twice = packed[:directory] + first + first.replace(b"a", b"b")
    return twice + end_of_directory(2 * len(first), offset=directory)


def encrypted() -> bytes:
    """An entry that asks for a password."""
    packed = bytearray(archive(("a", b"content")))
    packed[packed.rindex(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def lying() -> bytes:
    """An entry that says that it is smaller than it is."""
    packed = archive(("a", bytes(500)))
    directory = packed.rindex(b"PK\1\2")
    return packed[: directory + 24] + struct.pack("<I", 10) + packed[directory + 28 :]


def damaged() -> bytes:
    """An entry whose checksum is wrong."""
    return archive(("a", b"content"), method=zipfile.ZIP_STORED).replace(b"content", b"c0ntent")


def commented(packed: bytes, comment: bytes) -> bytes:
    """The same archive with a comment."""
    return packed[:-2] + struct.pack("<H", len(comment)) + comment


def text(packed: bytes) -> str:
    """An archive as a submission has it."""
    return base64.b64encode(packed).decode()
