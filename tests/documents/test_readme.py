"""What the READMEs print works as printed."""

import asyncio
import contextlib
import json
import re
import shlex
import signal
import sys
import tomllib
from pathlib import Path

import aiohttp
import pytest

from harness.demo.__main__ import HEADING
from harness.demo.submissions import SUBMISSIONS as CASES
from support import manual
from support.amqp import RESULTS, SUBMISSIONS, peer
from support.daemon import DIES_WITH_US, daemon, environment
from support.rabbitmq import free_ports
from support.waiting import wait_until
from support.web import site
from verdictd.cli.configuration import SettingsError, load

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "schemas" / "README.md").read_text()
ADDRESS = "amqp://guest:guest@127.0.0.1:5672/"
COMMANDS = str(Path(sys.executable).parent)
OWN_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "2", "sandbox__first_box": "790"}


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of one language, in order."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


LINES = "".join(blocks("sh")).splitlines()
RUN_LINES = [line for line in LINES if line.startswith(".venv/bin/verdictd run")]
(BROKER_LINE,) = (line for line in LINES if "rabbitmq" in line)
(SERVE_LINE,) = (line for line in LINES if line.endswith(" serve"))
(SUBMIT_LINE,) = (line for line in LINES if " submit " in line)
PUBLISHER, CONSUMER = blocks("python")


async def run(argv: list[str], **settings: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(**settings) | {"COLUMNS": "120"},
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def test_readme_shows_how_to_run_files() -> None:
    """There are lines to test."""
    assert len(RUN_LINES) == 3


@pytest.mark.parametrize("line", RUN_LINES)
async def test_run_line_is_accepted(line: str) -> None:
    """A newcomer's first commands end well."""
    program, *arguments = shlex.split(line)
    command = str(Path(sys.executable).parent / Path(program).name)
    code, out = await run([command, *arguments], **OWN_BOXES)

    assert 0 == code, out
    assert "accepted" in out


def test_page_opens_the_house() -> None:
    """It is short, and a newcomer has a broker and a daemon before anything is published."""
    places = [
        README.index(line) for line in (*RUN_LINES, BROKER_LINE, SERVE_LINE, SUBMIT_LINE, PUBLISHER, CONSUMER)
    ]

    assert len(README.splitlines()) <= 150
    assert places == sorted(places)


def test_diagram_names_its_participants_and_the_queues() -> None:
    """GitHub draws it."""
    (diagram,) = blocks("mermaid")
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
    (table,) = blocks("text")
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


async def test_three_lines_judge_a_first_submission(amqp_url: str) -> None:
    """As printed, but for the broker, the boxes and the port."""
    port = str(free_ports(1)[0])
    settings = {"broker__url": amqp_url, "http__port": port, **OWN_BOXES}
    serving = await asyncio.create_subprocess_exec(
        *DIES_WITH_US,
        "bash",
        "-c",
        SERVE_LINE.replace(".venv/bin", COMMANDS),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(**settings),
    )
    try:
        async with aiohttp.ClientSession() as client:
            await until_ready(client, f"http://127.0.0.1:{port}/readyz")
            async with client.get(f"http://127.0.0.1:{port}/docs") as page:
                shown = page.status
        code, out = await run(shlex.split(SUBMIT_LINE.replace(".venv/bin", COMMANDS)), **settings)
        serving.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            ended = await serving.wait()
    finally:
        if serving.returncode is None:
            serving.kill()
            await serving.wait()

    assert 0 == code, out
    assert "accepted" in out
    assert (200, 0) == (shown, ended)


async def until_ready(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def test_publisher_in_python_gets_its_verdict(amqp_url: str, tmp_path: Path) -> None:
    """The client that the README prints, unchanged but for the address; its time in the queue is known."""
    assert ADDRESS in PUBLISHER
    async with daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES) as running:
        code, out = await run([sys.executable, "-c", PUBLISHER.replace(ADDRESS, amqp_url)])
        await wait_until(lambda: running.logged("submission.answered"))
        (answered,) = running.logged("submission.answered")

    assert (0, "accepted\n") == (code, out)
    assert 0 <= answered["queue_time"] < 60


async def test_publisher_in_python_fails_at_once_without_a_queue(amqp_url: str) -> None:
    """No daemon has run at this broker: the submission comes back."""
    async with asyncio.timeout(20):
        code, out = await run([sys.executable, "-c", PUBLISHER.replace(ADDRESS, amqp_url)])

    assert 1 == code
    assert "UnroutableError" in out


async def test_consumer_in_python_prints_results(amqp_url: str, tmp_path: Path) -> None:
    """The other client that the README prints; what it took is acknowledged."""
    async with (
        daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES),
        peer(amqp_url) as client,
    ):
        consumer = await asyncio.create_subprocess_exec(
            *DIES_WITH_US,
            *(sys.executable, "-c", CONSUMER.replace(ADDRESS, amqp_url)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert consumer.stdout is not None
        try:
            for name in ("a", "b"):
                submission = {"id": name, "language": "bash", "source_code": "echo 42"}
                await client.publish(SUBMISSIONS, json.dumps(submission).encode())
            async with asyncio.timeout(30):
                lines = {(await consumer.stdout.readline()).split()[0] for _ in range(2)}
        finally:
            consumer.kill()
            await consumer.wait()

    assert {b"a", b"b"} == lines


async def test_publisher_in_a_shell_says_when_it_sent(tmp_path: Path) -> None:
    """The lines with rabbitmqadmin, unchanged but for its port."""
    (script,) = (block for block in blocks("sh", CONTRACT) if "rabbitmqadmin" in block)
    assert '"timestamp": \'$(date +%s)' in script
    with manual.operated() as operator:
        shell = f'rabbitmqadmin() {{ {shlex.join(operator.admin_argv())} "$@"; }}\n'
        publish, get = script.split("rabbitmqadmin get")
        async with (
            daemon(tmp_path / "daemon.log", broker__url=operator.broker.url, **OWN_BOXES) as running,
            peer(operator.broker.url) as reader,
        ):
            published, said = await run(["bash", "-c", shell + publish])
            async with asyncio.timeout(30):
                while not await reader.count(RESULTS):
                    await asyncio.sleep(0.1)
            code, out = await run(["bash", "-c", f"{shell}rabbitmqadmin get{get}"])
            (answered,) = running.logged("submission.answered")
            left = await reader.count(RESULTS)

    assert (0, 0, 0) == (published, code, left), said + out
    assert '"status":"accepted"' in out
    assert ("hello-2", True) == (answered["id"], 0 <= answered["queue_time"] < 60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_finishes_what_is_in_a_box(
    number: signal.Signals, amqp_url: str, tmp_path: Path
) -> None:
    """Ctrl-C does as systemd does."""
    submission = {"language": "bash", "source_code": "sleep 2; echo 42", "expected_output": "42"}
    async with (
        daemon(tmp_path / "daemon.log", broker__url=amqp_url, log__level="debug", **OWN_BOXES) as running,
        peer(amqp_url) as client,
    ):
        await client.publish(SUBMISSIONS, json.dumps(submission).encode())
        await wait_until(lambda: running.logged("submission.started"))
        code = await running.end(number)
        result = json.loads((await client.take(RESULTS)).body)

    assert (0, "accepted", 1) == (code, result["status"], result["attempt"])


async def test_operator_sees_daemons_that_want_the_token_of_a_credential(
    amqp_url: str, tmp_path: Path
) -> None:
    """The command of systemd/README.md, from the folder of which the unit makes the credentials."""
    token = "a-token-that-is-a-credential"
    (tmp_path / "http__tokens").write_text(f"{token}\n")
    sudo, *words = next(words for words in manual.commands("Live view") if words[0] == "sudo")
    command = [word.replace("/etc/verdictd/credentials", str(tmp_path)) for word in words]
    program = command.index("/opt/verdictd/bin/verdictd")
    command[program] = str(Path(sys.executable).parent / "verdictd")
    async with site(tmp_path / "daemon.log", broker__url=amqp_url, http__tokens=token) as served:
        with_token, seen = await run([*command, "--once"], http__port=str(served.port))
        without, refused = await run([*command[program:], "--once"], http__port=str(served.port))

    assert "sudo" == sudo
    assert (0, 1) == (with_token, without), seen + refused
    assert "wants a token" in refused


def test_settings_of_the_manual_are_right(tmp_path: Path) -> None:
    """The example, and the message about a wrong setting."""
    (example,) = re.findall(r"```toml\n(.*?)```", manual.section("Settings"), re.DOTALL)
    (wrong,) = re.findall(r"`(sandbox.boxes: .*?)`", " ".join(manual.section("Settings").split()))
    file = tmp_path / "verdictd.toml"
    file.write_text(example)
    settings = load(file)
    file.write_text("sandbox.boxes = 0")
    with pytest.raises(SettingsError) as refused:
        load(file)

    assert (8, 20, 2) == (
        settings.sandbox.boxes,
        settings.limits.cpu_time_limit.max,
        settings.limits.cpu_time_limit.default,
    )
    assert wrong == str(refused.value)


async def test_check_beside_a_daemon_that_runs_takes_another_box(amqp_url: str, tmp_path: Path) -> None:
    """With the settings that systemd/README.md prints for that; without them the box is taken."""
    words = manual.commands("Install")[-1]
    changed = dict(words[at + 1].split("=") for at, word in enumerate(words) if word == "-E")
    assert [*words[-2:]] == ["/opt/verdictd/bin/verdictd", "check"]
    settings = {name.removeprefix("VERDICTD_").lower(): value for name, value in changed.items()}
    command = [str(Path(sys.executable).parent / "verdictd"), "check"]
    async with daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES):
        taken, said = await run(command, broker__url=amqp_url, **OWN_BOXES)
        _, found = await run(command, broker__url=amqp_url, **(OWN_BOXES | settings))

    assert 1 == taken
    assert "box 790 is in use by another daemon on this host" in said
    assert "boxes: 1 clean: 900 to 900" in found


async def test_language_of_the_manual_can_be_added(tmp_path: Path) -> None:
    """The operator's own language is judged like any other."""
    (table,) = (block for block in blocks("toml", manual.TEXT) if "[[language]]" in block)
    assert tomllib.loads(table)
    (tmp_path / "own.toml").write_text(table)
    (tmp_path / "hello.awk").write_text('BEGIN { print "hello" }')
    command = str(Path(sys.executable).parent / "verdictd")
    code, out = await run(
        [command, "run", "-o", "json", str(tmp_path / "hello.awk")],
        judge__languages_file=str(tmp_path / "own.toml"),
        **OWN_BOXES,
    )

    assert 0 == code, out
    assert '"stdout":"hello\\n"' in out


async def test_receiver_in_python_verifies_its_callback(amqp_url: str, tmp_path: Path) -> None:
    """Settings, receiver and submission as schemas/README.md prints them, but for the port."""
    port = str(free_ports(1)[0])
    table, source, command = (
        next(block for block in blocks(language, CONTRACT) if word in block).replace("8081", port)
        for language, word in (
            ("toml", "[callbacks]"),
            ("python", "standardwebhooks"),
            ("sh", "callback_url"),
        )
    )
    (tmp_path / "callbacks.toml").write_text(table)
    settings = {"broker__url": amqp_url, "config": str(tmp_path / "callbacks.toml")}
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert receiver.stdout is not None
    try:
        async with daemon(tmp_path / "daemon.log", **OWN_BOXES, **settings), asyncio.timeout(60):
            shell = f"cd {tmp_path}; PATH={Path(sys.executable).parent}:$PATH; {command}"
            code, out = await run(["bash", "-c", shell], **settings)
            line = await receiver.stdout.readline()
    finally:
        receiver.kill()
        await receiver.wait()

    assert 0 == code, out
    assert line.decode().endswith(" accepted\n")
