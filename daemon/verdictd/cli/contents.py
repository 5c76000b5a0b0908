"""Content of files as a message holds it, with errors for files that make no submission."""

import base64
import hashlib
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from verdictd.cli.words import memory_words
from verdictd.errors import VerdictdError

_NAMED = 10  # of the files in a message


class UnusableFiles(VerdictdError):
    """Files on the command line that make no submission: say why, and exit with 1."""


def text_or_base64(content: bytes) -> str | dict[str, str]:
    """Return UTF-8 text as it is, and other bytes in base64."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def read(file: Path) -> str | dict[str, str]:
    """Return the content of a file; raises OSError."""
    return text_or_base64(file.read_bytes())


def check_size(name: str, size: int, bound: int, hint: str = "") -> None:
    """Raise UnusableFiles if a message of this size would be refused; `name` says what would be in it."""
    if size > bound:
        found, most = memory_words(-(-size // 1_024)), memory_words(bound // 1_024)
        raise UnusableFiles(
            f"{name}: {found} together; a message may have {most} (limits.message_bytes){hint}"
        )


def total_bytes(files: Iterable[Path]) -> int:
    """Return the size of all files, without reading them."""
    return sum(file.stat().st_size for file in files)


@dataclass(frozen=True, slots=True)
class TestData:
    """Way in which the files of tests get into a message of at most `max_bytes`.

    With a `place` they are named and not sent: a URL, or a folder in the judge boxes' `data.directory`, that
    has the same files.
    """

    __test__: ClassVar[bool] = False  # nothing that pytest could collect

    max_bytes: int
    place: str | None = None

    def check(self, name: str, files: Iterable[Path]) -> None:
        """Raise UnusableFiles if the files have no room in a message."""
        if self.place is None:
            check_size(name, total_bytes(files), self.max_bytes, "; submit --data-at names files instead")

    def of(self, directory: Path, name: str) -> str | dict[str, str]:
        """Return the content of a file, or the reference to it by its name at the place. Raises OSError."""
        file = directory / name
        if self.place is None:
            return read(file)
        if "://" not in self.place:
            return {"file": posixpath.normpath(f"{self.place}/{_without_links(directory, name)}")}
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return {"sha256": digest, "url": f"{self.place.rstrip('/')}/{quote(name)}"}


def _without_links(directory: Path, name: str) -> str:
    """Return the name of what a link stands for, as none is followed below `data.directory`."""
    root, target = directory.resolve(), (directory / name).resolve()
    if not target.is_relative_to(root):
        raise UnusableFiles(f"{directory / name}: a link to {target}, outside of {root}")
    return target.relative_to(root).as_posix()


def in_natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts names as people count: 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    numbers = [(len(part), part) for part in (digits.lstrip("0") for digits in parts[1::2])]
    texts = [(0, part) for part in parts[::2]]
    return [part for pair in zip_longest(texts, numbers) for part in pair if part is not None], name


def names_of_tests(names: Sequence[str]) -> list[str]:
    """Return a name for each test: the characters that names may have, 64 at most, each name once."""
    plain = [re.sub(r"[^A-Za-z0-9 ._-]", "-", name) for name in names]
    if len({name[:64] for name in plain}) == len(plain):
        return [name[:64] for name in plain]
    return [f"{number}-{name}"[:64] for number, name in enumerate(plain, start=1)]


def listed(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(islice(names, _NAMED)) + more
