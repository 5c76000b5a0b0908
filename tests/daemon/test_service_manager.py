"""The daemon and its service manager: a real process, a real broker, a real socket."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aio_pika.abc import AbstractConnection

from support.amqp import SUBMISSIONS, broker_settings, peer
from support.daemon import daemon, launched
from support.manager import Manager, manager
from support.proxy import Proxy
from support.waiting import LIMIT_S, wait_until
from verdictd.amqp.reconnecting import Liveness, ReconnectingConnection
from verdictd.concurrency import background

pytestmark = pytest.mark.anyio

EMBEDDED = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """A service manager that wants a sign of life every two seconds at least."""
    with manager(tmp_path) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield listening


async def test_daemon_is_ready_when_it_consumes_and_not_before(
    listening: Manager, amqp_url: str, tmp_path: Path
) -> None:
    """A broker that comes late is waited for, with signs of life; one that goes away costs no restart."""
    async with Proxy.open(amqp_url) as broker:
        async with broker.away(), AsyncExitStack() as stack:
            running = await stack.enter_async_context(
                launched(tmp_path / "log", broker__url=broker.url, **EMBEDDED)
            )
            await wait_until(lambda: len(running.logged("broker.unavailable")) > 2, within_s=60)
            assert [] == listening.states("READY")
            assert listening.states("WATCHDOG")
            assert listening.states("EXTEND_TIMEOUT_USEC")
            assert "STATUS=not ready: not connected to RabbitMQ" in listening.states("STATUS")[-1]
            daemon_ends = stack.pop_all()
        async with daemon_ends:
            await wait_until(lambda: listening.states("READY"), within_s=60)
            assert running.logged("broker.consuming")
            await until_status(listening, "STATUS=judging: 0 of 1 boxes")
            async with broker.away():
                await until_status(listening, "not connected to RabbitMQ")
                signs = len(listening.states("WATCHDOG"))
                await wait_until(lambda: len(listening.states("WATCHDOG")) > signs + 4, within_s=60)

    assert ["READY=1"] == listening.states("READY")


async def until_status(listening: Manager, text: str) -> None:
    await wait_until(lambda: text in listening.states("STATUS")[-1], within_s=60)


async def test_tries_to_connect_are_progress_and_one_without_end_is_none(amqp_url: str) -> None:
    """The watchdog ends a consumer that is stuck, not one whose broker is away."""
    liveness, connected = Liveness(limit_s=3), asyncio.Event()

    async def hang(_: AbstractConnection) -> None:
        connected.set()
        await asyncio.Event().wait()

    async with Proxy.open(amqp_url) as broker, AsyncExitStack() as stack:
        async with broker.away():
            settings = broker_settings(broker.url, connect_timeout_s=1)
            keep = ReconnectingConnection.keep(settings, "verdictd test", {})
            connection = await stack.enter_async_context(keep)
            use = connection.use(hang, liveness=liveness, on_failure=lambda _: None)
            await stack.enter_async_context(background(use))
            for _ in range(35):
                await asyncio.sleep(0.1)
                assert [False, False] == [liveness.overdue, connection.overdue]
        await asyncio.wait_for(connected.wait(), 60)
        await wait_until(lambda: liveness.overdue)


async def test_stop_is_told_and_extended_until_the_box_is_free(
    listening: Manager, amqp_url: str, tmp_path: Path
) -> None:
    """A drain that takes its time is not killed; after it the daemon ends by itself."""
    slow = {"id": "slow", "language": "bash", "source_code": "sleep 6"}
    async with (
        peer(amqp_url) as client,
        daemon(tmp_path / "log", broker__url=amqp_url, **EMBEDDED) as running,
    ):
        publishing = asyncio.create_task(client.publish(SUBMISSIONS, json.dumps(slow).encode()))
        await wait_until(lambda: "1 of 1 boxes busy" in listening.states("STATUS")[-1])
        extended = len(listening.states("EXTEND_TIMEOUT_USEC"))
        code = await running.end()
        await publishing

    assert 0 == code
    assert ["STOPPING=1"] == listening.states("STOPPING")
    assert len(listening.states("EXTEND_TIMEOUT_USEC")) > extended + 2
    assert "STATUS=finishing what is in a box: 1 of 1 boxes busy" in listening.states("STATUS")
    assert 1 == len(running.logged("submission.answered"))


async def test_stopped_process_gives_no_sign_and_an_aborted_one_says_where_it_was(
    listening: Manager, amqp_url: str, tmp_path: Path
) -> None:
    """
    systemd ends a service that misses its watchdog with SIGABRT: the journal then has what it was doing.
    """
    async with daemon(tmp_path / "log", broker__url=amqp_url, **EMBEDDED) as running:
        await wait_until(lambda: listening.states("WATCHDOG"))
        running.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.5)
        before = len(listening.told)
        await asyncio.sleep(2.5)
        assert before == len(listening.told)
        running.process.send_signal(signal.SIGCONT)
        code = await running.end(signal.SIGABRT)

    assert -signal.SIGABRT == code
    assert "Fatal Python error: Aborted" in running.text
    assert "most recent call first" in running.text


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ({"sandbox__boxes": "0"}, 78, "STATUS=sandbox.boxes: "),
        ({"judge__languages_file": "/nonexistent.toml"}, 78, "STATUS=/nonexistent.toml: "),
        ({"sandbox__isolate": "/nonexistent/isolate"}, 1, "STATUS=/nonexistent/isolate is not"),
    ],
)
async def test_reason_for_a_failed_start_is_in_the_status(
    listening: Manager, tmp_path: Path, setting: dict[str, str], code: int, said: str
) -> None:
    """`systemctl status` shows it without a look at the journal."""
    async with launched(tmp_path / "log", **setting) as running:
        async with asyncio.timeout(LIMIT_S):
            ended = await running.process.wait()
        await wait_until(listening.states)

    assert code == ended
    assert listening.states("STATUS")[-1].startswith(said)
    assert listening.states("STATUS")[-1].removeprefix("STATUS=") in running.text
    assert [] == listening.states("READY")


async def test_port_that_is_taken_is_in_the_status(listening: Manager, amqp_url: str, tmp_path: Path) -> None:
    """It may be free a moment later, so the service is started again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        own = EMBEDDED | {"http__enabled": "true", "http__port": str(port), "broker__url": amqp_url}
        async with launched(tmp_path / "log", **own) as running:
            async with asyncio.timeout(LIMIT_S):
                ended = await running.process.wait()
            await wait_until(listening.states)

    assert 1 == ended
    assert f"http.host 127.0.0.1, http.port {port}: Address already in use" in listening.states("STATUS")[-1]
    assert "Traceback" not in running.text
