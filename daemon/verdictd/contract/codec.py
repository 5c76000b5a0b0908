"""Between the bytes of a message and the models of the wire contract."""

import base64
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from verdictd.contract.result import Encoding, Result
from verdictd.contract.submission import ID_PATTERN, Submission
from verdictd.errors import InvalidSubmission, Problem

_MAX_PROBLEMS = 20
_MAX_TEXT = 200  # characters of a problem's message, and of a name in its path
MAX_VALUES = 65_536
"""Numbers, strings, lists, objects and so on in a message."""
TEXTS = ("stdout", "stderr", "compile_output")
"""The fields of a result that carry what programs and compilers wrote."""


def decode(body: bytes, model: type[Submission], *, message_id: str | None = None) -> Submission:
    """The submission in a message; raises InvalidSubmission with the first problems found."""
    if len(body) > model.limits.message_bytes:
        bound = model.limits.message_bytes
        raise InvalidSubmission(
            [Problem("", f"the message has {len(body)} bytes, at most {bound} are taken")]
        )
    if not _is_small_to_parse(body):
        raise InvalidSubmission([Problem("", f"the message has more than {MAX_VALUES} values")])
    try:
        submission = model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidSubmission(_problems(error)) from None  # it holds the whole message
    if message_id is None or "id" in submission.model_fields_set:
        return submission
    if not re.fullmatch(ID_PATTERN, message_id):
        raise InvalidSubmission([Problem("/id", f"the message_id, used as the id, must match {ID_PATTERN}")])
    return submission.model_copy(update={"id": message_id})


def _is_small_to_parse(body: bytes) -> bool:
    """Count values before a parser makes an object, and pydantic an error of 1 KiB, of each of millions.

    What separates values is counted outside strings, at the speed of a few copies of the body.
    """
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * MAX_VALUES:  # a value and its key have four at most
        return False
    outside = b"".join(bare.split(b'"')[::2])
    return sum(outside.count(separator) for separator in (b",", b"[", b"{")) <= MAX_VALUES


def _problems(error: ValidationError) -> list[Problem]:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [Problem(_pointer(entry["loc"]), _reason(entry)) for entry in errors[:_MAX_PROBLEMS]]
    if len(errors) > _MAX_PROBLEMS:
        problems.append(Problem("", f"and {len(errors) - _MAX_PROBLEMS} problems more"))
    return problems


def _reason(entry: ErrorDetails) -> str:
    if entry["type"] == "extra_forbidden":
        return "unknown field"
    return entry["msg"].removeprefix("Value error, ")[:_MAX_TEXT]


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer; an unknown field may have a name of megabytes."""
    parts = (str(part)[:_MAX_TEXT].replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(f"/{part}" for part in parts)


def peek_id(body: bytes, message_id: str | None) -> str:
    """The id that an invalid message is answered under: its own where it has a usable one, else a new one."""
    candidate: object = None
    if _is_small_to_parse(body):
        with suppress(orjson.JSONDecodeError):
            document = orjson.loads(body)
            candidate = document.get("id") if isinstance(document, dict) else None
    for known in (candidate, message_id):
        if isinstance(known, str) and re.fullmatch(ID_PATTERN, known):
            return known
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Text:
    """Captured bytes as a result carries them: `text` is base64 if `encoding` says so."""

    text: str = ""
    encoding: Encoding = "utf-8"
    truncated: bool = False


def to_text(data: bytes, *, truncated: bool) -> Text:
    """Return captured bytes as text, or in base64 if they are not UTF-8.

    Bytes that were cut may end within a character: that character is dropped, and the rest is text.
    """
    try:
        return Text(data.decode(), "utf-8", truncated)
    except UnicodeDecodeError as error:
        if truncated and error.reason == "unexpected end of data":
            return Text(data[: error.start].decode(), "utf-8", truncated)
        return Text(base64.b64encode(data).decode("ascii"), "base64", truncated)


def encode(result: Result, max_bytes: int) -> bytes:
    """The result as JSON of at most `max_bytes`: its longest text is cut, and marked so, until it fits.

    What cannot be cut is small: `decode` and `Limits` bound it.
    """
    for name in TEXTS:
        result = _cut(result, name, max_bytes)
    while (excess := len(body := orjson.dumps(result.model_dump(mode="json"))) - max_bytes) > 0:
        longest = max(TEXTS, key=lambda name: len(getattr(result, name)))
        length = len(getattr(result, longest))
        if not length:
            break
        # Each character that goes saves a byte or more; what is escaped saves up to six.
        result = _cut(result, longest, max(length - excess, length // 2))
    return body


def as_duplicate(body: bytes) -> bytes:
    """An encoded result, marked as one that was sent before."""
    return orjson.dumps(orjson.loads(body) | {"duplicate": True})


def _cut(result: Result, name: str, length: int) -> Result:
    text = getattr(result, name)
    if len(text) <= length:
        return result
    # base64 stays decodable when cut at a multiple of four.
    return result.model_copy(update={name: text[: length // 4 * 4], f"{name}_truncated": True})
