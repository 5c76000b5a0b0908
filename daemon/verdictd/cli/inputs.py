"""Files named on the command line become message bodies: a submission in JSON, or a bare source."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Extras:
    """What the command line adds to every bare source."""

    language: str | None = None
    stdin: Path | None = None
    expected_output: Path | None = None


def read_body(file: Path, extras: Extras) -> tuple[str, bytes]:
    """An id for the file, and the body of its message; raises OSError.

    A `.json` file is the body as it stands. Of any other the ending names the language.
    """
    submission_id = re.sub(r"[^A-Za-z0-9._:-]", "-", file.name)[:128]
    content = file.read_bytes()
    if file.suffix == ".json" and extras.language is None:
        return submission_id, content
    submission: dict[str, object] = {
        "id": submission_id,
        "language": extras.language or file.suffix.removeprefix(".") or file.name,
        "source_code": content.decode(errors="replace"),
    }
    if extras.stdin is not None:
        submission["stdin"] = _base64(extras.stdin)
    if extras.expected_output is not None:
        submission["expected_output"] = _base64(extras.expected_output)
    return submission_id, orjson.dumps(submission)


def _base64(file: Path) -> dict[str, str]:
    return {"base64": base64.b64encode(file.read_bytes()).decode("ascii")}
