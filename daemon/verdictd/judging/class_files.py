"""Class files of Java and its relatives: find the class whose main method starts the program.

The files come out of a box: nothing in them is trusted, and one that makes no sense has no main method.
"""

import contextlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import PurePosixPath

from verdictd.contract.archives import opened
from verdictd.files import File

_MAGIC = 0xCAFEBABE
_PRIVATE = 0x0002
_PUBLIC_STATIC = 0x0009
_WITH_ARGUMENTS = "([Ljava/lang/String;)V"
_WITHOUT_ARGUMENTS = "()V"
# Bytes after the tag of each kind of constant; text has a length of its own.
_CONSTANT_BYTES = (
    dict.fromkeys((7, 8, 16, 19, 20), 2)
    | {15: 3}
    | dict.fromkeys((3, 4, 9, 10, 11, 12, 17, 18), 4)
    | dict.fromkeys((5, 6), 8)
)
_TEXT, _LONG, _DOUBLE = 1, 5, 6  # a long or a double takes two places
_WORD = re.compile(r"[\w$]+")
# Of a jar; the runtime that kotlinc adds has two thousand classes.
_JAR_FILES, _JAR_BYTES = 20_000, 64 * 1024 * 1024
_RUNTIME = ("META-INF/", "kotlin/")


class Main(IntEnum):
    """Main method of a class: the usual one, one that only newer releases of Java start, or none."""

    USUAL = 0
    UNUSUAL = 1
    NONE = 2


def find_main_class(files: Iterable[File], *, source: str, declarations: str) -> str | None:
    """Return the name of the class to run, or None if no class has a main method.

    Of several, the one named after the main source file comes first, then the order of `declarations`, the
    text of that source.
    """
    stem = PurePosixPath(source).stem
    names = {stem, f"{stem[:1].upper()}{stem[1:]}Kt"}  # kotlinc puts the functions of main.kt into MainKt
    positions: dict[str, int] = {}
    for word in _WORD.finditer(declarations):
        positions.setdefault(word[0], word.start())

    def rank(candidate: tuple[Main, str]) -> tuple[Main, bool, int, str]:
        main, name = candidate
        simple_name = name.rpartition("/")[2]
        return main, simple_name not in names, positions.get(simple_name, len(declarations)), name

    candidates = ((main_method(file.content), file.name.removesuffix(".class")) for file in _unpacked(files))
    usable = [(main, name) for main, name in candidates if main is not Main.NONE and _is_operand(name)]
    return min(usable, key=rank)[1].replace("/", ".") if usable else None


def has_main_method(files: Iterable[File], class_name: str) -> bool:
    """Return whether the file of this class has a main method."""
    file_name = f"{class_name.replace('.', '/')}.class"
    return any(file.name == file_name and main_method(file.content) is not Main.NONE for file in files)


def _unpacked(files: Iterable[File]) -> Iterator[File]:
    """Yield the files, and the classes in jars."""
    for file in files:
        if file.name.endswith(".jar"):
            with contextlib.suppress(ValueError):
                yield from _classes(file.content)
        else:
            yield file


def _classes(jar: bytes) -> Iterator[File]:
    """Yield the class files of a jar, but for those of the runtime."""
    left = _JAR_BYTES
    with opened(jar, max_files=_JAR_FILES) as found:
        for entry in found.infolist():
            if entry.filename.endswith(".class") and not entry.filename.startswith(_RUNTIME):
                with found.open(entry) as stream:
                    content = stream.read(left)
                left -= len(content)
                yield File(entry.filename, content)


def main_method(content: bytes) -> Main:
    """Return the main method of a class file."""
    try:
        return min(map(_kind, _methods(_Reader(content))), default=Main.NONE)
    except (struct.error, IndexError, KeyError):
        return Main.NONE


@dataclass(slots=True)
class _Reader:
    content: bytes
    at: int = 0

    def take(self, kind: str) -> int:
        """Read one big-endian number."""
        (value,) = struct.unpack_from(f">{kind}", self.content, self.at)
        self.at += struct.calcsize(kind)
        return int(value)

    def skip(self, size: int) -> bytes:
        """Read some bytes."""
        self.at += size
        return self.content[self.at - size : self.at]


def _methods(reader: _Reader) -> list[tuple[int, str, str]]:
    """Return access flags, name and descriptor of each method."""
    if reader.take("I") != _MAGIC:
        return []
    reader.skip(4)  # versions
    texts = _texts(reader)
    reader.skip(6)  # access flags, this class, super class
    reader.skip(2 * reader.take("H"))  # interfaces
    _members(reader, texts)  # fields
    return _members(reader, texts)


def _texts(reader: _Reader) -> dict[int, str]:
    """Read the constants, and return the texts among them by their index."""
    texts: dict[int, str] = {}
    count = reader.take("H")
    index = 1
    while index < count:
        tag = reader.take("B")
        if tag == _TEXT:
            texts[index] = reader.skip(reader.take("H")).decode(errors="replace")
        else:
            reader.skip(_CONSTANT_BYTES[tag])
        index += 2 if tag in {_LONG, _DOUBLE} else 1
    return texts


def _members(reader: _Reader, texts: dict[int, str]) -> list[tuple[int, str, str]]:
    members = []
    for _ in range(reader.take("H")):
        flags, name, descriptor = reader.take("H"), texts[reader.take("H")], texts[reader.take("H")]
        for _ in range(reader.take("H")):
            reader.skip(2)  # name of the attribute
            reader.skip(reader.take("I"))
        members.append((flags, name, descriptor))
    return members


def _kind(method: tuple[int, str, str]) -> Main:
    flags, name, descriptor = method
    if name != "main" or descriptor not in {_WITH_ARGUMENTS, _WITHOUT_ARGUMENTS} or flags & _PRIVATE:
        return Main.NONE
    usual = descriptor == _WITH_ARGUMENTS and flags & _PUBLIC_STATIC == _PUBLIC_STATIC
    return Main.USUAL if usual else Main.UNUSUAL


def _is_operand(name: str) -> bool:
    """Return whether Java takes this name for a class, not for an option or a list of options."""
    return not name.startswith(("-", "@"))
