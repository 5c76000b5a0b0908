"""Envelope of a submission: the properties of its message that say how the body is to be read."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import replace

from verdictd.amqp.delivery import Delivery
from verdictd.concurrency import offload
from verdictd.contract.submission import SUBMISSION_TYPE
from verdictd.errors import InvalidSubmission, Problem

_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_PLAIN = _UTF_8 | {"", "identity", "binary", "8bit"}
_PACKED = frozenset({"gzip", "x-gzip", "deflate", "zlib"})
_KOMBU_PACKED = frozenset({"application/x-gzip", "application/gzip", "application/zlib"})
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^"';\s]+)""", re.IGNORECASE)


async def opened(delivery: Delivery, max_bytes: int) -> Delivery:
    """Return the delivery with its body unpacked; raise InvalidSubmission if the body cannot be read.

    The media type is not looked at: libraries set one by themselves, and the body shows if it is JSON.
    """
    problems = list(_problems(delivery))
    if problems:
        raise InvalidSubmission(problems)
    if not _is_packed(delivery):
        return delivery
    # In a thread whatever its size: a few KiB can unpack to many MiB.
    body = await offload(lambda: _unpack(delivery.body, max_bytes), len(delivery.body), large=0)
    return replace(delivery, body=body)


def _problems(delivery: Delivery) -> Iterator[Problem]:
    if delivery.type not in {None, "", SUBMISSION_TYPE}:
        yield Problem("", f"type is {delivery.type[:100]!r}; leave it out, or send {SUBMISSION_TYPE!r}")
    charset = _CHARSET.search(delivery.content_type or "")
    if charset and charset[1].lower() not in _UTF_8:
        yield Problem("", f"content_type has the charset {charset[1][:100]!r}; send UTF-8")
    encoding = (delivery.content_encoding or "").lower()
    if encoding not in _PLAIN | _PACKED:
        yield Problem("", f"content_encoding is {encoding[:100]!r}; send plain UTF-8, or gzip")
    compression = _compression(delivery)
    if compression and compression not in _KOMBU_PACKED:
        yield Problem("", f"the header compression is {compression[:100]!r}; send a plain body, or gzip")


def _compression(delivery: Delivery) -> str:
    """Return the header in which kombu says how it has compressed the body."""
    header = delivery.headers.get("compression")
    return header.lower() if isinstance(header, str) else ""


def _is_packed(delivery: Delivery) -> bool:
    return (delivery.content_encoding or "").lower() in _PACKED or bool(_compression(delivery))


def _unpack(body: bytes, max_bytes: int) -> bytes:
    """Unpack gzip or zlib, which kombu calls gzip too."""
    packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        unpacked = packed.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidSubmission([Problem("", "the body is not gzip, as its properties say")]) from None
    if len(unpacked) > max_bytes:
        raise InvalidSubmission(
            [Problem("", f"the body unpacks to more than {max_bytes} bytes; at most {max_bytes} are allowed")]
        )
    if not packed.eof:
        raise InvalidSubmission([Problem("", "the gzip data of the body ends too soon")])
    return unpacked
