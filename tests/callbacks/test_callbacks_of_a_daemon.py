"""Callbacks from submission to receiver, through a whole daemon."""

import asyncio
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.callbacks import CALLBACKS, DEAD_CALLBACKS
from support.certificates import make_certificate, needs_openssl
from support.daemon import Daemon, daemon
from support.receiver import SECRET, Receiver, answers, never_answers
from support.waiting import wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

Start = Callable[..., AbstractAsyncContextManager[Daemon]]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def start(amqp_url: str, tmp_path: Path) -> Start:
    """Start a daemon that delivers callbacks to loopback, on this test's own virtual host."""

    @asynccontextmanager
    async def start(
        name: str = "daemon", *receivers: Receiver, within: Sequence[str] = (), **settings: str
    ) -> AsyncIterator[Daemon]:
        own = {
            "broker__url": amqp_url,
            "sandbox__isolate": "embedded",
            "sandbox__boxes": "1",
            "callbacks__enabled": "true",
            "callbacks__secrets": SECRET,
            "callbacks__allow_networks": "127.0.0.0/8",
            "callbacks__allow_ports": " ".join(str(receiver.port) for receiver in receivers) or "80",
            "callbacks__retry_delays_s": "0.3 0.5",
        }
        async with daemon(tmp_path / f"{name}.log", within=within, **(own | settings)) as running:
            await wait_until(lambda: len(running.logged("broker.consuming")) >= consumers(own | settings))
            yield running

    return start


def consumers(settings: dict[str, str]) -> int:
    return 3 if settings["callbacks__enabled"] == "true" else 2  # submissions, those given up, callbacks


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer."""
    async with peer(amqp_url) as client:
        yield client


async def send(client: Peer, source: str, url: str, **properties: Any) -> None:
    submission = {"id": str(uuid.uuid4()), "language": "bash", "source_code": source, "callback_url": url}
    await client.publish(SUBMISSIONS, json.dumps(submission).encode(), **properties)


async def test_callback_has_the_bytes_of_the_reply(start: Start, client: Peer) -> None:
    """Signed, with the trace of the submission; a submission that comes twice has one webhook id."""
    async with Receiver().up() as receiver, start("daemon", receiver) as running:
        body = json.dumps(
            {"id": "a", "language": "bash", "source_code": "echo é", "callback_url": receiver.url}
        ).encode()
        for _ in range(2):
            await client.publish(SUBMISSIONS, body, headers={"traceparent": TRACE})
        replies = [(await client.take(RESULTS)).body for _ in range(2)]
        await wait_until(lambda: len(receiver.received) == 2)
        await wait_until(lambda: len(running.logged("callback.delivered")) == 2)
        code = await running.end()

    assert sorted(replies) == sorted(received.body for received in receiver.received)
    assert [("a", "é\n")] * 2 == [
        (result["id"], result["stdout"]) for result in (received.verified() for received in receiver.received)
    ]
    assert 1 == len(ids(receiver))
    assert {TRACE} == {received.headers["traceparent"] for received in receiver.received}
    assert 0 == code


async def test_callback_is_refused_where_callbacks_are_not_enabled(start: Start, client: Peer) -> None:
    """Callbacks are off by default: a submission that asks for one is invalid."""
    async with start(callbacks__enabled="false"):
        await send(client, "true", "http://example.org/")
        answer = json.loads((await client.take(RESULTS)).body)

    assert ["/callback_url"] == [error["path"] for error in answer["errors"]]


async def test_callback_of_a_killed_daemon_is_delivered_by_the_next(start: Start, client: Peer) -> None:
    """SIGKILL after the reply, while the callback is on its way: another daemon delivers it."""
    async with Receiver(never_answers, answers(200)).up() as receiver:
        async with start("one", receiver) as first:
            await send(client, "echo hi", receiver.url)
            reply = await client.take(RESULTS)
            await wait_until(lambda: receiver.received)
            await first.end(signal.SIGKILL)
        async with start("two", receiver):
            await wait_until(lambda: len(receiver.received) == 2)
    lost, delivered = receiver.received

    assert reply.body == lost.body == delivered.body
    assert lost.headers["webhook-id"] == delivered.headers["webhook-id"]
    assert "hi\n" == delivered.verified()["stdout"]


async def test_callback_that_no_daemon_has_begun_with_waits_for_one(start: Start, client: Peer) -> None:
    """Killed with more callbacks than it could take: the rest is on the queue, and nothing is lost."""
    async with Receiver(never_answers, answers(204)).up() as receiver:
        async with start("one", receiver, callbacks__per_host="1") as first:
            await asyncio.gather(*(send(client, "true", receiver.url) for _ in range(5)))
            for _ in range(5):
                await client.take(RESULTS)
            await first.end(signal.SIGKILL)
        async with asyncio.timeout(60):
            while not await client.count(CALLBACKS):
                await asyncio.sleep(0.05)
        async with start("two", receiver):
            await wait_until(lambda: len(ids(receiver)) == 5)


def ids(receiver: Receiver) -> set[str]:
    return {received.headers["webhook-id"] for received in receiver.received}


@needs_openssl
async def test_callback_over_tls_needs_a_certificate_that_the_system_trusts(
    start: Start, client: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is trusted gets its callback, one that is not gets nothing."""
    known, unknown = (
        make_certificate(tmp_path, name, "-addext", "subjectAltName=IP:127.0.0.1")
        for name in ("known", "unknown")
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(known))  # read where aiohttp is imported
    trusted, untrusted = Receiver(certificate=known), Receiver(certificate=unknown)
    async with trusted.up(), untrusted.up(), start("daemon", trusted, untrusted, within=["env"]):
        await send(client, "true", trusted.url)
        await send(client, "true", untrusted.url)
        await wait_until(lambda: trusted.received)
        kept = await client.take(DEAD_CALLBACKS)

    assert "accepted" == trusted.received[0].verified()["status"]
    assert ([], True) == (untrusted.received, "certificate verify failed" in str(kept.headers["reason"]))


async def test_sigterm_waits_for_a_delivery_to_end(start: Start, client: Peer) -> None:
    """Within its own limit; what failed is there once, for the next daemon."""
    receiver = Receiver(never_answers)
    async with receiver.up(), start("one", receiver, callbacks__timeout_s="2") as running:
        await send(client, "true", receiver.url)
        await client.take(RESULTS)
        await wait_until(lambda: receiver.received)
        began_s = time.monotonic()
        code = await running.end()
        took_s = time.monotonic() - began_s
    left = await client.take(CALLBACKS)
    await asyncio.sleep(0.5)
    more = {name: await client.count(name) for name in (CALLBACKS, DEAD_CALLBACKS)}

    assert (0, {CALLBACKS: 0, DEAD_CALLBACKS: 0}) == (code, more)
    assert len(receiver.received) == left.headers["tries"]
    assert took_s < 30


async def test_dead_receiver_delays_no_reply(start: Start, client: Peer) -> None:
    """More callbacks hang than one daemon has in hand; replies and the callbacks of others come as always."""
    dead, other = Receiver(never_answers, host="127.0.0.2"), Receiver()
    few = {"callbacks__timeout_s": "90", "callbacks__per_host": "1"}  # and 8 in all
    async with dead.up(), other.up(), start("daemon", dead, other, **few):
        await asyncio.gather(*(send(client, "true", dead.url) for _ in range(9)))
        began_s = time.monotonic()
        await asyncio.gather(*(send(client, "true", other.url) for _ in range(3)))
        for _ in range(12):
            await client.take(RESULTS)
        replied_s = time.monotonic() - began_s
        await wait_until(lambda: len(other.received) == 3)

    assert replied_s < 60
    assert max(received.at_s for received in other.received) - began_s - replied_s < 30
