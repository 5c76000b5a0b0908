"""Properties of a message that say how its body is to be read."""

import bz2
import gzip
import zlib
from typing import Any

import pytest

from support.amqp import make_delivery
from verdictd.errors import InvalidSubmission, Problem
from verdictd.service.envelope import opened
from verdictd.service.given_up import given_up_reason

pytestmark = pytest.mark.anyio

MAX_BYTES = 1_000
GZIP: dict[str, Any] = {"content_encoding": "gzip"}
KOMBU: dict[str, Any] = {"headers": {"compression": "application/x-gzip"}}


async def refusal(body: bytes, **properties: Any) -> Problem:
    with pytest.raises(InvalidSubmission) as refused:
        await opened(make_delivery(body=body, **properties), MAX_BYTES)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/octet-stream", "x"])
@pytest.mark.parametrize("encoding", [None, "", "identity", "utf-8", "UTF8", "binary", "us-ascii"])
async def test_plain_body_is_left_as_it_is(content_type: str | None, encoding: str | None) -> None:
    """Whatever a library says of it, the body shows if it is JSON."""
    delivery = make_delivery(body=b"{}", content_type=content_type, content_encoding=encoding)

    assert delivery == await opened(delivery, MAX_BYTES)


@pytest.mark.parametrize(
    ("packed", "properties"),
    [
        (gzip.compress(b"x" * MAX_BYTES, mtime=0), GZIP),
        (gzip.compress(b"x" * MAX_BYTES, mtime=0), {"content_encoding": "X-GZIP"}),
        (zlib.compress(b"x" * MAX_BYTES), {"content_encoding": "deflate"}),
        (zlib.compress(b"x" * MAX_BYTES), KOMBU),
        (gzip.compress(b"x" * MAX_BYTES, mtime=0), KOMBU | GZIP),
    ],
)
async def test_packed_body_is_unpacked(packed: bytes, properties: dict[str, Any]) -> None:
    """gzip and zlib, up to the bound of a message."""
    assert b"x" * MAX_BYTES == (await opened(make_delivery(body=packed, **properties), MAX_BYTES)).body


@pytest.mark.parametrize(
    ("body", "properties", "reason"),
    [
        (gzip.compress(bytes(MAX_BYTES + 1), mtime=0), GZIP, "the body unpacks to more than 1000 bytes"),
        (
            gzip.compress(bytes(10_000_000), compresslevel=1, mtime=0),
            GZIP,
            "the body unpacks to more than 1000 bytes",
        ),
        (gzip.compress(b"x", mtime=0)[:-1], GZIP, "the gzip data of the body ends too soon"),
        (b"", GZIP, "the gzip data of the body ends too soon"),
        (b"{}", GZIP, "the body is not gzip"),
        (bz2.compress(b""), {"headers": {"compression": "application/x-bz2"}}, "the header compression is"),
        (b"", {"content_encoding": "br"}, "content_encoding is 'br'"),
        (b"", {"content_encoding": "utf-16"}, "content_encoding is 'utf-16'"),
        (
            b"",
            {"content_type": "text/plain; charset=ISO-8859-1"},
            "content_type has the charset 'ISO-8859-1'",
        ),
        (b"", {"content_type": "a/b;charset='latin1'"}, "content_type has the charset 'latin1'"),
        (b"", {"type": "other"}, "type is 'other'"),
    ],
)
async def test_body_that_cannot_be_read_is_refused(
    body: bytes, properties: dict[str, Any], reason: str
) -> None:
    """The reason says what to send."""
    problem = await refusal(body, **properties)

    assert problem.message.startswith(reason)


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ({"reason": "rejected"}, "None"),
        ({"reason": "expired", "original-expiration": "60000"}, "it expired after 60 s in the queue"),
        ({"reason": "expired", "original-expiration": "x" * 99}, "it expired in the queue"),
        ({"reason": "expired"}, "it expired in the queue"),
        ({"reason": "delivery_limit"}, "it was delivered too often without an answer"),
        ({"reason": "maxlen"}, "the queue was full"),
        ({"reason": "other"}, "it was dead-lettered (other)"),
        ({}, "it was dead-lettered (for an unknown reason)"),
        ("odd", "it was dead-lettered (for an unknown reason)"),
    ],
)
def test_reason_of_rabbitmq_is_said_in_words(death: object, reason: str) -> None:
    """The latest of its deaths comes first in the header."""
    deaths = [death, {"reason": "rejected"}]

    assert reason == str(given_up_reason({"x-death": deaths}))
