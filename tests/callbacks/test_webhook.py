"""Webhooks to receivers on loopback: signed, bounded, and never redirected."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import WebhookVerificationError

from support.rabbitmq import free_ports
from support.receiver import (
    OTHER_SECRET,
    SECRET,
    Receiver,
    answers,
    dies,
    never_answers,
)
from verdictd.callbacks.webhook import Response, Sender, classify
from verdictd.egress.client import Resolver
from verdictd.egress.rules import Egress
from verdictd.metrics import Outcome

pytestmark = pytest.mark.anyio

BODY = '{"id": "a", "stdout": "é"}'.encode()
LOOPBACK = ("127.0.0.0/8",)


class Names(AbstractResolver):
    """Fake resolver: each look-up, of any name, gives the next of its addresses."""

    def __init__(self, *addresses: list[str]) -> None:
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self._addresses.pop(0)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=6, flags=0)
            for address in found
        ]

    async def close(self) -> None:
        """Do nothing."""


@asynccontextmanager
async def sender(
    *ports: int,
    networks: tuple[str, ...] = LOOPBACK,
    resolver: AbstractResolver | None = None,
    secrets: tuple[str, ...] = (SECRET,),
    timeout_s: float = 5,
) -> AsyncIterator[tuple[Sender, Egress]]:
    egress = Egress(networks=map(ip_network, networks), hosts=(), ports=ports)
    with ThreadPoolExecutor(2) as threads:
        names = resolver or Resolver(threads)
        yield Sender(egress=egress, resolver=names, secrets=secrets, timeout_s=timeout_s), egress


async def post(
    receiver: Receiver, *, url: str | None = None, body: bytes = BODY, **settings: Any
) -> Response:
    async with sender(receiver.port, **settings) as (sending, egress):
        return await sending.post(egress.target(url or receiver.url), body, webhook_id="msg_1", headers={})


async def test_webhook_is_verified_by_the_library_of_its_receivers() -> None:
    """The body arrives byte by byte, with headers after the Standard Webhooks specification."""
    async with Receiver().up() as receiver:
        answer = await post(receiver)
    (received,) = receiver.received

    assert Response(Outcome.DELIVERED, "status 204") == answer
    assert ("POST /hook?token=1 HTTP/1.1", BODY) == (received.line, received.body)
    assert {"id": "a", "stdout": "é"} == received.verified()
    assert ("msg_1", "application/json") == (received.headers["webhook-id"], received.headers["content-type"])
    assert {"cookie", "authorization"}.isdisjoint(received.headers)


async def test_each_secret_signs() -> None:
    """While secrets are rotated, a receiver that knows either one verifies; with a third none does."""
    async with Receiver().up() as receiver:
        await post(receiver, secrets=(SECRET, OTHER_SECRET))
    (received,) = receiver.received

    assert received.verified(SECRET) == received.verified(OTHER_SECRET)
    with pytest.raises(WebhookVerificationError):
        received.verified("whsec_" + "dGhpcmQtdGhpcmQtdGhpcmQtdGhpcmQ=")


async def test_without_a_secret_there_is_no_signature() -> None:
    """The id and the timestamp are sent anyway."""
    async with Receiver().up() as receiver:
        await post(receiver, secrets=())
    (received,) = receiver.received

    assert "webhook-signature" not in received.headers
    assert {"webhook-id", "webhook-timestamp"} <= set(received.headers)


async def test_large_body_arrives_whole() -> None:
    """15 MiB, the largest result, signed and posted in parts."""
    body = b'"' + b"x" * (15 * 1024 * 1024) + b'"'
    async with Receiver().up() as receiver:
        answer = await post(receiver, body=body)
    (received,) = receiver.received

    assert Outcome.DELIVERED == answer.outcome
    assert len(body) - 2 == len(received.verified())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (202, Outcome.DELIVERED),
        (301, Outcome.FAILED),
        (302, Outcome.FAILED),
        (307, Outcome.FAILED),
        (308, Outcome.FAILED),
        (404, Outcome.FAILED),
        (410, Outcome.GONE),
        (500, Outcome.FAILED),
        (503, Outcome.FAILED),
    ],
)
async def test_status_decides(status: int, outcome: Outcome) -> None:
    """A redirect is a failure like others: its target gets no request, even if it is an allowed address."""
    async with Receiver().up() as elsewhere, Receiver().up() as receiver:
        receiver.behaviours = [answers(status, f"Location: {elsewhere.url}", "Set-Cookie: a=b")]
        answer = await post(receiver)

    assert (outcome, f"status {status}") == (answer.outcome, answer.reason)
    assert 0 == elsewhere.connections


@pytest.mark.parametrize(
    ("said", "expected_s"),
    [
        ("120", 120),
        ("0", 0),
        ("Mon, 02 Feb 2026 10:01:00 GMT", 60),
        ("Mon, 02 Feb 2026 10:01:00 -0000", 60),
        ("Mon, 02 Feb 2026 09:00:00 GMT", 0),
        ("-5", 0),
        ("1.5", 0),
        ("1e400", 0),
        ("9" * 5_000, 0),
        ("soon", 0),
        ("Mon, 02 Feb 99999999999999999999 10:01:00 GMT", 0),
        ("Mon, 99 Feb 2026 10:01:00 GMT", 0),
        (None, 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, expected_s: float) -> None:
    """Any other text is ignored."""
    answer = classify(503, said, datetime(2026, 2, 2, 10, 0, tzinfo=UTC))

    assert expected_s == answer.retry_after_s


@given(st.text(max_size=40))
def test_retry_after_of_any_text_is_no_error(said: str) -> None:
    """No text of a receiver makes the daemon fail."""
    assert 0 <= classify(503, said).retry_after_s


async def test_receiver_that_never_answers_is_left_in_time() -> None:
    """The receiver accepts the connection only, or reads everything and does not respond."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with Receiver(never_answers).up() as silent:
            began_s = time.monotonic()
            async with sender(silent.port, deaf.getsockname()[1], timeout_s=0.5) as (sending, egress):
                urls = [silent.url, f"http://127.0.0.1:{deaf.getsockname()[1]}/"]
                ended = await asyncio.gather(
                    *(sending.post(egress.target(url), BODY, webhook_id="m", headers={}) for url in urls)
                )
    took_s = time.monotonic() - began_s

    assert [Response(Outcome.FAILED, "no response within 0.5 s")] * 2 == ended
    assert took_s < 20


@pytest.mark.parametrize(
    ("head", "more", "outcome"),
    [
        ("HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, Outcome.DELIVERED),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"x" * 65_536, Outcome.DELIVERED),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000, Outcome.DELIVERED),
        ("HTTP/1.1 500 Oh\r\n\r\n", b"x" * 65_536, Outcome.FAILED),
        ("HTTP/1.1 200 OK\r\nA: ", b"x" * 65_536, Outcome.FAILED),
        ("HTTP/1.1 200 OK\r\n", b"A: x\r\n" * 10_000, Outcome.FAILED),
        ("", b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000, Outcome.FAILED),
        ("", b"x" * 65_536, Outcome.FAILED),
    ],
)
async def test_receiver_that_answers_for_ever_is_cut(head: str, more: bytes, outcome: Outcome) -> None:
    """Its status counts, if it has one; nothing of its body is read on."""
    written_bytes = 0

    async def behave(writer: asyncio.StreamWriter) -> None:
        nonlocal written_bytes
        writer.write(head.encode())
        while True:
            writer.write(more)
            written_bytes += len(more)
            await writer.drain()

    async with Receiver(behave).up() as receiver:
        began_s = time.monotonic()
        answer = await post(receiver, timeout_s=10)

    assert outcome == answer.outcome
    assert time.monotonic() - began_s < 20
    assert written_bytes < 16 * 1024 * 1024  # what the system's buffers take; it could be GBs


async def test_receiver_that_dies_in_mid_delivery_is_a_failure() -> None:
    """Before it answers, or with half a line of an answer."""
    async with Receiver(dies, answers_once("HTTP/1.1 20"), answers(204)).up() as receiver:
        ended = [await post(receiver) for _ in range(3)]

    assert [Outcome.FAILED, Outcome.FAILED, Outcome.DELIVERED] == [answer.outcome for answer in ended]


def answers_once(text: str) -> Any:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(text.encode())
        await writer.drain()

    return behave


async def test_receiver_that_is_not_there_is_a_failure() -> None:
    """A port that nobody listens on, a name that does not exist."""
    receiver = Receiver(port=free_ports(1)[0])

    assert "cannot connect" in (await post(receiver)).reason
    answer = await post(receiver, url=f"http://nobody.invalid:{receiver.port}/")
    assert (Outcome.FAILED, True) == (answer.outcome, "cannot connect" in answer.reason)


async def test_name_of_a_refused_address_is_refused() -> None:
    """`localhost` through the system's own look-up: no connection reaches the receiver."""
    async with Receiver().up() as receiver:
        answer = await post(receiver, url=f"http://localhost:{receiver.port}/", networks=())

    assert (Outcome.REFUSED, 0) == (answer.outcome, receiver.connections)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"])
async def test_no_socket_is_opened_for_a_name_with_a_refused_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver is a fake, so only a socket could reach the network: none is opened."""
    receiver = Receiver()
    opened: list[Any] = []
    monkeypatch.setattr(
        "verdictd.callbacks.webhook._BoundedSocket", lambda *arguments: opened.append(arguments)
    )
    answer = await post(
        receiver, url=f"http://a.example:{receiver.port}/", networks=(), resolver=Names([address, address])
    )

    assert (Outcome.REFUSED, []) == (answer.outcome, opened)


async def test_name_that_changes_its_address_is_refused_then() -> None:
    """Allowed at first, another address afterwards: what is connected to counts, at each try."""
    async with Receiver(host="127.0.0.2").up() as allowed, Receiver(port=allowed.port).up() as forbidden:
        names = Names(["127.0.0.2"], ["127.0.0.1"])
        ended = [
            await post(
                allowed, url=f"http://a.example:{allowed.port}/", networks=("127.0.0.2",), resolver=names
            )
            for _ in range(2)
        ]

    assert [Outcome.DELIVERED, Outcome.REFUSED] == [answer.outcome for answer in ended]
    assert (1, 0) == (allowed.connections, forbidden.connections)


async def test_of_two_addresses_only_the_allowed_one_is_connected_to() -> None:
    """A name may have both; the refused one is skipped."""
    async with Receiver(host="127.0.0.2").up() as allowed, Receiver(port=allowed.port).up() as forbidden:
        answer = await post(
            allowed,
            url=f"http://a.example:{allowed.port}/",
            networks=("127.0.0.2",),
            resolver=Names(["127.0.0.1", "127.0.0.2"]),
        )

    assert (Outcome.DELIVERED, 1, 0) == (answer.outcome, allowed.connections, forbidden.connections)


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect without the check of addresses."""
    async with Receiver().up() as proxy, Receiver().up() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        answer = await post(receiver)

    assert (Outcome.DELIVERED, 0, 1) == (answer.outcome, proxy.connections, receiver.connections)
