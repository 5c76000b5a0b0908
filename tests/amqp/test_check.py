"""`verdictd check` on a broker that cannot be used: the fault in words, and a remedy that fits it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.amqp import SUBMISSIONS, peer
from support.certificates import make_certificate, needs_openssl
from verdictd.cli.check import Check, check_broker, too_large_words
from verdictd.contract.limits import MIB, Limits
from verdictd.settings import BrokerSettings, Settings

pytestmark = pytest.mark.anyio


async def broker_check(url: str, **broker: Any) -> Check:
    return (await broker_checks(url, **broker))[0]


async def broker_checks(url: str, **broker: Any) -> list[Check]:
    settings = Settings(broker=BrokerSettings.model_validate({"url": url, "connect_timeout_s": 20} | broker))
    return await check_broker(settings)


@asynccontextmanager
async def tls(url: str, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """A port where the broker speaks TLS as localhost, and its certificate."""
    certificate = make_certificate(folder, "localhost", "-addext", "subjectAltName=DNS:localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    parts = urlsplit(url)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(copy(reader, requests), copy(answers, writer), return_exceptions=True)

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1], certificate


async def test_broker_that_can_be_used_is_named_with_its_version(amqp_url: str) -> None:
    """A URL may end with a slash or not."""
    found = await broker_check(amqp_url)

    assert found.passed
    assert found.found.startswith("RabbitMQ 3.") or found.found.startswith("RabbitMQ 4.")


@pytest.mark.parametrize("end", ["", "/"])
def test_default_virtual_host_has_two_spellings(end: str) -> None:
    """Libraries in other languages take the one that ends with a slash for a virtual host without a name."""
    settings = BrokerSettings.model_validate({"url": f"amqp://guest:guest@127.0.0.1:5672{end}"})

    assert settings.url.get_secret_value().removesuffix("/") == "amqp://guest:guest@127.0.0.1:5672"


@pytest.mark.parametrize(
    ("change", "fault", "remedy"),
    [
        (("guest:guest", "guest:hidden"), "wrong user or password", "rabbitmqctl change_password guest"),
        (("VHOST", "none"), "the virtual host does not exist", "rabbitmqctl add_vhost none"),
        (("amqp://", "amqps://"), "this port does not speak TLS", "begin it with amqp://"),
        (("127.0.0.1", "no-such-host.invalid"), "cannot connect to no-such-host.invalid", "correct host"),
    ],
)
async def test_remedy_fits_the_fault(amqp_url: str, change: tuple[str, str], fault: str, remedy: str) -> None:
    """Password, virtual host, TLS, host; and no password is shown."""
    found = await broker_check(f"{amqp_url.rpartition('/')[0]}/VHOST".replace(*change).replace("VHOST", ""))

    assert not found.passed
    assert fault in found.found
    assert remedy in str(found.remedy)
    assert "hidden" not in f"{found.found} {found.remedy}"


@needs_openssl
async def test_remedy_of_tls_fits_the_fault(amqp_url: str, tmp_path: Path) -> None:
    """A plain connection to a port for TLS, an authority that is not trusted, a name that does not fit."""
    vhost = urlsplit(amqp_url).path
    async with tls(amqp_url, tmp_path) as (port, certificate):
        plain = await broker_check(f"amqp://guest:guest@localhost:{port}{vhost}")
        untrusted = await broker_check(f"amqps://guest:guest@localhost:{port}{vhost}")
        other_name = await broker_check(
            f"amqps://guest:guest@127.0.0.1:{port}{vhost}", ca_file=str(certificate)
        )
        good = await broker_check(f"amqps://guest:guest@localhost:{port}{vhost}", ca_file=str(certificate))
    missing = await broker_check("amqps://guest:guest@localhost:1", ca_file="/nowhere/ca.pem")

    assert "begin broker.url with amqps://" in str(plain.remedy)
    assert "broker.ca_file" in str(untrusted.remedy)
    assert "not valid for '127.0.0.1'" in other_name.found
    assert good.passed
    assert "No such file or directory" in missing.found
    assert "broker.ca_file" in str(missing.remedy)
    assert "_ssl" not in untrusted.found
    assert "Errno" not in missing.found


async def test_queue_with_other_arguments_has_a_remedy(amqp_url: str) -> None:
    """As after an upgrade: the queue of submissions dead-letters elsewhere now."""
    async with peer(amqp_url) as operator:
        await operator.channel.declare_queue(SUBMISSIONS, durable=True, arguments={"x-queue-type": "quorum"})
    found = await broker_check(amqp_url)

    assert "inequivalent arg" in found.found
    assert "delete the queue when it is empty, or set broker.declare = false" == found.remedy


@pytest.mark.parametrize(
    ("queue", "age_s", "found", "remedy"),
    [
        (False, 60, "stream verdictd.control, to 60 s of age", None),
        (False, 0, "no stream, so daemons do not know what was cancelled before they start: broker", None),
        (True, 60, "no stream, so", "delete the queue verdictd.control, which is made anew"),
    ],
)
async def test_control_messages_without_a_stream_are_told(
    amqp_url: str, queue: bool, age_s: int, found: str, remedy: str | None
) -> None:
    """Where the operator does not want one, nothing needs to be repaired."""
    if queue:
        async with peer(amqp_url) as operator:
            await operator.channel.declare_queue("verdictd.control", durable=True)
    broker, control = await broker_checks(amqp_url, control_age_s=age_s)

    assert broker.passed
    assert ("control", remedy) == (control.name, control.remedy)
    assert control.found.startswith(found)


@pytest.mark.parametrize(
    ("version", "limits", "warned"),
    [
        ("4.1.0", Limits(), False),
        ("4.1.0", Limits(message_bytes=16 * MIB + 1), True),
        ("4.1.0", Limits(result_bytes=64 * MIB), True),
        ("3.13.7", Limits(message_bytes=128 * MIB), False),
        ("3.13.7", Limits(message_bytes=129 * MIB), True),
        ("", Limits(message_bytes=64 * MIB), True),
    ],
)
def test_bound_that_rabbitmq_does_not_keep_is_told(version: str, limits: Limits, warned: bool) -> None:
    """16 MiB from version 4 on, 128 MiB before, unless the operator has raised it there too."""
    assert warned == ("max_message_size" in too_large_words(version, limits))
