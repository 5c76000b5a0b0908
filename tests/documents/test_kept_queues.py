"""What systemd/README.md says of queues that grow: bound, looked at, emptied, and put back."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, peer
from support.callbacks import CALLBACKS, DEAD_CALLBACKS
from support.daemon import Daemon, daemon
from support.manual import Operator, commands, section
from support.receiver import SECRET, Receiver, answers
from support.waiting import LIMIT_S, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

Start = Callable[..., AbstractAsyncContextManager[Daemon]]
COMMANDS = commands("Queues that grow")
POLICIES = [words for words in COMMANDS if words[1] == "set_policy"]
(SHOVEL,) = (words for words in COMMANDS if words[1] == "set_parameter")
ONLINE = {"language": "bash", "source_code": "echo 42", "enable_network": True}
"""A submission that is invalid until the operator allows the network."""


@pytest.fixture
def start(operator: Operator, tmp_path: Path) -> Start:
    """Start a daemon that delivers callbacks to loopback."""

    def start(**settings: str) -> AbstractAsyncContextManager[Daemon]:
        own = {
            "broker__url": operator.broker.url,
            "sandbox__isolate": "embedded",
            "sandbox__boxes": "1",
            "callbacks__enabled": "true",
            "callbacks__secrets": SECRET,
            "callbacks__allow_networks": "127.0.0.0/8",
        }
        return daemon(tmp_path / "daemon.log", **(own | settings))

    return start


async def lengths(operator: Operator) -> dict[str, int]:
    """The lengths of all queues, as the printed command tells them."""
    (words,) = (words for words in COMMANDS if words[1] == "list_queues")
    lines = (await asyncio.to_thread(operator.run, words)).splitlines()
    return {name: int(length) for name, length in (line.split("\t") for line in lines[1:])}


async def test_policies_hold_and_the_daemon_declares_its_queues_all_the_same(
    operator: Operator, start: Start
) -> None:
    """Each queue that grows has one, as printed, and no other queue has."""
    async with start():
        pass
    first, *others = POLICIES
    operator.run(first)
    for words in others:  # of the same form
        *options, name, pattern, definition = words
        assert first[:4] == options
        operator.set_policy(name, pattern, json.loads(definition))
    definitions = {policy["name"]: policy["definition"] for policy in operator.policies}
    policies = operator.policies_by_queue()
    async with start() as running, peer(operator.broker.url) as client:
        await client.publish(SUBMISSIONS, json.dumps(ONLINE | {"enable_network": False}).encode())
        result = json.loads((await client.take(RESULTS, 30)).body)

    dead = {"message-ttl": 30 * 86_400_000, "max-length": 100_000}
    assert {
        RESULTS: {"message-ttl": 7 * 86_400_000, "max-length-bytes": 2**30},
        DEAD: dead,
        DEAD_CALLBACKS: dead,
    } == {queue: definitions[policy] for queue, policy in policies.items() if policy}
    assert "accepted" == result["status"]
    assert "inequivalent" not in running.text


async def test_policies_let_the_oldest_go(operator: Operator, start: Start) -> None:
    """The printed ones, with numbers that a test can wait for: a second, 500 bytes, three messages."""
    numbers = {"604800000": "60000", "1073741824": "500", "2592000000": "1000", "100000": "3"}
    for _, _, *options, name, pattern, definition in POLICIES:
        assert ["--apply-to", "queues"] == options
        changed = re.sub(r"\d+", lambda found: numbers[found[0]], definition)
        operator.set_policy(name, pattern, json.loads(changed))
    async with start(), peer(operator.broker.url) as client:
        for number in range(9):
            await client.publish(RESULTS, b"%d" % number * 100)
            await client.publish(DEAD, b"%d" % number)
        kept = [(await client.take(RESULTS)).body[:1] for _ in range(await client.count(RESULTS))]
        bounded = await client.count(DEAD)
        async with asyncio.timeout(10):
            while await client.count(DEAD):
                await asyncio.sleep(0.1)
    operator.begin_anew()

    assert (kept, 3) == ([b"4", b"5", b"6", b"7", b"8"], bounded)


async def test_dead_letters_are_seen_and_go_back(operator: Operator, start: Start) -> None:
    """They stay until the cause is mended; then each is judged and answered as if it were new."""
    (look,) = (words for words in COMMANDS if words[:2] == ["rabbitmqadmin", "get"])
    async with peer(operator.broker.url) as client:
        async with start():
            for number in range(3):
                body = json.dumps(ONLINE | {"metadata": {"number": number}}).encode()
                await client.publish(
                    SUBMISSIONS, body, message_id=f"s-{number}", correlation_id=f"c-{number}"
                )
            invalid = [json.loads((await client.take(RESULTS, 30)).body)["status"] for _ in range(3)]
            await wait_until(lambda: operator.broker.counted(DEAD) == 3)
            listed = (await lengths(operator))[DEAD]
        seen = [operator.run(look) for _ in range(2)]
        async with start(sandbox__allow_network="true"):
            operator.run(SHOVEL)
            answered = [await client.take(RESULTS, 30) for _ in range(3)]
            await client.until_waiting(DEAD, 0)
            await wait_until(lambda: not operator.shovels)
    results = [json.loads(message.body) for message in answered]

    assert (["invalid_submission"] * 3, 3) == (invalid, listed)
    assert all(f'"number": {number}' in look for look in seen for number in range(3))
    assert [(f"c-{number}", f"s-{number}", "accepted", 1, False) for number in range(3)] == sorted(
        (message.correlation_id, result["id"], result["status"], result["attempt"], result["duplicate"])
        for message, result in zip(answered, results, strict=True)
    )


async def test_callbacks_go_back_the_same_way(operator: Operator, start: Start) -> None:
    """The same command with the names that the text has for them."""
    receiver = Receiver(answers(410), answers(204))
    names = re.findall(r"Callbacks go\s+from `(\S+)` to\s+`(\S+)`", section("Queues that grow"))
    assert [(DEAD_CALLBACKS, CALLBACKS)] == names
    *_, name, shovel = (word.replace(DEAD, DEAD_CALLBACKS).replace(SUBMISSIONS, CALLBACKS) for word in SHOVEL)
    async with (
        receiver.up(),
        start(callbacks__allow_ports=str(receiver.port)) as running,
        peer(operator.broker.url) as client,
    ):
        submission = {"language": "bash", "source_code": "echo 42", "callback_url": receiver.url}
        await client.publish(SUBMISSIONS, json.dumps(submission).encode())
        await wait_until(lambda: running.logged("callback.given_up"))
        await client.until_waiting(DEAD_CALLBACKS, 1)
        operator.set_shovel(name, json.loads(shovel))
        await wait_until(lambda: running.logged("callback.delivered"))
        await client.take(RESULTS)

    assert {receiver.received[0].headers["webhook-id"]} == {
        had.headers["webhook-id"] for had in receiver.received
    }


async def test_dead_letters_are_counted_and_purged(operator: Operator, start: Start) -> None:
    """RabbitMQ's own metrics have each queue by its name, where the text says."""
    text = section("Queues that grow")
    (path,) = re.findall(r"path `(/metrics/\S+)`", text)
    (expression,) = re.findall(r"`(rabbitmq_queue_messages)\{queue=~\"verdictd\.\*dead\"\} > 0`", text)
    (purge,) = re.findall(r"`(rabbitmqctl purge_queue \S+)`", text)
    async with start(), peer(operator.broker.url) as client, aiohttp.ClientSession() as session:
        await client.publish(DEAD)
        url = f"http://127.0.0.1:{operator.prometheus_port}{path}"
        more_than_none = re.compile(rf'{expression}{{vhost="/",queue="{DEAD}"}} [1-9]')
        async with asyncio.timeout(LIMIT_S):
            while not more_than_none.search(await metrics(session, url)):
                await asyncio.sleep(0.5)
        operator.run(purge.split())
        left = await client.count(DEAD)

    assert 0 == left


async def metrics(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()
