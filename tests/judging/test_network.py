"""Programs that may use the network: they look names up and verify TLS, with files of ours in their /etc.

Nothing leaves this machine: a name server and web servers listen on loopback addresses, and resolv.conf and
the certificates of the host are replaced by those of the test.
"""

import asyncio
import hashlib
import os
import re
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from judging.conftest import Judge, judge_on
from support.boxes import boxes
from support.certificates import make_certificate, needs_openssl
from verdictd.contract.result import Status
from verdictd.judging.judgehost import open_judgehost
from verdictd.sandbox import etc
from verdictd.settings import SandboxSettings, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), needs_openssl]

LIMITS: Mapping[str, object] = {"cpu_time_limit": 10, "wall_time_limit": 60, "memory_limit": 524_288}
NAME = "judge.example"
JAVA_STORE = b"the store of Java, which is not text"


class Names(asyncio.DatagramProtocol):
    """A name server that knows one name, with the address 127.0.0.1."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are sent through."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        """Answer one question: with the address, with none of that kind, or that there is no such name."""
        end = data.index(b"\0", 12) + 5
        question = data[12:end]
        known = question[:-4] == b"\5judge\7example\0"
        addresses = [b"\x7f\0\0\1"] if known and question[-4:] == b"\0\1\0\1" else []
        flags = 0x8580 | (0 if known else 3)
        head = struct.pack("!2s5H", data[:2], flags, 1, len(addresses), 0, 0)
        answers = (b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 60, 4) + address for address in addresses)
        self._transport.sendto(b"".join([head, question, *answers]), sender)


@asynccontextmanager
async def name_server() -> AsyncIterator[str]:
    """A name server on a loopback address of its own: resolvers always ask port 53."""
    address = f"127.83.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Names, (address, 53))
    except PermissionError:
        pytest.skip("an ordinary user cannot serve names")
    try:
        yield address
    finally:
        transport.close()


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[int]:
    """The port of a web server with this certificate, which answers 42."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the program hung up, as it does not trust us
            await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n42\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a web server: one by an authority that the host trusts, one by itself."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_certificate(folder, "authority")
    name = ("-addext", f"subjectAltName=DNS:{NAME}")
    signed = ("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")))
    make_certificate(folder, "known", *signed, *name, "-addext", "basicConstraints=CA:FALSE")
    make_certificate(folder, "unknown", *name)
    return folder


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Path:
    """What `update-ca-certificates` makes of that authority."""
    certs = folder / "certs"
    (certs / "java").mkdir(parents=True)
    (certs / "java/cacerts").write_bytes(JAVA_STORE)
    authority = (folder / "authority.pem").read_bytes()
    (certs / "ca-certificates.crt").write_bytes(authority)
    argv = ["openssl", "x509", "-hash", "-noout", "-in", str(folder / "authority.pem")]
    name = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    (certs / f"{name}.0").write_bytes(authority)
    return certs


@pytest.fixture(scope="module")
async def online(isolate: str, folder: Path, trusted: Path) -> AsyncIterator[tuple[Judge, dict[str, int]]]:
    """A judgehost that allows the network, and the ports of the two web servers."""
    async with AsyncExitStack() as stack:
        resolver = folder / "resolv.conf"
        address = await stack.enter_async_context(name_server())
        resolver.write_text(f"# not for boxes\nsearch example\nnameserver {address}\noptions timeout:5\n")
        ports = {
            name: await stack.enter_async_context(tls_server(folder / f"{name}.pem"))
            for name in ("known", "unknown")
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(etc, "_RESOLVER", resolver)
        patch.setattr(etc, "_CERTIFICATES", trusted)
        patch.setattr(etc, "_BUNDLES", (trusted / "ca-certificates.crt",))
        numbers = stack.enter_context(boxes(1))
        sandbox = SandboxSettings(
            isolate=isolate,
            boxes=1,
            first_box=numbers.start,
            control_groups="never",
            allow_network=True,
        )
        settings = Settings(sandbox=sandbox)
        host = await stack.enter_async_context(open_judgehost(settings))
        yield judge_on(host, settings), ports


PYTHON = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1]).read().decode(), end="")
"""
NODE = """
require("https").get(process.argv[2], answer => answer.pipe(process.stdout))
"""
RUBY = """
require "net/http"
print Net::HTTP.get(URI(ARGV[0]))
"""
PHP = "<?php echo file_get_contents($argv[1]) ?: exit(1);"
CLIENTS = {
    "python": ("python", PYTHON),
    "curl": ("bash", 'curl --silent --show-error "$1"'),
    "wget": ("bash", 'wget -nv -O - "$1" 2> said || { cat said >&2; exit 1; }'),
    "node": ("javascript", NODE),
    "ruby": ("ruby", RUBY),
    "php": ("php", PHP),
}


def program(client: str) -> tuple[str, str]:
    """Language and source of a client; skip if it is a tool that is not installed."""
    language, source = CLIENTS[client]
    if language == "bash" and not Path("/usr/bin", client).exists():
        pytest.skip(f"{client} is not installed")
    return language, source


@pytest.mark.parametrize("client", CLIENTS)
async def test_name_is_looked_up_and_its_certificate_verified(
    online: tuple[Judge, dict[str, int]], client: str
) -> None:
    """An authority that the host trusts is trusted by programs; another one is not."""
    judge, ports = online
    language, source = program(client)
    known, unknown = [
        await judge(
            language,
            source,
            command_line_arguments=[f"https://{NAME}:{port}"],
            enable_network=True,
            expected_output="42",
            **LIMITS,
        )
        for port in ports.values()
    ]

    assert (Status.ACCEPTED, "") == (known.status, known.stderr)
    assert Status.ACCEPTED != unknown.status
    assert "certificate" in unknown.stderr.lower() + unknown.stdout.lower()


async def test_resolver_is_configured_as_that_of_the_host(online: tuple[Judge, dict[str, int]]) -> None:
    """Short names are completed, and names of the box stay its own."""
    judge, _ = online
    script = (
        "getent hosts judge | tr -s ' '; getent hosts localhost > /dev/null; cut -d' ' -f1 /etc/resolv.conf"
    )
    result = await judge("bash", script, enable_network=True)

    assert f"127.0.0.1 {NAME}\nsearch\nnameserver\noptions\n" == result.stdout


async def test_store_of_java_is_that_of_the_host(online: tuple[Judge, dict[str, int]]) -> None:
    """Java has a format of its own."""
    judge, _ = online
    result = await judge("bash", "sha256sum < /etc/ssl/certs/java/cacerts", enable_network=True)

    assert hashlib.sha256(JAVA_STORE).hexdigest() == result.stdout.split()[0]


@pytest.mark.parametrize("client", ["python", "curl", "node"])
async def test_program_without_the_network_is_told_at_once(
    online: tuple[Judge, dict[str, int]], client: str
) -> None:
    """The name cannot be found: an error of its own runtime, and no wait for an answer that cannot come."""
    judge, ports = online
    language, source = program(client)
    result = await judge(
        language, source, command_line_arguments=[f"https://{NAME}:{ports['known']}"], **LIMITS
    )

    assert Status.RUNTIME_ERROR_NZEC == result.status
    assert re.search(f"Name or service not known|(resolve host:|ENOTFOUND) {NAME}", result.stderr)
    assert result.wall_time is not None
    assert result.wall_time < 20
