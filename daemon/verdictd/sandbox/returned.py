"""Files that are taken out of a box after a run. What cannot be read is said, and fails nothing."""

import os
import re
from collections.abc import Iterator

from verdictd.sandbox.files import UnusableFile, matching, open_regular, read
from verdictd.sandbox.model import TakenFile, Wanted

_SPECIAL = re.compile(r"[*?\[]")


def take_wanted(directory: int, wanted: Wanted) -> tuple[TakenFile | None, tuple[TakenFile, ...]]:
    """Read the file in place of standard output, and the others, each once, in the order of the patterns."""
    output = None if wanted.file is None else _take(directory, wanted.file, wanted.file_bytes)
    return output, _take_matching(directory, wanted)


def _take_matching(directory: int, wanted: Wanted) -> tuple[TakenFile, ...]:
    taken: dict[str, TakenFile] = {}
    left = wanted.max_bytes
    for name, problem in _names(directory, wanted):
        if name in taken:
            continue
        if len(taken) == wanted.max_files:
            bound = f"is not returned, as a result can have {wanted.max_files} files"
            return (*taken.values(), TakenFile(name, problem=bound))
        taken[name] = TakenFile(name, problem=problem) if problem else _take(directory, name, left)
        left -= len(taken[name].content)
    return tuple(taken.values())


def _names(directory: int, wanted: Wanted) -> Iterator[tuple[str, str | None]]:
    """Yield the names of files, and the patterns without any, with the reason."""
    for pattern in wanted.patterns:
        if not _SPECIAL.search(pattern):
            yield pattern, None
            continue
        try:
            names = matching(directory, [pattern])
        except UnusableFile as error:
            yield pattern, f"cannot be looked for: {error}"
            continue
        yield from ((name, None) for name in names)
        if not names:
            yield pattern, "matches no file"


def _take(directory: int, name: str, max_bytes: int) -> TakenFile:
    try:
        with open_regular(directory, name) as fd:
            content = read(fd, max_bytes)
            return TakenFile(name, content, truncated=os.fstat(fd).st_size > len(content))
    except UnusableFile:
        return TakenFile(name, problem="is missing, or not a regular file that can be read")
