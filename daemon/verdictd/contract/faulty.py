"""Second look at a message that is not a submission: its id, and the field that makes it invalid JSON.

Reads what a person can read: beside NaN, lone surrogates, byte order marks, other encodings, cut ends.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from verdictd.contract.validation import Location

_MAX_TOKENS = 524_288
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)


def find_id(body: bytes) -> object:
    """Return the last `id` of the outermost object; None if there is none."""
    found = "null"
    for key, value in _fields(_text(body)):
        if key == "id":
            found = value.group()
    with suppress(ValueError):
        return json.loads(found)
    return None


def json_fault(body: bytes) -> tuple[Location, str | None]:
    """Return the place of what makes a message invalid JSON, and the reason where it is a common one."""
    text = _text(body)
    encoding = json.detect_encoding(body)
    if encoding == "utf-8-sig":
        return (), "it begins with a byte order mark; send UTF-8 without one"
    if encoding != "utf-8":
        return (), f"it is encoded in {encoding.upper()}; send UTF-8"
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        return _field_at(text, error.pos), None
    except (ValueError, RecursionError):  # a number of too many digits; too many levels
        return (), None
    return _odd_text(document)


def _text(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), errors="replace")


def _fields(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each key of the outermost object, with the first token of its value."""
    depth = 0
    key = colon = ""
    for match in islice(_TOKEN.finditer(text), _MAX_TOKENS):
        token = match.group()
        if depth == 1 and colon == ":" and key.startswith('"'):
            yield key[1:-1], match
        if token in {"{", "["}:
            depth += 1
        elif token in {"}", "]"}:
            depth -= 1
            if depth <= 0:
                return
        key, colon = colon, token


def _field_at(text: str, position: int) -> Location:
    found: Location = ()
    for key, value in _fields(text):
        if value.start() > position:
            break
        found = (key,)
    return found


def _odd_text(document: object) -> tuple[Location, str | None]:
    for location, value in walk(document):
        if isinstance(value, str):
            if any("\ud800" <= character <= "\udfff" for character in value):
                return location, "a lone surrogate (\\ud800 to \\udfff) is not a character"
            if "\ufffd" in value:
                return location, "its bytes are not UTF-8"
    return (), None


def walk(value: object, location: Location = ()) -> Iterator[tuple[Location, object]]:
    """Yield each key, and each value that is neither an object nor a list, with its place."""
    waiting: list[tuple[Location, object]] = [(location, value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, dict):
            waiting.extend(((*place, str(key)), inner) for key, inner in reversed(found.items()))
            waiting.extend((place, key) for key in reversed(found))
        elif isinstance(found, list):
            waiting.extend(((*place, number), found[number]) for number in reversed(range(len(found))))
        else:
            yield place, found
