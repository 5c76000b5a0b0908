"""Control messages: what is taken, and what is ignored and why."""

import json
from typing import Any

import pytest

from verdictd.contract.control import ControlMessage, InvalidControl, Taken, decode_control, encode_control

TAKEN = {"key": "k", "id": "s-1", "body_sha256": "0" * 64, "published_ms": 1, "taken_ms": 2}


def supersede(**fields: Any) -> bytes:
    return json.dumps({"supersede": TAKEN | fields}).encode()


@pytest.mark.parametrize(
    "message",
    [
        ControlMessage(cancel="s-1"),
        ControlMessage(supersede=Taken.model_validate(TAKEN)),
        ControlMessage(mark="m"),
    ],
)
def test_message_is_read_as_it_was_written(message: ControlMessage) -> None:
    """With its own field alone."""
    body = encode_control(message)

    assert 1 == len(json.loads(body))
    assert message == decode_control(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"[]", "must be an object"),
        (b"{}", "must have one field: cancel, supersede, mark"),
        (b'{"cancel": "a", "mark": "b"}', "must have one field"),
        (b'{"cancel": null}', "must have one field"),
        (b'{"cancel": 7}', "/cancel must be a string"),
        (b'{"cancel": "../x"}', "/cancel must match pattern"),
        (b'{"cancel": ""}', "/cancel must match pattern"),
        (b'{"stop": "a"}', "/stop unknown field"),
        (supersede(published_ms=-1), "/supersede/published_ms must be"),
        (supersede(body_sha256="0"), "/supersede/body_sha256 must match"),
        (supersede(priority=1), "/supersede/priority unknown field"),
        (b'{"cancel": "' + b"a" * 5_000 + b'"}', "the message has 5014 bytes; at most 4096 are allowed"),
    ],
)
def test_other_message_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """Anybody may publish anything there."""
    with pytest.raises(InvalidControl) as refused:
        decode_control(body)

    assert str(refused.value).startswith(reason)
    assert len(str(refused.value)) < 500
