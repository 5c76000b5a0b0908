"""One webhook: signed after the Standard Webhooks specification, posted, and the response classified."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

import aiohttp
from aiohttp.abc import AbstractResolver
from standardwebhooks.webhooks import Webhook
from yarl import URL

from verdictd import __version__
from verdictd.concurrency import offload
from verdictd.egress.client import session
from verdictd.egress.rules import Egress, EgressDenied
from verdictd.logs import printable
from verdictd.metrics import Outcome

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 64 * 1024
_RESPONSE_BYTES = 64 * 1024
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Response:
    """Outcome of one post, its reason, and the time before which the receiver wants no retry."""

    outcome: Literal[Outcome.DELIVERED, Outcome.FAILED, Outcome.GONE, Outcome.REFUSED]
    reason: str
    retry_after_s: float = 0


class Sender:
    """Posts webhooks, each over a connection of its own, without cookies, redirects or proxies."""

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
        """Post a JSON body, with these headers beside the webhook's own, within `timeout_s`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(target, body, dict(headers) | await self._headers(webhook_id, body))
        except TimeoutError:
            return Response(Outcome.FAILED, f"no response within {self._timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, EgressDenied):
                return Response(Outcome.REFUSED, str(error.os_error))
            return Response(Outcome.FAILED, _shortened(f"cannot connect: {error.os_error}"))
        except (aiohttp.ClientError, OSError) as error:
            return Response(Outcome.FAILED, _shortened(f"{type(error).__name__}: {error}"))

    async def _post(self, target: URL, body: bytes, headers: Mapping[str, str]) -> Response:
        async with (
            session(self._egress, target, self._resolver, socket_type=_BoundedSocket) as client,
            client.post(target, data=_chunks(body), headers=headers, allow_redirects=False) as response,
        ):
            return classify(response.status, response.headers.get("Retry-After"))

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
        """Sign with each secret: while secrets are rotated, a receiver knows the old one or the new one."""
        text = body.decode()
        return " ".join(signer.sign(webhook_id, sent_at, text) for signer in self._signers)


class _BoundedSocket(socket.socket):
    """Socket that ends after a number of bytes (headers, body and TLS), so that no response is endless."""

    left_bytes = _RESPONSE_BYTES

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
    """Classify a response by its status: 2xx is delivered, 410 is gone for good, all else may be retried."""
    reason = f"status {status}"
    if 200 <= status < 300:
        return Response(Outcome.DELIVERED, reason)
    if status == 410:
        return Response(Outcome.GONE, reason)
    return Response(Outcome.FAILED, reason, _seconds(retry_after or "", now or datetime.now(UTC)))


def _seconds(retry_after: str, now: datetime) -> float:
    """Parse a Retry-After header, seconds or a date; 0 for anything else."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())


def _shortened(text: str) -> str:
    """Make an error fit for a log: it may quote what a receiver sent."""
    return printable(text[:_REASON_LENGTH])


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """Yield the body in parts: aiohttp would copy a large body as a whole."""
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]
