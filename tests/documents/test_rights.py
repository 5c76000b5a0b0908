"""The users of RabbitMQ that systemd/README.md makes: their rights are enough, and no more than that."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import pytest
from aiormq.exceptions import ChannelAccessRefused
from pydantic import SecretStr

from support.amqp import DEAD, RESULTS, SUBMISSIONS, peer
from support.callbacks import CALLBACKS, DEAD_CALLBACKS
from support.daemon import daemon
from support.manual import Operator, commands, section
from support.receiver import SECRET, Receiver, answers
from support.waiting import wait_until
from support.web import Site, listening, site
from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.amqp.control import tell_all
from verdictd.amqp.control_queue import declare_control
from verdictd.contract.control import ControlMessage
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings, CallbackSettings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

COMMANDS = commands("RabbitMQ")
RIGHTS = {words[2]: tuple(words[3:]) for words in COMMANDS if words[1] == "set_permissions"}
HELLO = {"language": "bash", "source_code": "echo 42", "expected_output": "42"}
README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def users(operator: Operator) -> None:
    """Type the commands for the first user; those for the others have the same form."""
    typed = [words for words in COMMANDS if words[0] == "rabbitmqctl"]
    for user, rights in RIGHTS.items():
        add, permit = (words for words in typed if words[2] == user)
        assert (["add_user"], ["set_permissions"], 3) == (add[1:2], permit[1:2], len(permit[3:]))
        if user == "verdictd":
            operator.run(add)
            operator.run(permit)
        else:
            operator.permit(user, *rights)
    assert 2 * len(RIGHTS) == len(typed)


@asynccontextmanager
async def judging(operator: Operator, folder: Path, **settings: str) -> AsyncIterator[Site]:
    """The daemon, as its user, with everything that needs rights."""
    own = {
        "broker__url": operator.url("verdictd"),
        "callbacks__enabled": "true",
        "callbacks__secrets": SECRET,
        "callbacks__allow_networks": "127.0.0.0/8",
        "callbacks__retry_delays_s": "0.3 0.5",
    }
    async with site(folder / "daemon.log", **(own | settings)) as served:
        yield served
        assert "refused" not in served.daemon.text


async def direct_reply(url: str) -> dict[str, Any]:
    """The result of a submission that is waited for on amq.rabbitmq.reply-to."""
    replies: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.basic_consume("amq.rabbitmq.reply-to", replies.put, no_ack=True)
        await channel.basic_publish(
            json.dumps(HELLO).encode(),
            routing_key=SUBMISSIONS,
            properties=aiormq.spec.Basic.Properties(reply_to="amq.rabbitmq.reply-to"),
        )
        async with asyncio.timeout(30):
            result: dict[str, Any] = json.loads((await replies.get()).body)
            return result


async def readme_client(url: str) -> str:
    """What the client prints that README.md has, as the user of this URL."""
    source = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    source = source.replace("amqp://guest:guest@127.0.0.1:5672", url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return out.decode()


async def test_rights_are_enough_for_the_daemon_and_for_a_client(operator: Operator, tmp_path: Path) -> None:
    """Results by queue, directly and over HTTP, callbacks with a second try, and what goes to dead queues."""
    receiver = Receiver(answers(500), answers(204), answers(410))
    async with (
        receiver.up(),
        judging(operator, tmp_path, callbacks__allow_ports=str(receiver.port)) as served,
        peer(operator.broker.url) as admin,
        peer(operator.url("web")) as client,
    ):
        said = await readme_client(operator.url("web"))
        direct = await direct_reply(operator.url("web"))
        over_http = await served.post(HELLO | {"callback_url": receiver.url}, wait=True)
        await wait_until(lambda: served.daemon.logged("callback.delivered"))
        accepted = await served.post(HELLO | {"callback_url": receiver.url})
        kept = json.loads((await admin.take(RESULTS, 30)).body)
        given_up = await admin.take(DEAD_CALLBACKS, 30)
        await client.publish(SUBMISSIONS, b"no JSON")
        invalid = await admin.take(DEAD, 30)
        await admin.take(RESULTS)

    assert "accepted\n" == said
    assert ["accepted", "accepted", "accepted"] == [direct["status"], over_http[1]["status"], kept["status"]]
    assert (200, 202, kept["id"]) == (over_http[0], accepted[0], accepted[1]["id"])
    assert over_http[1]["id"] == receiver.received[1].verified()["id"]
    assert (b"no JSON", "gone") == (invalid.body, str(given_up.headers["reason"])[:4])


async def test_rights_are_enough_to_follow_submissions(operator: Operator, tmp_path: Path) -> None:
    """Those of the daemon, for its exchange and its streams over HTTP, and those of a client that watches."""
    async with judging(operator, tmp_path) as served, peer(operator.url("watcher")) as watcher:
        queue = await watcher.channel.declare_queue("verdictd.reply.watch", exclusive=True)
        await queue.bind("verdictd.events", "watched.*")
        async with served.client.get("/submissions/watched/events") as stream:
            await served.post(HELLO | {"id": "watched", "events": True}, wait=True)
            streamed = await stream.text()
        await watcher.until_waiting(queue.name, 4)
    with pytest.raises(ChannelAccessRefused):
        await on_channel(operator.url("watcher"), "basic_get", SUBMISSIONS)

    assert 4 == streamed.count("event: ")


async def test_daemon_that_declares_nothing_needs_less(operator: Operator, tmp_path: Path) -> None:
    """The text has the two expressions: for HTTP, whose reply queue it still makes, and without HTTP."""
    found = re.search(r"may be `'(.*?)'`, and without HTTP `'(.*?)'`", " ".join(section("RabbitMQ").split()))
    assert found
    _, write, read = RIGHTS["verdictd"]
    settings = {"broker__url": operator.url("less"), "broker__declare": "false"}
    async with judging(operator, tmp_path):
        pass  # which declares the queues
    for words in commands("Cancelled and superseded submissions"):
        operator.run(words)  # which would be refused if that were not what is there
    operator.permit("less", found[1], write, read)
    async with judging(operator, tmp_path, **settings) as served:
        status, result = await served.post(HELLO, wait=True)
    operator.permit("less", found[2], write, read)
    own = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}
    async with daemon(tmp_path / "less.log", **settings, **own) as running:
        said = await readme_client(operator.url("web"))
    async with listening(tmp_path / "http.log", **settings, **own) as served:
        await wait_until(lambda: served.daemon.logged("broker.consuming"))
        await wait_until(
            lambda: any("refused" in line["reason"] for line in served.daemon.logged("broker.lost"))
        )
        code, ready = await served.get("/readyz")

    assert (503, 1) == (code, len(ready["problems"]))
    assert re.match(r"not taking submissions over HTTP: .*access to queue .* refused", ready["problems"][0])
    assert (200, "accepted", "accepted\n") == (status, result["status"], said)
    assert "refused" not in running.text


@pytest.mark.parametrize("missing", [0, 1, 2])
async def test_right_that_is_missing_is_named(operator: Operator, missing: int) -> None:
    """None of the three can be left out, and the reason says where."""
    rights = [right if number != missing else "^$" for number, right in enumerate(RIGHTS["verdictd"])]
    user = f"lacks-{missing}"
    operator.permit(user, *rights)
    settings = BrokerSettings(url=SecretStr(operator.url(user)))
    needed = topology.queues(settings, CallbackSettings(enabled=True))
    with pytest.raises(BrokerUnavailable, match=r"access to .* refused for user"):
        async with connect(settings, "tests") as connection:
            await topology.declare(connection, settings, needed)


@pytest.mark.parametrize("queue", [SUBMISSIONS, RESULTS, DEAD, CALLBACKS, "verdictd.reply.http.1-2"])
async def test_client_reads_and_deletes_nothing_of_others(operator: Operator, queue: str) -> None:
    """Neither submissions with their sources nor what others wait for."""
    for act in ("basic_get", "basic_consume", "queue_delete", "queue_purge"):
        with pytest.raises(ChannelAccessRefused):
            await on_channel(operator.url("web"), act, queue)


async def on_channel(url: str, act: str, queue: str) -> None:
    """Do one thing with a queue."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        consumer = [print] if act == "basic_consume" else []
        await getattr(channel, act)(queue, *consumer)


async def test_client_needs_a_right_to_cancel(operator: Operator) -> None:
    """With the expression in the text it may, and without it is told so."""
    text = " ".join(section("RabbitMQ").split())
    (write,) = re.findall(r"control messages, with `'(\S+)'` as its second right", text)
    configure, _, read = RIGHTS["web"]
    operator.permit("canceller", configure, write, read)
    settings = BrokerSettings(url=SecretStr(operator.url("verdictd")))
    async with connect(settings, "tests") as connection:
        await declare_control(connection, settings)
    cancel = [ControlMessage(cancel="s-1")]
    await tell_all(BrokerSettings(url=SecretStr(operator.url("canceller"))), cancel)
    with pytest.raises(BrokerUnavailable, match=r"access to exchange 'verdictd\.control' .* refused"):
        await tell_all(BrokerSettings(url=SecretStr(operator.url("web"))), cancel)


async def test_client_may_be_let_to_the_results(operator: Operator, tmp_path: Path) -> None:
    """With the expression in the text, it takes them, and still no submissions."""
    (read,) = re.findall(r"consumes the results queue reads\n`'(.*?)'`", section("RabbitMQ"))
    configure, write, _ = RIGHTS["web"]
    operator.permit("reader", configure, write, read)
    async with judging(operator, tmp_path), peer(operator.url("reader")) as client:
        await client.publish(SUBMISSIONS, json.dumps(HELLO).encode())
        result = json.loads((await client.take(RESULTS, 30)).body)
    with pytest.raises(ChannelAccessRefused):
        await on_channel(operator.url("reader"), "basic_get", SUBMISSIONS)

    assert "accepted" == result["status"]


async def test_client_with_an_exchange_of_its_own_publishes_submissions_only(
    operator: Operator, tmp_path: Path
) -> None:
    """It has one way in: no result and no callback can be forged."""
    configure, _, read = RIGHTS["web"]
    (write,) = re.findall(r"and `'(.*?)'` as their second right", " ".join(section("RabbitMQ").split()))
    operator.permit("guarded", configure, write, read)
    async with judging(operator, tmp_path), peer(operator.url("guarded")) as client:
        for words in COMMANDS:
            if words[0] == "rabbitmqadmin":
                operator.run(words)
        replies = await client.channel.declare_queue("verdictd.reply.guarded", exclusive=True)
        exchange = await client.channel.get_exchange("verdictd.in", ensure=False)
        message = aio_pika.Message(json.dumps(HELLO).encode(), reply_to=replies.name)
        await exchange.publish(message, "", mandatory=True)
        result = json.loads((await client.take(replies.name, 30)).body)
        with pytest.raises(ChannelAccessRefused):
            await client.publish(CALLBACKS)

    assert "accepted" == result["status"]
