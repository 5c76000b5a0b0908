"""README.md opens the house: a newcomer who follows it from top to bottom gets a verdict."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from harness.demo.__main__ import HEADING
from harness.demo.submissions import SUBMISSIONS as CASES
from support.amqp import RESULTS, SUBMISSIONS, peer
from support.boxes import own_boxes
from support.daemon import daemon, environment
from support.forkserver import DIES_WITH_US
from support.manual import blocks
from support.rabbitmq import free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = str(Path(sys.executable).parent)
ADDRESS = "amqp://guest:guest@127.0.0.1:5672"
OWN_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}
LINES = "".join(blocks("sh", README)).splitlines()
(BROKER_LINE,) = (line for line in LINES if "rabbitmq" in line)
(SERVE_LINE,) = (line for line in LINES if line.endswith(" serve"))
(SUBMIT_LINE,) = (line for line in LINES if " submit " in line)
PUBLISHER, CONSUMER = blocks("python", README)


async def start(*argv: str, **settings: str) -> asyncio.subprocess.Process:
    """Start a printed command or client, which ends with the tests."""
    return await asyncio.create_subprocess_exec(
        *DIES_WITH_US,
        *argv,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(**settings) | {"COLUMNS": "120"},
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Wait for the end; return the exit code and the output."""
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def test_page_is_short_and_in_the_order_of_a_first_try() -> None:
    """A broker and a daemon run before anything is published."""
    printed = (
        "make demo\n",
        "verdictd run ",
        BROKER_LINE,
        SERVE_LINE,
        SUBMIT_LINE,
        PUBLISHER,
        "curl ",
        CONSUMER,
    )
    places = [README.index(part) for part in printed]

    assert len(README.splitlines()) <= 150
    assert places == sorted(places)


def test_diagram_names_its_participants_and_the_queues() -> None:
    """GitHub draws it."""
    (diagram,) = blocks("mermaid", README)
    first, *lines = [line.strip() for line in diagram.splitlines()]
    participants = {line.split()[1] for line in lines if line.startswith("participant ")}
    messages = [re.fullmatch(r"(\w+)->>(\w+): (.+)", line) for line in lines if "->>" in line]
    used = {end for message in messages if message for end in message.groups()[:2]}

    assert ("sequenceDiagram", participants) == (first, used)
    assert None not in messages
    assert SUBMISSIONS in diagram
    assert RESULTS in diagram


def test_table_of_the_demo_is_that_of_the_demo() -> None:
    """Its rows are submissions of the demo with their verdicts, below its heading."""
    (table,) = blocks("text", README)
    heading, *rows = table.splitlines()
    cases = {case.id: case for case in CASES}
    shown = [(row.split()[0], row.split()[1], row.split()[2], row.split()[3]) for row in rows]

    assert heading == HEADING
    assert shown == [
        (case.id, case.language, case.expected, case.expected) for case in (cases[row[0]] for row in shown)
    ]
    assert f"judges {len(CASES)} programs" in " ".join(README.split())


def test_broker_is_the_one_that_the_tests_use() -> None:
    """The line needs root and a network, so it is only looked at: Debian's package, and its service."""
    assert "sudo apt-get install -y rabbitmq-server && sudo service rabbitmq-server start" == BROKER_LINE
    assert re.search(r"^\S+ rabbitmq-server$", (ROOT / ".ci" / "setup").read_text(), re.MULTILINE)


@pytest.mark.slow
async def test_three_lines_judge_a_first_submission(amqp_url: str) -> None:
    """As printed, but for the broker, the boxes and the port."""
    port = str(free_ports(1)[0])
    with own_boxes(OWN_BOXES | {"broker__url": amqp_url, "http__port": port}) as settings:
        serving = await start("bash", "-c", SERVE_LINE.replace(".venv/bin", COMMANDS), **settings)
        try:
            await until_answered(f"http://127.0.0.1:{port}/readyz")
            await until_answered(f"http://127.0.0.1:{port}/docs")
            submitting = await start("bash", "-c", SUBMIT_LINE.replace(".venv/bin", COMMANDS), **settings)
            code, out = await finish(submitting)
            serving.send_signal(signal.SIGINT)
            ended, log = await finish(serving)
        finally:
            with contextlib.suppress(ProcessLookupError):
                serving.kill()

    assert (0, 0) == (code, ended), out + log
    assert "accepted" in out.lower()


async def until_answered(url: str) -> None:
    """Wait for an answer with status 200."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def test_publisher_in_python_fails_at_once_without_a_queue(amqp_url: str) -> None:
    """No daemon has run at this broker, so the submission comes back."""
    async with asyncio.timeout(20):
        code, out = await finish(await start(sys.executable, "-c", PUBLISHER.replace(ADDRESS, amqp_url)))

    assert 1 == code
    assert "UnroutableError" in out


async def test_consumer_in_python_prints_results(amqp_url: str, tmp_path: Path) -> None:
    """One line for each result on verdictd.results."""
    async with (
        daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES),
        peer(amqp_url) as client,
    ):
        for name in ("a", "b"):
            submission = {"id": name, "language": "bash", "source_code": "echo 42"}
            await client.publish(SUBMISSIONS, json.dumps(submission).encode())
        consumer = await start(sys.executable, "-c", CONSUMER.replace(ADDRESS, amqp_url))
        assert consumer.stdout is not None
        try:
            async with asyncio.timeout(30):
                lines = {tuple((await consumer.stdout.readline()).split()[:2]) for _ in range(2)}
        finally:
            consumer.kill()
            await consumer.wait()

    assert {(b"a", b"accepted"), (b"b", b"accepted")} == lines
