"""Hint at the field that was meant by an unknown one: a slip, another spelling, the word of another judge."""

import re
from collections.abc import Collection
from difflib import get_close_matches

_MAX_LENGTH = 64
_LEAST_LIKENESS = 0.8
_OTHER_WORDS = {
    "args": "command_line_arguments",
    "arguments": "command_line_arguments",
    "callback": "callback_url",
    "code": "source_code",
    "comparison": "checker",
    "compilerid": "language",
    "expected": "expected_output",
    "files": "additional_files",
    "input": "stdin",
    "lang": "language",
    "languageid": "language",
    "memory": "memory_limit",
    "output": "expected_output",
    "program": "source_code",
    "script": "source_code",
    "source": "source_code",
    "src": "source_code",
    "timelimit": "cpu_time_limit",
    "timeout": "wall_time_limit",
    "webhook": "callback_url",
}


def unknown_field(name: str, known: Collection[str]) -> str:
    """Return the reason why a field is refused, with the known one that its sender may mean."""
    if len(name) > _MAX_LENGTH:
        return "unknown field"
    by_letters = {_letters(field): field for field in known}
    spelled = _letters(name)
    meant = by_letters.get(spelled) or _OTHER_WORDS.get(spelled)
    if meant is None:
        close = get_close_matches(spelled, by_letters, n=1, cutoff=_LEAST_LIKENESS)
        meant = by_letters[close[0]] if close else None
    if meant is None:
        return "unknown field"
    example = ', a name such as "python"' if meant == "language" else ""
    return f'unknown field; did you mean "{meant}"{example}?'


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
