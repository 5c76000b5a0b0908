"""Submissions that are cancelled, superseded, or too late: each is answered once, wherever it is."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, broker_settings, peer
from support.broker import Broker
from support.commands import command
from support.daemon import daemon
from support.receiver import SECRET, Receiver
from support.waiting import LIMIT_S, wait_until
from support.web import Site, site, until_counted, until_in_box
from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.amqp.control import tell_all
from verdictd.amqp.control_queue import declare_control
from verdictd.contract.control import ControlMessage, Taken
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TWO_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "2"}
ONE_BOX = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}
LATE = "2026-01-31T12:00:00Z"


@pytest.fixture(scope="module")
def url(broker: Broker) -> str:
    """The virtual host that the tests of this module share."""
    return broker.fresh_vhost()


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    """Takes callbacks."""
    receiver = Receiver()
    async with receiver.up():
        yield receiver


@pytest.fixture(scope="module")
async def shared(
    url: str, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A daemon with two boxes."""
    log = tmp_path_factory.mktemp("control") / "daemon.log"
    callbacks = {
        "callbacks__enabled": "true",
        "callbacks__secrets": SECRET,
        "callbacks__allow_networks": "127.0.0.0/8",
        "callbacks__allow_ports": str(receiver.port),
    }
    async with site(log, broker__url=url, **TWO_BOXES, **callbacks) as shared:
        yield shared


@pytest.fixture
async def client(url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer of the shared daemon."""
    async with peer(url) as client:
        yield client


def bash(source: str = "echo 42", **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "language": "bash", "source_code": source} | fields


def sleeper(**fields: Any) -> dict[str, Any]:
    return bash("sleep 60", wall_time_limit=100, **fields)


async def send(client: Peer, *submissions: dict[str, Any], **properties: Any) -> None:
    for submission in submissions:
        await client.publish(SUBMISSIONS, json.dumps(submission).encode(), **properties)


async def cancel(client: Peer, *submissions: dict[str, Any]) -> None:
    exchange = await client.channel.get_exchange("verdictd.control", ensure=False)
    for submission in submissions:
        body = json.dumps({"cancel": submission["id"]}).encode()
        await exchange.publish(aio_pika.Message(body), "", timeout=LIMIT_S)


async def results(client: Peer, count: int) -> dict[str, str]:
    """The statuses of the next results, by id; none comes twice."""
    answers = [Result.model_validate_json((await client.take(RESULTS)).body) for _ in range(count)]
    statuses = {answer.id: str(answer.status) for answer in answers}
    assert count == len(statuses)
    return statuses


async def test_cancelled_submissions_are_answered_once_and_their_box_is_free_again(
    shared: Site, client: Peer
) -> None:
    """In a box, in the queue, and not there yet; cancelled once or twice."""
    running, *waiting, coming, last = [sleeper(), sleeper()], *(bash() for _ in range(4)), bash(), bash()
    await send(client, *running, *waiting)
    await until_in_box(shared, 2)
    await cancel(client, *waiting[:3], running[0], *running, coming)
    await send(client, coming, last)
    cancelled = [*running, *waiting[:3], coming]

    assert {one["id"]: "cancelled" for one in cancelled} | {
        one["id"]: "accepted" for one in (waiting[3], last)
    } == await results(client, 8)
    assert 0 == await client.count(RESULTS)


@pytest.mark.usefixtures("shared")
async def test_cancel_comes_too_late_for_what_is_answered_and_is_nothing_to_what_is_unknown(
    client: Peer,
) -> None:
    """No second answer comes, and no other submission is hurt."""
    done, last = bash(), bash()
    await send(client, done)
    first = await results(client, 1)
    await cancel(client, done, bash(), done)
    await send(client, last)

    assert {done["id"]: "accepted"} == first
    assert {last["id"]: "accepted"} == await results(client, 1)
    assert 0 == await client.count(RESULTS)


async def test_withdrawn_submissions_have_callbacks(shared: Site, client: Peer, receiver: Receiver) -> None:
    """Each status goes to the reply queue and to the callback, with the sender's own data."""
    fields: dict[str, Any] = {"callback_url": receiver.url, "metadata": {"row": 7}}
    key = {"supersede_key": str(uuid.uuid4())}
    older, newer = sleeper(**fields, **key), sleeper(**fields, **key)
    late = bash(deadline=LATE, **fields)
    before = len(receiver.received)
    await send(client, older)
    await until_in_box(shared, 1)
    await send(client, newer)
    superseded = await results(client, 1)
    await until_in_box(shared, 1)
    await cancel(client, newer)
    await send(client, late)
    await wait_until(lambda: len(receiver.received) == before + 3)
    expected = {older["id"]: "superseded", newer["id"]: "cancelled", late["id"]: "expired"}
    posted = [request.verified() for request in receiver.received[before:]]

    assert expected == superseded | await results(client, 2)
    assert expected == {result["id"]: result["status"] for result in posted}
    assert [{"row": 7}] * 3 == [result["metadata"] for result in posted]


async def test_newest_of_a_key_is_judged_and_the_others_give_way(shared: Site, client: Peer) -> None:
    """Whatever comes late, comes again, or has another key."""
    key = {"supersede_key": str(uuid.uuid4())}
    blocker, oldest, newest, other = sleeper(), bash(**key), bash(**key), bash(supersede_key="other")
    await send(client, blocker)
    await until_in_box(shared, 1)
    await send(client, newest, timestamp=1_767_323_045)
    await send(client, oldest, timestamp=1_767_323_044)
    await send(client, other, timestamp=1_767_323_046)
    await cancel(client, blocker)
    answered = await results(client, 4)
    await send(client, oldest, timestamp=1_767_323_047)
    again = Result.model_validate_json((await client.take(RESULTS)).body)

    assert {
        blocker["id"]: "cancelled",
        oldest["id"]: "superseded",
        newest["id"]: "accepted",
        other["id"]: "accepted",
    } == answered
    assert ("superseded", True) == (again.status, again.duplicate)


async def test_delete_over_http_and_the_command_cancel_too(shared: Site, client: Peer, url: str) -> None:
    """All daemons are told; the answer says what this one has seen."""
    done, running, other, waiting = bash(), sleeper(), sleeper(), bash()
    await send(client, done)
    await results(client, 1)
    await until_counted(shared, done["id"])
    await send(client, running, other, waiting)
    await until_in_box(shared, 2)
    ended = await command("cancel", waiting["id"], broker__url=url)
    told = [
        await shared.get(f"/submissions/{name}", "DELETE") for name in (done["id"], running["id"], "unknown")
    ]
    refused = await shared.get("/submissions/a%20b", "DELETE")

    assert (0, f"All daemons are told to cancel {waiting['id']}.\n", "") == (ended.code, ended.out, ended.err)
    assert [
        (202, {"id": done["id"], "state": "answered", "status": "accepted"}),
        (202, {"id": running["id"], "state": "running", "status": None}),
        (202, {"id": "unknown", "state": "unknown", "status": None}),
    ] == told
    assert 400 == refused[0]
    await cancel(client, other)
    assert dict.fromkeys((running["id"], waiting["id"], other["id"]), "cancelled") == await results(client, 3)


async def test_command_says_what_is_wrong(amqp_url: str) -> None:
    """An id that is none, and a broker on which no daemon ever was."""
    wrong = await command("cancel", "a b")
    nobody = await command("cancel", "a", broker__url=amqp_url)

    assert (2, True) == (wrong.code, "an id has 1 to 128 of" in wrong.err)
    assert (1, "") == (nobody.code, nobody.out)
    assert "no exchange 'verdictd.control'" in nobody.err


async def test_daemon_that_starts_later_knows_what_was_said(amqp_url: str, tmp_path: Path) -> None:
    """What was cancelled or superseded while none ran is not begun."""
    settings = broker_settings(amqp_url)
    async with connect(settings, "tests") as connection:
        await topology.declare(connection, settings, topology.queues(settings))
        await declare_control(connection, settings)
    cancelled, older, last = bash(), bash(supersede_key="k"), bash()
    newer = Taken(key="k", id="newer", body_sha256="0" * 64, published_ms=1_767_323_045_000, taken_ms=0)
    async with peer(amqp_url) as client:
        await send(client, cancelled, older, last, timestamp=1_767_323_044)
        await tell_all(settings, [ControlMessage(cancel=cancelled["id"]), ControlMessage(supersede=newer)])
        debug = {"broker__url": amqp_url, "log__level": "debug"}
        async with daemon(tmp_path / "daemon.log", **ONE_BOX, **debug) as running:
            answered = await results(client, 3)
            begun = [line["id"] for line in running.logged("submission.started")]

    assert {
        cancelled["id"]: "cancelled",
        older["id"]: "superseded",
        last["id"]: "accepted",
    } == answered
    assert [last["id"]] == begun


async def test_daemons_tell_each_other_of_newer_submissions(
    shared: Site, client: Peer, url: str, tmp_path: Path
) -> None:
    """One takes the newer submission, and the other ends the older one, which runs there."""
    key = {"supersede_key": str(uuid.uuid4())}
    older, waiting, newer = sleeper(**key), sleeper(), bash(**key)
    await send(client, older)
    await send(client, waiting)
    await until_in_box(shared, 2)  # the shared daemon is full
    async with daemon(tmp_path / "daemon.log", **ONE_BOX, broker__url=url) as other:
        await send(client, newer)
        answered = await results(client, 2)
        await cancel(client, waiting)
        answered |= await results(client, 1)
        by_other = [line["id"] for line in other.logged("submission.answered")]

    assert [newer["id"]] == by_other
    assert {older["id"]: "superseded", newer["id"]: "accepted", waiting["id"]: "cancelled"} == answered
