"""Control messages: said to all daemons about submissions, wherever these are."""

from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError, model_validator

from verdictd.contract.submission import ID_PATTERN
from verdictd.contract.validation import Wire, pointer, reasons

CONTROL_TYPE = "verdictd.control.v1"
_MAX_BYTES = 4_096
_MAX_TEXT = 200  # characters of a reason, which has the names of unknown fields

Milliseconds = Annotated[int, Field(ge=0, lt=2**63)]


class InvalidControl(ValueError):
    """The message says nothing that a daemon knows: log and count it, and go on."""


class Taken(Wire):
    """A submission with a `supersede_key` that a daemon has taken. Its times decide if it is the newest."""

    key: str = Field(pattern=ID_PATTERN, description="Its supersede_key.")
    id: str = Field(pattern=ID_PATTERN, description="Its id.")
    body_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="Digest of its body: two of an id differ in that."
    )
    published_ms: Milliseconds = Field(
        description="Time of its publication in milliseconds since 1970, as far as it is known: without a "
        "timestamp that of its first delivery, or 0 for a later one."
    )
    taken_ms: Milliseconds = Field(
        description="Time of its first delivery in milliseconds since 1970; 0 for a later one."
    )


class ControlMessage(Wire):
    """A message to all daemons, with one of these fields."""

    cancel: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        description="Id of a submission that is to be answered with cancelled, unless it has been answered.",
    )
    supersede: Taken | None = Field(
        default=None,
        description="Submission that supersedes older ones with its supersede_key. From daemons only.",
    )
    mark: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        description="Word by which the daemon that sent it knows that it has read all before. From daemons "
        "only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_field(cls, value: object) -> object:
        if isinstance(value, dict) and (len(value) != 1 or None in value.values()):
            raise ValueError(f"must have one field: {', '.join(cls.model_fields)}")
        return value


def decode_control(body: bytes) -> ControlMessage:
    """Return the message; raise InvalidControl with the reason."""
    if len(body) > _MAX_BYTES:
        raise InvalidControl(f"the message has {len(body)} bytes; at most {_MAX_BYTES} are allowed")
    try:
        return ControlMessage.model_validate_json(body)
    except ValidationError as error:
        location, reason = next(reasons(error))
        raise InvalidControl(f"{pointer(location, _MAX_TEXT)} {reason[:_MAX_TEXT]}".strip()) from None


def encode_control(message: ControlMessage) -> bytes:
    """Return the message as JSON."""
    document: dict[str, Any] = message.model_dump(exclude_none=True)
    return orjson.dumps(document)
