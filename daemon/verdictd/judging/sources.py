"""Source files of a program: their names, and those that the compiler is to be given."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from posixpath import splitext

from verdictd.files import File
from verdictd.judging.languages import Language

# Comments and literals of Java, Kotlin, C#, C++ and their relatives, which may contain anything.
_OPAQUE = re.compile(
    r"""
    //[^\n]* | /\*.*?(?:\*/|\Z)
    | \"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)
    | \"(?:\\.|[^"\\\n])*(?:"|$)
    | '(?:\\.|[^'\\\n])*(?:'|$)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_BRACKETS = re.compile(r"[{}()]")
_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Program:
    """A program to compile: its language, its source, the files beside it, and options for the compiler."""

    language: Language
    source_code: bytes
    files: Sequence[File] = ()
    options: Sequence[str] = ()
    entry_point: str | None = None
    """Name of the file, or of the class, that is the main one; None: the source is."""

    @property
    def size_bytes(self) -> int:
        """Size of the source and the files."""
        return len(self.source_code) + sum(len(file.content) for file in self.files)


def source_name(language: Language, content: bytes) -> str:
    """Return the file name that this source must have, for example that of its public class."""
    default = language.source_file
    if language.source_name is None:
        return default
    found = language.source_name.search(top_level(content))
    name = f"{found[1]}{_suffix(default)}" if found and found[1] else default
    return name if "/" not in name and len(name.encode()) <= _MAX_NAME_BYTES else default


def entry_file(program: Program, source: str) -> str:
    """Return the name of the main file; `source` is the name of the submitted one."""
    return program.entry_point or source if program.language.entry_point == "file" else source


def is_source(language: Language, name: str) -> bool:
    """Return whether a file of this name is a source, and neither a header nor data."""
    extensions = language.source_extensions or (language.file_extension,)
    return _suffix(name).removeprefix(".") in extensions


def source_files(language: Language, files: Sequence[File], main: str) -> list[str]:
    """Return the names of the files to compile, the main one first: `files` without headers and data.

    The first of them is the submitted source. A file that another one includes is compiled as a part of it.
    """
    submitted, *others = files
    candidates = [submitted, *(file for file in others if is_source(language, file.name))]
    included: set[str] = set()
    if language.included_sources is not None:
        for file in files:
            text = file.content.decode(errors="replace")
            included |= {_last(name) for name in language.included_sources.findall(text)}
    names = [file.name for file in candidates if _last(file.name) not in included]
    return [main, *(name for name in names if name != main)]


def cleaned(language: Language, files: Sequence[File]) -> list[File]:
    """Return the files; the sources among them lose what editors on Windows add, if the language says so."""
    if language.source_text == "as_sent":
        return list(files)
    ending = _suffix(language.source_file)
    return [
        replace(file, content=_unix_text(file.content)) if _suffix(file.name) == ending else file
        for file in files
    ]


def top_level(content: bytes) -> str:
    """Return the text of a source outside of comments, literals, braces and parentheses.

    It holds the declarations of a file in the syntax of C and its relatives.
    """
    text = _OPAQUE.sub(" ", content.decode(errors="replace"))
    kept: list[str] = []
    depth = start = 0
    for bracket in _BRACKETS.finditer(text):
        outer, depth = depth, depth + 1 if bracket[0] in "{(" else max(0, depth - 1)
        if outer == 0:
            kept.append(text[start : bracket.end()])
            start = bracket.end()
        elif depth == 0:
            start = bracket.start()
    if depth == 0:
        kept.append(text[start:])
    return "".join(kept)


def _suffix(name: str) -> str:
    return splitext(name)[1]


def _unix_text(text: bytes) -> bytes:
    """Remove the byte order mark, and the CR of CR LF."""
    return text.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")


def _last(name: str) -> str:
    """Return the last part of a path, which alone is compared: compilers search several directories."""
    return name.replace("\\", "/").rpartition("/")[2]
