"""Submissions in a test: how they are written, and what is found wrong with them."""

import json
from typing import Any

from verdictd.contract.codec import decode
from verdictd.contract.limits import MIB, Limits
from verdictd.contract.submission import Submission, submission_model
from verdictd.errors import InvalidSubmission, Problem

MODEL = submission_model(Limits(message_bytes=64 * MIB))
"""The default bounds, but for that on the whole message, which would hide those on large fields."""
MINIMAL = {"language": "python", "source_code": "print(42)"}
PROTOTYPE_SAMPLE = rb"""{"source_code": "print(\"hello world\")", "language": "py", "stdin": "",
    "expected_output": "hello world", "cpu_time_limit": 1, "memory_limit": 1000000,
    "redirect_stderr_to_stdout": true, "enable_network": false}"""
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def body(**fields: Any) -> bytes:
    """A submission that is minimal but for these fields."""
    return json.dumps(MINIMAL | fields).encode()


def raw(name: str, value: str) -> bytes:
    """A submission with a field as it is written here, which Python may not be able to write."""
    return f'{{"language": "python", "source_code": "", "{name}": {value}}}'.encode()


def take(**fields: Any) -> Submission:
    """What such a submission is decoded to."""
    return decode(body(**fields), MODEL)


def problems(sent: bytes, *, model: type[Submission] = MODEL, message_id: str | None = None) -> list[Problem]:
    """What is wrong with a message; empty where it is taken."""
    try:
        decode(sent, model, message_id=message_id)
    except InvalidSubmission as error:
        return error.problems
    return []


def problem(sent: bytes) -> Problem:
    """The one thing wrong with a message."""
    (found,) = problems(sent)
    return found
