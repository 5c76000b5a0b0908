"""How the broker connects, and to which queues, on a real RabbitMQ."""

import asyncio
import gc
import itertools
import socket
import ssl
from pathlib import Path

import aio_pika
import pytest

from support.amqp import (
    DEAD,
    RESULTS,
    SUBMISSIONS,
    UNANSWERED,
    accept,
    broker_settings,
    connect_once,
    connected,
    consuming,
    peer,
)
from support.broker import Broker, vhost
from support.certificates import make_certificate, needs_openssl
from support.rabbitmq import free_ports
from verdictd.amqp import topology
from verdictd.amqp.connection import tls_context
from verdictd.concurrency import backoff
from verdictd.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


async def test_connect_declares_four_quorum_queues(broker: Broker, amqp_url: str) -> None:
    """Nothing is lost with a node; a submission given up goes to the dead queue, and surely arrives there."""
    async with connected(broker_settings(amqp_url)):
        declared = await asyncio.to_thread(
            broker.evaluate_json,
            "maps:from_list([{Name, maps:from_list([{K, V} || {K, _, V} <- amqqueue:get_arguments(Queue)])}"
            f' || Queue <- rabbit_amqqueue:list(<<"{vhost(amqp_url)}">>), amqqueue:is_durable(Queue),'
            " Name <- [element(4, amqqueue:get_name(Queue))]])",
        )

    quorum = {"x-queue-type": "quorum"}
    on = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    submissions = quorum | on | {"x-dead-letter-routing-key": UNANSWERED, "x-delivery-limit": 20}
    unanswered = quorum | on | {"x-dead-letter-routing-key": DEAD}
    assert {
        SUBMISSIONS: submissions,
        UNANSWERED: unanswered,
        RESULTS: quorum,
        DEAD: quorum,
    } == declared


async def test_declare_false_makes_no_queue_and_names_the_missing_one(amqp_url: str) -> None:
    """Where the operator declares, the daemon only looks, and says what is not there."""
    with pytest.raises(BrokerUnavailable) as failure:
        await connect_once(broker_settings(amqp_url, declare=False))

    assert "queue 'verdictd.dead' cannot be used: NOT_FOUND" in str(failure.value)


async def test_declare_false_takes_queues_with_other_arguments(amqp_url: str) -> None:
    """Where the operator declares, the arguments are the operator's."""
    async with peer(amqp_url) as operator:
        for queue in (SUBMISSIONS, UNANSWERED, RESULTS, DEAD):
            await operator.channel.declare_queue(queue, durable=True)
        async with connected(broker_settings(amqp_url, declare=False)) as broker, consuming(broker, accept):
            consumes = broker.consuming

    assert consumes


@pytest.mark.parametrize(
    ("queue", "arguments", "argument"),
    [
        (SUBMISSIONS, {"x-delivery-limit": 5}, "x-delivery-limit"),
        (SUBMISSIONS, {"x-dead-letter-routing-key": "elsewhere"}, "x-dead-letter-routing-key"),
        (RESULTS, {"x-queue-type": "classic"}, "x-queue-type"),
    ],
)
async def test_queue_with_another_argument_is_named_with_it(
    amqp_url: str, queue: str, arguments: dict[str, str | int], argument: str
) -> None:
    """A queue that was declared otherwise prevents the start; the error names the argument and the queue."""
    async with peer(amqp_url) as operator:
        declared = topology.queues(broker_settings(amqp_url))[queue] | arguments
        await operator.channel.declare_queue(queue, durable=True, arguments=declared)
    with pytest.raises(BrokerUnavailable) as failure:
        await connect_once(broker_settings(amqp_url))

    assert f"inequivalent arg '{argument}' for queue '{queue}'" in str(failure.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("guest:guest", "guest:wrong"), "wrong user or password? ACCESS_REFUSED"),
        (("/test-", "/nowhere-"), "the virtual host does not exist, or the user may not use it"),
        (("amqp:", "amqps:"), "this port does not speak TLS"),
    ],
)
async def test_refused_connection_says_why(amqp_url: str, change: tuple[str, str], reason: str) -> None:
    """A connection that RabbitMQ refuses is BrokerUnavailable with the reason, and no password in it."""
    with pytest.raises(BrokerUnavailable) as failure:
        await connect_once(broker_settings(amqp_url.replace(*change)))

    assert reason in str(failure.value)
    assert "guest" not in str(failure.value)


async def test_closed_port_is_named() -> None:
    """Where nothing listens, the error says where that was."""
    with pytest.raises(BrokerUnavailable) as failure:
        await connect_once(broker_settings("amqp://guest:guest@127.0.0.1:1/"))

    assert str(failure.value) == "cannot connect to 127.0.0.1:1: Connection refused"


async def test_connection_that_fails_is_closed_at_once() -> None:
    """One that is left to the garbage collector warns, from whatever thread that runs in."""
    with pytest.raises(BrokerUnavailable):
        await connect_once(broker_settings("amqp://guest:guest@127.0.0.1:1/"))
    connections = [found for found in gc.get_objects() if type(found) is aio_pika.Connection]

    assert [] == [found for found in connections if not found.is_closed]


async def test_silent_port_is_given_up_after_the_connect_timeout() -> None:
    """A server that accepts and then says nothing costs connect_timeout_s, no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = broker_settings(f"amqp://guest:guest@127.0.0.1:{port}/", connect_timeout_s=0.2)
        with pytest.raises(BrokerUnavailable) as failure:
            await connect_once(settings)

    assert f"cannot connect to 127.0.0.1:{port}: no answer in time" == str(failure.value)


async def test_amqps_checks_the_name_and_the_certificate() -> None:
    """TLS is never without verification; it is in use for amqps alone, in whatever case that is written."""
    secure = tls_context(broker_settings("AMQPS://broker.example/"))
    plain = tls_context(broker_settings("amqp://broker.example/"))

    assert secure is not None
    assert (True, ssl.CERT_REQUIRED) == (secure.check_hostname, secure.verify_mode)
    assert plain is None


@needs_openssl
async def test_amqps_needs_a_broker_that_the_ca_signed_and_shows_its_own_certificate(
    broker: Broker, amqp_url: str, tmp_path: Path
) -> None:
    """Over TLS both sides prove who they are, each to a CA of the operator's choice."""
    ca = make_certificate(tmp_path, "ca")
    signed = ("-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")), "-addext", "basicConstraints=CA:FALSE")
    cert = make_certificate(tmp_path, "localhost", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    files = {"ca_file": ca, "cert_file": cert, "key_file": cert.with_suffix(".key")}
    port = await listen_with_tls(broker, ca, cert)
    url = f"amqps://guest:guest@127.0.0.1:{port}/{vhost(amqp_url)}"

    async with connected(broker_settings(url, **files)) as both:
        proved = both.connected
    with pytest.raises(BrokerUnavailable) as unknown_broker:
        await connect_once(broker_settings(url, **files | {"ca_file": None}))
    with pytest.raises(BrokerUnavailable) as unknown_daemon:
        await connect_once(broker_settings(url, ca_file=ca))

    assert proved
    assert "its certificate is not accepted" in str(unknown_broker.value)
    assert str(unknown_daemon.value).startswith(f"cannot connect to 127.0.0.1:{port}: ")


async def test_unreadable_ca_file_is_named() -> None:
    """A TLS file that cannot be read is named before anything is sent."""
    with pytest.raises(BrokerUnavailable) as failure:
        await connect_once(broker_settings("amqps://broker.example/", ca_file="/nowhere/ca.pem"))

    assert "ca_file /nowhere/ca.pem" in str(failure.value)


async def test_state_is_connected_and_consuming_only_while_it_is(amqp_url: str) -> None:
    """Readiness can be read off the consumer."""
    async with connected(broker_settings(amqp_url)) as side:
        before = repr(side.consumer)
        async with consuming(side, accept):
            during = repr(side.consumer)
        after = repr(side.consumer)

    idle, busy = (
        f"<Consumer of {SUBMISSIONS}: connected, {does}, 0 in flight>"
        for does in ("not consuming", "consuming")
    )
    assert [idle, busy, idle] == [before, during, after]


async def test_error_in_the_block_leaves_connect_as_it_is(amqp_url: str) -> None:
    """What the service raises is not hidden in a group of exceptions."""
    with pytest.raises(ZeroDivisionError):
        async with connected(broker_settings(amqp_url)):
            raise ZeroDivisionError


def test_pauses_double_up_to_the_longest_less_a_random_part() -> None:
    """Boxes that lost the same broker come back at different times, none later than the longest pause."""
    first, second = (list(itertools.islice(backoff(4), 6)) for _ in range(2))

    longest_s = [0.5, 1, 2, 4, 4, 4]
    assert all(limit_s / 2 <= pause_s <= limit_s for limit_s, pause_s in zip(longest_s, first, strict=True))
    assert first != second


async def listen_with_tls(broker: Broker, ca: Path, certificate: Path) -> int:
    """The port of a TLS listener that asks for a certificate of the client."""
    (port,) = free_ports(1)
    key = certificate.with_suffix(".key")
    files = f'{{cacertfile, "{ca}"}}, {{certfile, "{certificate}"}}, {{keyfile, "{key}"}}'
    options = f"[{files}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]"
    start = f'rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, {options}, 1)'
    broker.evaluate(start)
    return port
