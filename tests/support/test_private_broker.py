"""The broker that the tests run on is a real one, keeps its data, and leaves nothing behind."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustQueue

from support.rabbitmq import BrokerFailed, PrivateBroker
from support.waiting import LIMIT_S

pytestmark = pytest.mark.anyio

QUEUE = "messages"
OWNER = """
import time
from support.rabbitmq import PrivateBroker

with PrivateBroker():
    print("started", flush=True)
    time.sleep(60)
"""
LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1 and ::1, as /proc/net writes them


async def test_quorum_queue_hands_a_message_on(amqp_url: str) -> None:
    """A message published to a quorum queue is delivered."""
    async with channel(amqp_url) as open_channel:
        await publish(open_channel, b"hello")
        body = await take(open_channel)

    assert b"hello" == body


async def test_virtual_hosts_share_nothing(broker: PrivateBroker) -> None:
    """A queue of one test is not there for the next."""
    async with channel(broker.fresh_vhost()) as first, channel(broker.fresh_vhost()) as second:
        await publish(first, b"mine")
        queue = await declare(second)

    assert 0 == queue.declaration_result.message_count


async def test_stop_and_start_keep_a_persistent_message(rabbitmq: PrivateBroker) -> None:
    """A restart in good order loses nothing that was confirmed."""
    url = rabbitmq.fresh_vhost()
    async with channel(url) as before:
        await publish(before, b"kept")
    await asyncio.to_thread(rabbitmq.stop)
    await asyncio.to_thread(rabbitmq.start)
    async with channel(url) as after:
        body = await take(after)

    assert b"kept" == body


async def test_kill_and_start_keep_a_persistent_message(rabbitmq: PrivateBroker) -> None:
    """A crash of the broker loses nothing that was confirmed."""
    url = rabbitmq.fresh_vhost()
    async with channel(url) as before:
        await publish(before, b"kept")
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)
    async with channel(url) as after:
        body = await take(after)

    assert b"kept" == body


def test_broker_listens_on_loopback_only(broker: PrivateBroker) -> None:
    """Nobody outside of this machine can reach it, nor its Erlang channel and port mapper."""
    addresses = listening_addresses(processes_of(broker.folder))

    assert addresses
    assert set() == addresses - LOOPBACK


def test_close_leaves_no_process_and_no_file() -> None:
    """What a broker started and wrote ends with it."""
    with PrivateBroker() as broker:
        running = processes_of(broker.folder)

    assert running
    assert [] == processes_left(broker.folder, limit_s=30)
    assert not broker.folder.exists()


def test_broker_dies_with_a_killed_owner(tmp_path: Path) -> None:
    """A test run that is killed cannot clean up, and leaves no process all the same."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        said = owner.stdout.readline()
        running = processes_of(tmp_path)
        owner.kill()

    assert "started\n" == said
    assert len(running) > 1
    assert [] == processes_left(tmp_path, limit_s=30)


def test_failed_start_shows_the_log() -> None:
    """Whoever reads the failure sees what RabbitMQ said, without looking for its files."""
    broker = PrivateBroker()
    try:
        (broker.folder / "rabbitmq.conf").write_text("no.such.setting = 1\n")

        with pytest.raises(BrokerFailed, match=r"no\.such\.setting"):
            broker.start()
    finally:
        broker.close()


@asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractRobustChannel]:
    """A channel that confirms, on a connection of its own."""
    async with asyncio.timeout(LIMIT_S):
        connection = await aio_pika.connect_robust(url)
        async with connection:
            yield await connection.channel(on_return_raises=True)


async def declare(open_channel: AbstractRobustChannel) -> AbstractRobustQueue:
    return await open_channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})


async def publish(open_channel: AbstractRobustChannel, body: bytes) -> None:
    """Publish a persistent message and wait for its confirm."""
    await declare(open_channel)
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await open_channel.default_exchange.publish(message, QUEUE)


async def take(open_channel: AbstractRobustChannel) -> bytes:
    """The body of the one message in the queue."""
    queue = await declare(open_channel)
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(arrived.put)
    message = await arrived.get()
    await message.ack()
    return message.body


def processes_of(folder: Path) -> list[int]:
    """The processes of the broker in this folder; each has its path in the environment."""
    return [pid for pid in all_processes() if str(folder).encode() in environment(pid)]


def processes_left(folder: Path, limit_s: float) -> list[int]:
    """Those that still run when the limit is over; Erlang's helpers see the end of their pipe and follow."""
    deadline = time.monotonic() + limit_s
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environment(pid: int) -> bytes:
    """Empty for a process that has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def listening_addresses(pids: list[int]) -> set[str]:
    """The TCP addresses on which these processes listen, in the kernel's hexadecimal."""
    sockets = {name for pid in pids for name in open_files(pid)}
    rows = [
        row.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for row in Path(table).read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if LISTENING == row[3] and f"socket:[{row[9]}]" in sockets}


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process lead to; those that it closes meanwhile are left out."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(link.readlink().name)
    return names
