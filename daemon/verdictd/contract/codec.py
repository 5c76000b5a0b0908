"""Decode submissions and encode results: between the bytes of a message and its model."""

import base64
import re
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import orjson
from pydantic import ValidationError

from verdictd.contract.faulty import find_id, json_fault
from verdictd.contract.hints import unknown_field
from verdictd.contract.result import Encoding, Result
from verdictd.contract.submission import ID_PATTERN, Submission
from verdictd.contract.validation import INVALID_JSON, UNKNOWN, Location, pointer, reasons
from verdictd.errors import InvalidSubmission, Problem

_MAX_PROBLEMS = 20
_UTTERANCE_CHARACTERS = 60  # of JSON around its text
_MAX_TEXT = 200  # characters of a problem's message, and of a name in its path
MAX_VALUES = 65_536
"""Bound on the numbers, strings, lists, objects and other JSON values of a message."""
LARGE_BODY_BYTES = 16 * 1024
"""Bodies from this size are decoded in a thread: one of 60 KiB with a thousand tests takes 0.1 s."""
TEXTS = ("stdout", "stderr", "compile_output")
"""The fields of a result that hold the output of programs and compilers."""


def decode(body: bytes, model: type[Submission], *, message_id: str | None = None) -> Submission:
    """Return the submission in a message; raise InvalidSubmission with the first problems found."""
    if len(body) > model.limits.message_bytes:
        bound = model.limits.message_bytes
        message = f"the message has {len(body)} bytes; at most {bound} are allowed"
        raise InvalidSubmission([Problem("", message)])
    if not _is_small_to_parse(body):
        raise InvalidSubmission([Problem("", f"the message has more than {MAX_VALUES} JSON values")])
    try:
        submission = model.model_validate_json(body)
    except ValidationError as error:
        # Its cause would keep the whole message in memory.
        raise InvalidSubmission(_problems(error, body, model)) from None
    if message_id is None or "id" in submission.model_fields_set:
        return submission
    if not re.fullmatch(ID_PATTERN, message_id):
        message = f"the message_id is used as the id and must match {ID_PATTERN}"
        raise InvalidSubmission([Problem("/id", message)])
    return submission.model_copy(update={"id": message_id})


def _is_small_to_parse(body: bytes) -> bool:
    """Count the values of a message before each of millions becomes an object, and an error of 1 KiB.

    Separators are counted outside strings; this takes as long as a few copies of the body.
    """
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * MAX_VALUES:  # a value and its key have at most four
        return False
    outside = b"".join(bare.split(b'"')[::2])
    return sum(outside.count(separator) for separator in (b",", b"[", b"{")) <= MAX_VALUES


def _problems(error: ValidationError, body: bytes, model: type[Submission]) -> list[Problem]:
    problems = []
    for location, reason in islice(reasons(error), _MAX_PROBLEMS):
        if reason.startswith(INVALID_JSON):
            return [_json_problem(reason, body)]
        if reason == UNKNOWN and len(location) == 1:
            problems.append(_problem(location, unknown_field(str(location[0]), model.model_fields)))
        else:
            problems.append(_problem(location, reason))
    if error.error_count() > _MAX_PROBLEMS:
        problems.append(Problem("", f"and {error.error_count() - _MAX_PROBLEMS} more problems"))
    return problems


def _problem(location: Location, reason: str) -> Problem:
    return Problem(pointer(location, _MAX_TEXT), reason[:_MAX_TEXT])


def _json_problem(said: str, body: bytes) -> Problem:
    location, reason = json_fault(body)
    return _problem(location, f"{INVALID_JSON}{reason}" if reason else said)


def peek_id(body: bytes, message_id: str | None) -> str:
    """Return the id under which an invalid message is answered: its own if that is valid, else a new one."""
    own = find_id(body) if _is_small_to_parse(body) else None
    number = str(own) if type(own) is int else None  # invalid, but its sender knows it
    for known in (own, message_id, number):
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
    """Return the result as JSON of at most `max_bytes`; what is longest is cut and marked until it fits.

    Files are cut first, then transcripts, then texts. Everything else is small: `decode` and `Limits`
    bound it.
    """
    document = result.model_dump(mode="json")
    outcomes = [document, *document["tests"]]
    files = [_Cut(file, "content", "truncated") for outcome in outcomes for file in outcome["files"]]
    texts = [
        _Cut(outcome, name, f"{name}_truncated") for outcome in outcomes for name in TEXTS if name in outcome
    ]
    transcripts = [_CutTranscript(outcome) for outcome in outcomes]
    for long in (*files, *texts):  # before it is copied into JSON
        long.to(max_bytes)
    body = orjson.dumps(document)
    kinds: tuple[Sequence[_Cut | _CutTranscript], ...] = (files, transcripts, texts)
    for cuts in kinds:
        while (excess := len(body) - max_bytes) > 0 and any(lengths := [cut.length for cut in cuts]):
            # Each character saves at least one byte, and up to six if it is escaped.
            share = fair_share(lengths, max(sum(lengths) - excess, sum(lengths) // 2))
            for cut in cuts:
                cut.to(share)
            body = orjson.dumps(document)
    return body


@dataclass(frozen=True, slots=True)
class _Cut:
    """A text in a document, which may be cut."""

    holder: dict[str, Any]
    name: str
    mark: str

    @property
    def length(self) -> int:
        return len(self.holder[self.name])

    def to(self, length: int) -> None:
        if self.length > length:
            # base64 can still be decoded if it is cut at a multiple of four.
            self.holder.update({self.name: self.holder[self.name][: length // 4 * 4], self.mark: True})


@dataclass(frozen=True, slots=True)
class _CutTranscript:
    """A transcript in a document, of which the end may be dropped."""

    outcome: dict[str, Any]

    @property
    def length(self) -> int:
        return sum(map(_length, self.outcome["transcript"]))

    def to(self, length: int) -> None:
        said = self.outcome["transcript"]
        left = list(accumulate(map(_length, said), initial=0))
        kept = bisect_right(left, length) - 1
        if kept < len(said):
            self.outcome.update({"transcript": said[:kept], "transcript_truncated": True})


def _length(utterance: dict[str, Any]) -> int:
    return len(utterance["text"]) + _UTTERANCE_CHARACTERS


def fair_share(sizes: Sequence[int], total: int) -> int:
    """Return the size to which the largest have to be cut, so that all together are at most `total`."""
    left = max(total, 0)
    for rank, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - rank)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def as_duplicate(body: bytes) -> bytes:
    """Return an encoded result, marked as a repetition of one that was sent before."""
    return orjson.dumps(orjson.loads(body) | {"duplicate": True})
