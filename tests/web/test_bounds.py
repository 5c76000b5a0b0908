"""HTTP in: missing parts, full queues, slow clients, forbidden requests."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, broker_settings, connected, declare, peer
from support.faulty import Faulty
from support.proxy import Proxy
from support.rabbitmq import PrivateBroker
from support.waiting import LIMIT_S, wait_until
from support.web import Site, listening, site, until_in_box
from verdictd.amqp.requests import Requests
from verdictd.contract.result import Result
from verdictd.errors import BrokerUnavailable
from verdictd.sandbox.processes import children

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TOKEN, OTHER = "first-token-of-the-tests", "other-token-of-the-tests"
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


def bash(source: str, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "language": "bash", "source_code": source} | fields


async def result(client: Peer) -> Result:
    return Result.model_validate_json((await client.take(RESULTS)).body)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": token, "Content-Type": "application/json"}


async def test_token_is_needed_where_there_are_any(amqp_url: str, log: Path) -> None:
    """401 that says how, before the body is looked at; any of the tokens will do, and probes need none."""
    async with site(log, broker__url=amqp_url, http__tokens=f"{TOKEN} {OTHER}") as served:
        paths = ("/languages", "/status", "/metrics", "/nothing", "/healthz", "/readyz", "/openapi.json")
        without = [(await served.get(path))[0] for path in paths]
        refused = [
            (await served.post(b"{", headers=bearer(token)))[0]
            for token in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer t\xf6ken", TOKEN)
        ]
        taken = [
            (await served.post(bash("true"), headers=bearer(token)))[0]
            for token in (f"Bearer {TOKEN}", f"bearer {OTHER}")
        ]
        async with served.client.get("/status") as response:
            asks = response.headers["WWW-Authenticate"]
        text = served.daemon.text

    assert [401, 401, 401, 401, 200, 200, 200] == without
    assert [401] * 5 == refused
    assert [202, 202] == taken
    assert "Bearer" == asks
    assert TOKEN not in text


async def test_result_that_takes_longer_is_202_and_comes_later(amqp_url: str, log: Path) -> None:
    """The wait is bounded; the result is then on the results queue, as without it."""
    async with site(log, broker__url=amqp_url, http__wait_s="0.3") as served, peer(amqp_url) as client:
        submission = bash("sleep 3; echo late")
        status, said = await served.post(submission, wait=True)
        answer = await result(client)

    assert (202, {"id": submission["id"]}) == (status, said)
    assert (submission["id"], "late\n") == (answer.id, answer.stdout)


async def test_long_queue_is_429_and_too_many_requests_are_503(amqp_url: str, log: Path) -> None:
    """Both with Retry-After; RabbitMQ counts what waits in the queue."""
    bounds = {"http__max_queue_length": "2", "http__max_requests": "1"}
    few = {"sandbox__boxes": "1", "broker__prefetch_reserve": "0"}
    async with site(log, broker__url=amqp_url, **bounds, **few) as served, peer(amqp_url) as client:
        waiting = asyncio.create_task(served.post(bash("sleep 3"), wait=True))
        await until_in_box(served, 1)
        busy = await served.post(bash("true"))
        await waiting
        bodies = [json.dumps(bash(source)).encode() for source in ("sleep 5", "true", "true")]
        await client.publish_all(SUBMISSIONS, bodies)
        await client.until_waiting(SUBMISSIONS, 2)
        await asyncio.sleep(1.1)  # how long a length may be remembered
        async with served.client.post("/submissions/new", json=bash("true")) as response:
            full, again_in_s, said = response.status, response.headers["Retry-After"], await response.json()
        async with asyncio.timeout(LIMIT_S):
            while (await served.post(bash("true")))[0] == 429:
                await asyncio.sleep(0.2)

    assert (503, "Too many requests are in progress.") == (busy[0], busy[1]["message"])
    assert (429, "5", "Too many submissions are waiting.") == (full, again_in_s, said["message"])


async def test_daemon_without_a_broker_is_alive_and_not_ready(log: Path) -> None:
    """From the start: health says yes, readiness says why not, submissions are 503, status works."""
    reason = f"RabbitMQ: cannot connect to {NOWHERE.removeprefix('amqp://guest:guest@').rstrip('/')}: "
    async with listening(log, broker__url=NOWHERE) as served:
        alive, ready = await served.get("/healthz"), await served.not_ready(f"not connected to {reason}")
        submitted = await served.post(bash("true"))
        waited = await served.post(bash("true"), wait=True)
        _, status = await served.get("/status")
        code = await served.daemon.end()

    assert (200, {"alive": True}) == alive
    problems = ready[1]["problems"]
    assert (503, False) == (ready[0], ready[1]["ready"])
    assert problems[0].startswith(f"not connected to {reason}")
    assert ["not consuming submissions", "not taking submissions over HTTP"] == problems[1:]
    assert [503, 503] == [submitted[0], waited[0]]
    assert "RabbitMQ is not available." == submitted[1]["message"]
    assert (False, problems, None) == (status["ready"], status["problems"], status["queues"][0]["messages"])
    assert 0 == code


async def test_broker_that_goes_and_comes_back(amqp_url: str, log: Path) -> None:
    """503 while it is away; then submissions are judged again, those that wait among them."""
    async with Proxy.open(amqp_url) as broker, site(log, broker__url=broker.url) as served:
        before = await served.post(bash("echo 1"), wait=True)
        async with broker.away():
            away, _ = await served.not_ready("not connected to RabbitMQ: ")
            refused = await served.post(bash("echo 2"), wait=True)
        await served.ready()
        async with asyncio.timeout(LIMIT_S):
            while (after := await served.post(bash("echo 3"), wait=True))[0] == 503:
                await asyncio.sleep(0.1)

    assert (200, "1\n") == (before[0], before[1]["stdout"])
    assert (503, 503) == (away, refused[0])
    assert (200, "3\n") == (after[0], after[1]["stdout"])


async def test_stop_answers_who_waits_and_takes_no_more(amqp_url: str, log: Path) -> None:
    """While the boxes finish: not ready, submissions are 503, the client whose turn it was has its result.

    Who waits for what will not be judged here is told 202, and nothing is lost.
    """
    few = {"sandbox__boxes": "1", "broker__prefetch_reserve": "0"}
    async with site(log, broker__url=amqp_url, **few) as served, peer(amqp_url) as client:
        running = asyncio.create_task(served.post(bash("sleep 3; echo done"), wait=True))
        await until_in_box(served, 1)
        waiting = asyncio.create_task(served.post(bash("true"), wait=True))
        await client.until_waiting(SUBMISSIONS, 1)
        served.daemon.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            while (ready := await served.get("/readyz"))[0] == 200:
                await asyncio.sleep(0.02)
        refused = await served.post(bash("true"))
        status, said = await running
        told, _ = await waiting
        code = await asyncio.wait_for(served.daemon.process.wait(), LIMIT_S)
        await client.until_waiting(SUBMISSIONS, 1)

    assert "stopping" in ready[1]["problems"]
    assert (503, "The daemon is stopping.") == (refused[0], refused[1]["message"])
    assert (200, "done\n", 202) == (status, said["stdout"], told)
    assert 0 == code


async def test_slow_clients_are_let_go(amqp_url: str, log: Path) -> None:
    """A client that does not send headers is disconnected; one that does not send the body gets 408."""
    async with site(log, broker__url=amqp_url, http__request_timeout_s="0.5") as served:
        mute, idle = await asyncio.open_connection("127.0.0.1", served.port)
        idle.write(b"GET /healthz HTTP/1.1\r\nHost:")
        slow, sender = await asyncio.open_connection("127.0.0.1", served.port)
        sender.write(
            b"POST /submissions/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"'
        )
        cut_off = await asyncio.wait_for(mute.read(), LIMIT_S)
        late = await asyncio.wait_for(slow.read(), LIMIT_S)
        for writer in (idle, sender):
            writer.close()
            await writer.wait_closed()

    assert b"" == cut_off
    assert late.startswith(b"HTTP/1.1 408 ")


async def test_client_that_does_not_read_its_answer_is_let_go(amqp_url: str, log: Path) -> None:
    """The kernel ends its connection, so that no client can hold all connections."""
    submission = json.dumps(bash("head -c 12000000 /dev/zero | tr '\\0' x", max_output_size=16_000)).encode()
    async with site(log, broker__url=amqp_url, http__request_timeout_s="3") as served:
        await served.client.close()
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        writer.write(
            b"POST /submissions/new?wait=true HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(submission), submission)
        )
        await wait_until(lambda: bool(served.daemon.logged("submission.answered")))
        opened = connections(served)
        taken_s = await wait_until(lambda: connections(served) == 0)
        writer.transport.abort()

    assert 1 == opened
    assert taken_s > 0.5


def connections(served: Site) -> int:
    """Return the number of clients connected to the daemon."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(row[1] == f"0100007F:{served.port:04X}" and row[3] == "01" for row in rows)


async def test_bodies_are_bounded_together(amqp_url: str, log: Path) -> None:
    """Four of the largest are held at once; what exceeds that is 503, while the others may go on."""
    head = (
        b"POST /submissions/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 200000\r\n\r\n"
    )
    bounds = {"limits__message_bytes": "200000", "limits__source_code_bytes": "1000"}
    async with site(log, broker__url=amqp_url, **bounds) as served:
        opened = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
        for _, writer in opened:
            writer.write(head + b" " * 190_000)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(LIMIT_S):
            while (refused := await served.post(bash("true", stdin="x" * 150_000)))[0] == 202:
                await asyncio.sleep(0.1)  # until what was sent has been read
        for reader, writer in opened:
            writer.write(b" " * 10_000)
            await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 422 "), LIMIT_S)
            writer.close()
        freed, _ = await served.post(bash("true", stdin="x" * 150_000))

    assert (503, "Too many large requests are in progress.") == (refused[0], refused[1]["message"])
    assert 202 == freed


async def test_daemon_without_a_usable_box_is_not_ready(amqp_url: str, log: Path, tmp_path: Path) -> None:
    """Once a box is recovered, the submission is judged, and the waiting client gets its result."""
    faulty = Faulty(tmp_path)
    few = {"sandbox__boxes": "1", "sandbox__retire_s": "1"}
    few |= {"sandbox__isolate": str(faulty.path)}
    async with site(log, broker__url=amqp_url, **few) as served:
        waiting = asyncio.create_task(served.post(bash("sleep 1; echo done"), wait=True))
        await until_in_box(served, 1)
        faulty.vanish()
        for child in children(served.daemon.process.pid):
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(child, signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            while "no box is usable" not in str((await served.get("/status"))[1]["problems"]):
                await asyncio.sleep(0.02)
        ready = await served.get("/readyz")
        faulty.come_back()
        await served.ready()
        status, said = await waiting

    assert 503 == ready[0]
    assert (200, "done\n", 2) == (status, said["stdout"], said["attempt"])


@pytest.fixture
async def submitter(amqp_url: str) -> AsyncIterator[Requests]:
    """A submitter on a virtual host without a judge."""
    async with submitting(amqp_url) as submitter:
        yield submitter


@asynccontextmanager
async def submitting(url: str) -> AsyncIterator[Requests]:
    async with (
        connected(broker_settings(url)) as side,
        Requests.open(side.connection, side.publisher) as opened,
    ):
        await wait_until(lambda: opened.connected)
        yield opened


async def test_submission_is_persistent_and_has_its_id(submitter: Requests, amqp_url: str) -> None:
    """The message has the properties of the contract, and a reply queue only if a client waits."""
    async with peer(amqp_url) as client:
        await submitter.publish(b"{}", "mine")
        message = await client.take(SUBMISSIONS)

    assert ("mine", "mine", None) == (message.message_id, message.correlation_id, message.reply_to)
    assert (2, "application/json") == (message.delivery_mode, message.content_type)
    assert "verdictd.submission.v1" == message.type
    assert message.timestamp is not None


async def test_result_goes_to_who_waits_or_to_the_results_queue(submitter: Requests, amqp_url: str) -> None:
    """A result is never left in an unread queue: not after the wait, and not after the daemon has gone."""
    async with peer(amqp_url) as client:
        expected = submitter.expect()
        await submitter.publish(b"{}", "mine", expected)
        asked = await client.take(SUBMISSIONS)
        assert asked.reply_to is not None
        reply = {"correlation_id": asked.correlation_id}
        await client.publish(asked.reply_to, b"in time", **reply)
        in_time = await asyncio.wait_for(expected.result, LIMIT_S)
        await client.publish(asked.reply_to, b"late", **reply)
        late = await client.take(RESULTS)

    assert (b"in time", b"late") == (in_time, late.body)


async def test_result_for_a_daemon_that_was_killed_is_on_the_results_queue(amqp_url: str) -> None:
    """The reply queue outlives its daemon for a minute, and keeps nothing."""
    async with submitting(amqp_url) as submitter, peer(amqp_url) as client:
        await submitter.publish(b"{}", "mine", submitter.expect())
        asked = await client.take(SUBMISSIONS)
    async with peer(amqp_url) as client:
        await client.publish(asked.reply_to or "", b"too late", correlation_id=asked.correlation_id)
        kept = await client.take(RESULTS)

    assert b"too late" == kept.body


async def test_queue_length_counts_what_was_published_since(submitter: Requests) -> None:
    """The length is remembered for a second, and a burst does not pass by it."""
    empty = await submitter.queue_length()
    for number in range(3):
        await submitter.publish(b"{}", f"number-{number}")
    at_once = await submitter.queue_length()
    await asyncio.sleep(1.1)
    looked_up = await submitter.queue_length()

    assert (0, 3, 3) == (empty, at_once, looked_up)


async def test_queue_that_was_deleted_is_broker_unavailable(submitter: Requests, amqp_url: str) -> None:
    """Also for the same id twice at once, which RabbitMQ's returns alone could not tell apart."""
    async with peer(amqp_url) as client:
        await client.channel.queue_delete(SUBMISSIONS)
        tries = await asyncio.gather(
            *(submitter.publish(b"{}", "same") for _ in range(5)), return_exceptions=True
        )
    await declare(amqp_url)
    await submitter.publish(b"{}", "same")

    assert [BrokerUnavailable] * 5 == [type(tried) for tried in tries]


async def test_bound_of_rabbitmq_is_named_where_it_is_less_than_ours(
    rabbitmq: PrivateBroker, tmp_path: Path
) -> None:
    """It takes 16 MiB by default from version 4 on, whatever the daemon's settings say."""

    def bounded(size_bytes: int) -> None:
        rabbitmq.evaluate(f"application:set_env(rabbit, max_message_size, {size_bytes})")

    large = {"language": "bash", "source_code": "", "stdin": "x" * 100_000}
    bounded(50_000)
    try:
        async with site(tmp_path / "daemon.log", broker__url=rabbitmq.fresh_vhost()) as served:
            refused = await served.post(large)
            await served.ready()
            taken = await served.post(large | {"stdin": ""}, wait=True)
    finally:
        bounded(128 * 1024 * 1024)

    assert (413, "A submission may have at most 50000 bytes.") == (refused[0], refused[1]["message"])
    assert 200 == taken[0]
