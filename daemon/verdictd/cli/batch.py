"""Files named on the command line: read as submissions, judged here or by the daemons behind the queue."""

import asyncio
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from pydantic import ValidationError

from verdictd.amqp.following import Watch
from verdictd.amqp.requests import submit_all
from verdictd.cli.contents import check_size, read, text_or_base64
from verdictd.cli.live import LiveView
from verdictd.contract.codec import decode, peek_id
from verdictd.contract.events import Event, Observe
from verdictd.contract.result import Cause, Result
from verdictd.contract.submission import ID_PATTERN, submission_model
from verdictd.errors import DataUnavailable, InvalidSubmission, SandboxBroken
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.judging.verdicts import INVALID, internal_error
from verdictd.settings import Settings

Results = dict[int, Result]
"""Results by the position of their file on the command line, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Fields that the command line adds to every source file."""

    language: str | None = None
    stdin: Path | None = None
    expected_output: Path | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    """Fields as they are in a message: tests, limits, a checker."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, and the message body made from it."""

    name: str
    submission_id: str
    """The id of the submission, unless the body holds another."""
    body: bytes


def read_entries(files: Sequence[Path], extras: Extras, *, max_bytes: int) -> list[Entry]:
    """Read files; raise OSError for one that cannot be read, and UnusableFiles for one
    that has more than `max_bytes` with its tests.

    Files are named without their folders where that tells them apart.
    """
    short = len({file.name for file in files}) == len(files)
    entries = [_read(file, file.name if short else str(file), extras) for file in files]
    for entry in entries if extras.fields else ():
        check_size(entry.name, len(entry.body), max_bytes)
    return entries


def _read(file: Path, name: str, extras: Extras) -> Entry:
    """Take a `.json` file as it stands, and make a submission of a source file.

    The extension of a source file names its language.
    """
    submission_id = id_of(file.name)
    content = file.read_bytes()
    if file.suffix == ".json" and extras.language is None:
        return Entry(name, submission_id, content)
    submission: dict[str, object] = {
        "id": submission_id,
        "language": extras.language or file.suffix.removeprefix(".") or file.name,
        "source_code": text_or_base64(content),
        **extras.fields,
    }
    if extras.stdin is not None:
        submission["stdin"] = read(extras.stdin)
    if extras.expected_output is not None:
        submission["expected_output"] = read(extras.expected_output)
    return Entry(name, submission_id, orjson.dumps(submission))


def id_of(name: str) -> str:
    """Return a name as the id of a submission."""
    return re.sub(r"[^A-Za-z0-9._:-]", "-", name)[:128]


async def judge(settings: Settings, entries: Sequence[Entry], *, view: LiveView) -> Results:
    """Judge files on this host, without a broker, and return their results in the order of the files."""

    async def judge_one(host: Judgehost, at: int, entry: Entry) -> Result:
        result = await _judge(settings, host, entry, partial(view.step, at) if view.shown else None)
        view.result(at)
        return result

    async with open_judgehost(settings) as host:
        judging = [judge_one(host, at, entry) for at, entry in enumerate(entries)]
        return dict(enumerate(await asyncio.gather(*judging)))


async def _judge(settings: Settings, host: Judgehost, entry: Entry, observe: Observe | None) -> Result:
    try:
        submission = decode(entry.body, submission_model(settings.limits), message_id=entry.submission_id)
        return await host.judge.judge(host.admission.admit(submission), observe=observe)
    except InvalidSubmission as error:
        return host.judge.unjudged(peek_id(entry.body, entry.submission_id), INVALID, error.problems)
    except DataUnavailable as error:
        given_up = internal_error(f"{error}.", Cause.DATA)
        return host.judge.unjudged(peek_id(entry.body, entry.submission_id), given_up)
    except SandboxBroken as error:
        return host.judge.unjudged(peek_id(entry.body, entry.submission_id), internal_error(str(error)))


async def submit(
    settings: Settings,
    entries: Sequence[Entry],
    *,
    queue: str | None,
    timeout_s: float,
    view: LiveView,
) -> Results:
    """Publish files, and return the results that come in time, in the order in which they came.

    Without a `queue` the first one of the settings gets them.
    Raises BrokerUnavailable when the queue does not exist or the connection is lost.
    """
    results: Results = {}
    # Others may send files of the same names now: the events of ours are told by their correlation id.
    positions = {str(uuid.uuid4()): at for at in range(len(entries))}
    bodies = [entry.body for entry in entries]
    watch = None
    if view.shown:
        ids, bodies = asking_for_events(entries)
        watch = Watch(ids, partial(_show, view, positions))
    keyed = list(zip(positions, bodies, strict=True))
    try:
        replies = submit_all(settings.broker, keyed, queue=queue, timeout_s=timeout_s, watch=watch)
        async for key, reply in replies:
            results[positions[key]] = Result.model_validate_json(reply)
            view.result(positions[key])
    except TimeoutError:
        pass  # the caller sees which results are missing
    return results


def asking_for_events(entries: Sequence[Entry]) -> tuple[set[str], list[bytes]]:
    """Return the ids of submissions, and bodies that ask for events; one that is not valid stays as it is."""
    ids, bodies = set(), []
    for entry in entries:
        try:
            document = orjson.loads(entry.body)
        except orjson.JSONDecodeError:
            document = None
        fields: dict[str, object] = {}
        if isinstance(document, dict) and document:
            fields = {"events": True} if "events" not in document else {}
            submission_id = document.get("id") or fields.setdefault("id", str(uuid.uuid4()))
            if isinstance(submission_id, str) and re.fullmatch(ID_PATTERN, submission_id):
                ids.add(submission_id)
        bodies.append(_with_fields(entry.body, fields))
    return ids, bodies


def _with_fields(body: bytes, fields: Mapping[str, object]) -> bytes:
    """Return an object in JSON with more fields in front; those that follow override them."""
    if not fields:
        return body
    return orjson.dumps(fields)[:-1] + b"," + body.lstrip(b" \t\r\n")[1:]


def _show(view: LiveView, positions: Mapping[str, int], key: str, body: bytes) -> None:
    try:
        event = Event.model_validate_json(body)
    except ValidationError:  # of another version
        return
    if key in positions:
        view.step(positions[key], event)
