"""Source files in the form in which the tools of a language take them."""

import codecs
from collections.abc import Iterable
from pathlib import PurePath

from verdictd.files import File
from verdictd.judging.languages import Language


def source_files(language: Language, source: bytes, additional: Iterable[File]) -> list[File]:
    """Return the source and the additional files; sources are cleaned if the language says so."""
    files = [File(language.source_file, source), *additional]
    if language.source_text == "as_sent":
        return files
    ending = PurePath(language.source_file).suffix
    return [
        File(file.name, _unix_text(file.content)) if PurePath(file.name).suffix == ending else file
        for file in files
    ]


def _unix_text(text: bytes) -> bytes:
    """Remove what editors on Windows add: a byte order mark, and the CR of CR LF."""
    return text.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
