"""Sources as editors on Windows write them, and the files that are left alone."""

import pytest

from verdictd.files import File
from verdictd.judging.languages import Language
from verdictd.judging.sources import cleaned

MARK = b"\xef\xbb\xbf"


def files(source_text: str) -> dict[str, bytes]:
    """Return a source and files beside it, as they are placed in a box."""
    language = Language(
        name="script",
        source_file="main.sh",
        run_cmd=("/bin/sh", "main.sh"),
        source_text=source_text,  # type: ignore[arg-type]
    )
    content = MARK + b"a\r\nb\rc\n" + MARK
    additional = [File(name, content) for name in ("lib/more.sh", "data.txt", "sh")]
    return {file.name: file.content for file in cleaned(language, [File("main.sh", content), *additional])}


def test_sources_are_cleaned_where_the_language_says_so() -> None:
    """Only a mark at the start and the CR of CR LF go, and only in files with the source's ending."""
    sent, kept = MARK + b"a\r\nb\rc\n" + MARK, b"a\nb\rc\n" + MARK

    assert {"main.sh": kept, "lib/more.sh": kept, "data.txt": sent, "sh": sent} == files("unix")


def test_sources_stay_as_they_were_sent_otherwise() -> None:
    """Most compilers and interpreters take both."""
    assert {MARK + b"a\r\nb\rc\n" + MARK} == set(files("as_sent").values())


def test_other_values_are_refused() -> None:
    """A typing error in a languages file is told."""
    with pytest.raises(ValueError, match="source_text"):
        files("windows")
