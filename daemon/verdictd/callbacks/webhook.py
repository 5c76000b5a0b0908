"""One webhook: signed after the Standard Webhooks specification, posted, and what its receiver answered."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver
from standardwebhooks.webhooks import Webhook
from yarl import URL

from verdictd import __version__
from verdictd.concurrency import offload
from verdictd.egress import Egress, EgressDenied

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 64 * 1024
_ANSWER_BYTES = 64 * 1024
_REASON_LENGTH = 300


class Outcome(StrEnum):
    """What became of one try to deliver."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Worth another try."""
    GONE = "gone"
    """The receiver wants no more of it."""
    REFUSED = "refused"
    """We may not go there."""


@dataclass(frozen=True, slots=True)
class Response:
    """How a try ended, why, and how long the receiver asked to be left alone."""

    ending: Outcome
    reason: str
    retry_after_s: float = 0


class Sender:
    """Posts webhooks; each over a connection of its own, with no cookies, redirects or proxies."""

    def __init__(
        self, *, egress: Egress, resolver: AbstractResolver, secrets: Iterable[str], timeout_s: float
    ) -> None:
        self._egress = egress
        self._resolver = resolver
        self._signers = [Webhook(secret) for secret in secrets]
        self._timeout_s = timeout_s

    async def post(
        self, target: URL, body: bytes, *, webhook_id: str, headers: Mapping[str, str]
    ) -> Response:
        """Post a body of JSON with these headers beside ours, in `timeout_s` at the most."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(target, body, dict(headers) | await self._headers(webhook_id, body))
        except TimeoutError:
            return Response(Outcome.FAILED, f"no answer in {self._timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, EgressDenied):
                return Response(Outcome.REFUSED, str(error.os_error))
            return Response(Outcome.FAILED, _line(f"cannot connect: {error.os_error}"))
        except (aiohttp.ClientError, OSError) as error:
            return Response(Outcome.FAILED, _line(f"{type(error).__name__}: {error}"))

    async def _post(self, target: URL, body: bytes, headers: Mapping[str, str]) -> Response:
        # A connection that was kept could be closed by the receiver just now, and the try would be wasted.
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,
            force_close=True,
            socket_factory=partial(self._open, target.raw_host or ""),
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # which is rounded up: post has its own
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.post(target, data=_chunks(body), headers=headers, allow_redirects=False) as response,
        ):
            return classify(response.status, response.headers.get("Retry-After"))

    def _open(self, host: str, found: tuple[Any, ...]) -> socket.socket:
        """A socket for the very address that is connected to next."""
        family, kind, protocol, _, address = found
        self._egress.check(host, address[0])
        return _BoundedSocket(family, kind, protocol)

    async def _headers(self, webhook_id: str, body: bytes) -> dict[str, str]:
        sent_at = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": f"verdictd/{__version__}",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
        }
        sign = partial(self._signatures, webhook_id, sent_at, body)
        signatures = await offload(sign, len(body))
        return headers | ({"webhook-signature": signatures} if signatures else {})

    def _signatures(self, webhook_id: str, sent_at: datetime, body: bytes) -> str:
        """One for each secret, so that a receiver may know the old one or the new one."""
        text = body.decode()
        return " ".join(signer.sign(webhook_id, sent_at, text) for signer in self._signers)


class _BoundedSocket(socket.socket):
    """Ends after so many bytes of an answer: head, body, TLS and all; what never ends would keep us busy."""

    left_bytes = _ANSWER_BYTES

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(min(size, self.left_bytes), flags)
        self.left_bytes -= len(data)
        return data

    def recv_into(self, buffer: "WriteableBuffer", size: int = 0, flags: int = 0, /) -> int:
        view = memoryview(buffer)
        count = super().recv_into(view[: min(size or len(view), self.left_bytes)], 0, flags)
        self.left_bytes -= count
        return count


def classify(status: int, retry_after: str | None, now: datetime | None = None) -> Response:
    """What a status means: 2xx is delivered, 410 is the end, all else may be better another time."""
    reason = f"status {status}"
    if 200 <= status < 300:
        return Response(Outcome.DELIVERED, reason)
    if status == 410:
        return Response(Outcome.GONE, reason)
    return Response(Outcome.FAILED, reason, _seconds(retry_after or "", now or datetime.now(UTC)))


def _seconds(retry_after: str, now: datetime) -> float:
    """Seconds, or a date; 0 for what is neither."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())


def _line(text: str) -> str:
    """What is fit for a log: errors quote what a receiver sent."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_REASON_LENGTH])


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """In parts, as aiohttp would copy a large body at once."""
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]
