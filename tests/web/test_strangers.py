"""HTTP in: clients that hold connections, and pages of other sites that speak through a browser."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.waiting import LIMIT_S, wait_until
from support.web import Site, listening

pytestmark = pytest.mark.anyio

PER_CLIENT = 12
BOUNDS = {
    "http__max_requests": str(PER_CLIENT - 8),
    "http__allowed_hosts": "judge.example",
    "http__request_timeout_s": "5",
}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon with room for few clients, and without a broker, which none of these tests needs."""
    log = tmp_path_factory.mktemp("web") / "daemon.log"
    async with listening(log, broker__url="amqp://guest:guest@127.0.0.1:1/", **BOUNDS) as shared:
        yield shared


async def answer(served: Site, head: str, client: str = "127.0.0.1") -> bytes:
    """The first line of the answer on a new connection, empty if it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=(client, 0))
    writer.write(head.encode() + b"\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), LIMIT_S)
    writer.close()
    return line.strip()


@asynccontextmanager
async def connections(served: Site, count: int, sent: bytes, client: str) -> AsyncIterator[list[Streams]]:
    """Connections of one client on which this was sent."""
    opened = [
        await asyncio.open_connection("127.0.0.1", served.port, local_addr=(client, 0)) for _ in range(count)
    ]
    for _, writer in opened:
        writer.write(sent)
    yield opened
    for _, writer in opened:
        writer.transport.abort()


def alive(opened: list[Streams]) -> int:
    return sum(not reader.at_eof() and reader.exception() is None for reader, _ in opened)


@pytest.mark.slow
async def test_three_hundred_half_requests_do_not_keep_probes_out(shared: Site) -> None:
    """Connections that send no whole request give way; one client has no more of them than its own places."""
    probes = {"/healthz": b"200", "/readyz": b"503", "/metrics": b"200"}
    async with connections(shared, 300, b"GET /healthz HTTP/1.1\r\nHost:", "127.0.0.2") as opened:
        await wait_until(lambda: alive(opened) <= PER_CLIENT)
        answers = [
            {path: (await answer(shared, f"GET {path} HTTP/1.0", client)).split()[1] for path in probes}
            for client in ("127.0.0.1", "127.0.0.2")
        ]

    assert [probes, probes] == answers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Host: 127.0.0.1:{port}", 200),
        ("Host: LOCALHOST.:1", 200),
        ("Host: [::1]", 200),
        ("Host: judge.example", 200),
        ("Host: evil.example:{port}", 421),
        ("Host: 127.0.0.1.evil.example", 421),
        ("Host: localhost@evil.example", 421),
        ("Host: 10.0.0.1", 421),
        ("Host:", 421),
        ("Host: localhost\r\nOrigin: http://localhost", 200),
        ("Host: 127.0.0.1\r\nOrigin: https://judge.example:8443", 200),
        ("Host: localhost\r\nOrigin: http://localhost:3000", 403),
        ("Host: localhost\r\nOrigin: https://evil.example", 403),
        ("Host: localhost\r\nOrigin: null", 403),
        ("Host: judge.example\r\nOrigin: https://judge.example.evil.example", 403),
    ],
)
async def test_page_of_another_site_is_refused(shared: Site, headers: str, status: int) -> None:
    """Whoever the token belongs to: browsers say whose page asks, and by which name it found the daemon."""
    for request in ("GET /docs", "GET /healthz", "POST /submissions/new"):
        line = await answer(shared, f"{request} HTTP/1.1\r\n{headers.format(port=shared.port)}")
        served = b"415" if request.startswith("POST") else b"200"
        assert (served if status == 200 else str(status).encode()) == line.split()[1]
