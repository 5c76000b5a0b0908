"""Control messages: they reach every daemon, also one that is started later."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from support.amqp import Peer, broker_settings, peer
from support.broker import Broker, vhost
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp.connection import connect
from verdictd.amqp.control import ControlChannel, tell_all
from verdictd.amqp.control_queue import declare_control
from verdictd.amqp.publisher import Publisher
from verdictd.amqp.reconnecting import ReconnectingConnection
from verdictd.contract.control import ControlMessage
from verdictd.errors import BrokerUnavailable
from verdictd.settings import BrokerSettings

pytestmark = pytest.mark.anyio

CONTROL = "verdictd.control"


class Reader:
    """A daemon, as far as control messages go, and what it has heard."""

    def __init__(self) -> None:
        self.heard: list[str | None] = []
        self.channel: ControlChannel

    def hear(self, message: ControlMessage) -> None:
        self.heard.append(message.cancel)

    async def has_heard(self, *names: str) -> bool:
        """Wait until it has heard the last of these names; return whether it has heard just them."""
        await wait_until(lambda: names[-1] in self.heard)
        return list(names) == self.heard


@asynccontextmanager
async def reader(settings: BrokerSettings) -> AsyncIterator[Reader]:
    """A daemon that has read all that was said before."""
    found = Reader()
    async with (
        ReconnectingConnection.keep(settings, "verdictd consume", {}) as consuming,
        Publisher.keep(settings, {}) as publisher,
        ControlChannel.open(consuming, publisher.connection, hear=found.hear) as channel,
    ):
        found.channel = channel
        await channel.caught_up()
        await wait_until(lambda: channel.consuming)
        yield found


async def say(client: Peer, body: bytes) -> None:
    exchange = await client.channel.get_exchange(CONTROL, ensure=False)
    await exchange.publish(aio_pika.Message(body), "", timeout=LIMIT_S)


def invalid_messages() -> float:
    return REGISTRY.get_sample_value("verdictd_control_messages_total", {"kind": "invalid"}) or 0


async def cancel(settings: BrokerSettings, *names: str) -> None:
    await tell_all(settings, [ControlMessage(cancel=name) for name in names])


async def test_message_reaches_all_daemons_also_those_that_start_later(amqp_url: str) -> None:
    """From whichever side it comes: a daemon, a command, another program by exchange or by queue."""
    settings = broker_settings(amqp_url)
    async with reader(settings) as first, reader(settings) as second, peer(amqp_url) as client:
        await first.channel.tell(ControlMessage(cancel="a"))
        await cancel(settings, "b")
        await say(client, b'{"cancel": "c"}')
        await client.publish(CONTROL, b'{"cancel": "d"}')
        told = [await one.has_heard(*"abcd") for one in (first, second)]
    async with reader(settings) as later:
        known = list(later.heard)

    assert [True, True] == told
    assert [*"abcd"] == known


async def test_message_that_says_nothing_is_counted_and_ignored(amqp_url: str) -> None:
    """Many cost one line in the log; what comes after them is heard."""
    before = invalid_messages()
    async with reader(broker_settings(amqp_url)) as daemon, peer(amqp_url) as client:
        with capture_logs() as logs:
            for body in (b"no JSON", b'{"cancel": "../a"}', b"{" * 100_000, b'{"cancel": "a"}'):
                await say(client, body)
            told = await daemon.has_heard("a")

    reasons = [line["reason"] for line in logs if line["event"] == "control.invalid"]
    assert told
    assert (1, 3) == (len(reasons), invalid_messages() - before)


async def test_what_was_said_while_the_connection_was_lost_is_heard(broker: Broker, amqp_url: str) -> None:
    """A daemon reads anew what may have passed it, and what it knew is heard twice at the most."""
    settings = broker_settings(amqp_url)
    async with reader(settings) as daemon, peer(amqp_url) as client:
        await say(client, b'{"cancel": "a"}')
        await daemon.has_heard("a")
        await asyncio.to_thread(broker.close_connections, vhost(amqp_url), "verdictd consume")
        await say(client, b'{"cancel": "b"}')
        await daemon.has_heard("a", "b")

    assert {"a", "b"} == {*daemon.heard}
    assert daemon.heard.count("a") <= 2


async def test_stream_that_was_deleted_is_made_anew(amqp_url: str) -> None:
    """Over the same connection, which others use too."""
    settings = broker_settings(amqp_url)
    async with reader(settings) as daemon, peer(amqp_url) as client:
        with capture_logs() as logs:
            await client.channel.queue_delete(CONTROL)
            await wait_until(lambda: not daemon.channel.consuming)
            await wait_until(lambda: daemon.channel.consuming)
            await cancel(settings, "a")
            told = await daemon.has_heard("a")

    assert told
    assert 1 == len([line for line in logs if line["event"] == "broker.lost"])
    assert [] == [line for line in logs if line["event"] == "broker.connected"]


@pytest.mark.parametrize(
    ("right", "reason"),
    [(".*", "it takes too long"), ("^$", "refused")],
    ids=["not bound", "without a right"],
)
async def test_judging_does_not_wait_for_ever_for_what_was_said_before(
    broker: Broker, amqp_url: str, monkeypatch: pytest.MonkeyPatch, right: str, reason: str
) -> None:
    """Here it never comes: the operator has not bound the stream to the exchange, or forgot a right."""
    monkeypatch.setattr("verdictd.amqp.control._CATCH_UP_S", 300 if reason == "refused" else 0.3)
    async with peer(amqp_url) as client:
        await client.channel.declare_exchange(CONTROL, "fanout", durable=True)
        await client.channel.declare_queue(CONTROL, durable=True, arguments={"x-queue-type": "stream"})
    rights = ", ".join(f'<<"{word}">>' for word in ("guest", vhost(amqp_url), ".*", right, ".*", "tests"))
    await asyncio.to_thread(broker.evaluate, f"rabbit_auth_backend_internal:set_permissions({rights})")
    with capture_logs() as logs:
        async with reader(broker_settings(amqp_url, declare=False)):
            pass
    reasons = [line["reason"] for line in logs if line["event"] == "control.behind"]

    assert [True] == [reason in one for one in reasons]


async def test_stream_is_bounded_by_age_and_size(broker: Broker, amqp_url: str) -> None:
    """RabbitMQ forgets whole segments, so these are small."""
    settings = broker_settings(amqp_url, control_age_s=3_600)
    async with connect(settings, "tests") as connection:
        queue = await declare_control(connection, settings)
    name = f'rabbit_misc:r(<<"{vhost(amqp_url)}">>, queue, <<"{CONTROL}">>)'
    expected = (
        '[{<<"x-max-age">>, <<"3600s">>}, {<<"x-max-length-bytes">>, 67108864},'
        ' {<<"x-queue-type">>, <<"stream">>}, {<<"x-stream-max-segment-size-bytes">>, 1048576}]'
    )
    equal = await asyncio.to_thread(
        broker.evaluate,
        f"{{ok, Q}} = rabbit_amqqueue:lookup({name}),"
        f" lists:sort([{{K, V}} || {{K, _, V}} <- amqqueue:get_arguments(Q)]) == {expected}",
    )

    assert (CONTROL, "", "true") == (queue.name, queue.no_stream, equal)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"control_age_s": 0}, "broker.control_age_s is 0"),
        ({}, "inequivalent arg"),
        ({"declare": False}, "invalid arg 'x-stream-offset'"),
    ],
    ids=["not wanted", "refused", "declared as another queue"],
)
async def test_without_a_stream_those_that_are_connected_hear(
    amqp_url: str, changes: dict[str, Any], reason: str
) -> None:
    """Each has a queue of its own; the log says that there is none that remembers, and why."""
    settings = broker_settings(amqp_url, **changes)
    with capture_logs() as logs:
        async with peer(amqp_url) as client:
            if "control_age_s" not in changes:
                await client.channel.declare_exchange(CONTROL, "fanout", durable=True)
                await client.channel.declare_queue(CONTROL, durable=True)
            async with reader(settings) as first, reader(settings) as second:
                await cancel(settings, "a")
                await first.channel.tell(ControlMessage(cancel="b"))
                told = [await one.has_heard("a", "b") for one in (first, second)]
            async with reader(settings) as later:
                await cancel(settings, "c")
                known = await later.has_heard("c")

    said = [line["reason"] for line in logs if line["event"] == "control.no_stream"]
    assert [True, True, True] == [*told, known]
    assert [True] * 3 == [reason in one for one in said]


async def test_cancel_that_nobody_can_hear_is_an_error(amqp_url: str) -> None:
    """Where no daemon ever was, and where those that have no stream are away."""
    settings = broker_settings(amqp_url, control_age_s=0)
    with pytest.raises(BrokerUnavailable, match=r"no exchange 'verdictd\.control'"):
        await cancel(settings, "a")
    async with reader(settings):
        pass
    with pytest.raises(BrokerUnavailable, match="no daemon reads from the exchange"):
        await cancel(settings, "a")
