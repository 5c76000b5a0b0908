"""What the READMEs print works as printed."""

import asyncio
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from support import manual
from support.amqp import RESULTS, peer
from support.boxes import boxes, own_boxes
from support.commands import command
from support.daemon import daemon, environment
from support.manual import blocks
from support.rabbitmq import free_ports
from support.waiting import wait_until
from support.web import site
from verdictd.judging.languages import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
CONTRACT = (ROOT / "schemas" / "README.md").read_text()
OWN_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "1"}


RUN_LINES = [
    line for line in "".join(blocks("sh", README)).splitlines() if line.startswith(".venv/bin/verdictd run")
]


async def run(argv: list[str], **settings: str) -> tuple[int, str]:
    with own_boxes(settings) as own:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(**own) | {"COLUMNS": "120"},
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
    ended = await command(*arguments, **OWN_BOXES)

    assert ".venv/bin/verdictd" == program
    assert 0 == ended.code, ended.err
    assert "accepted" in ended.out.lower()


async def test_publisher_in_python_gets_its_verdict(amqp_url: str, tmp_path: Path) -> None:
    """The client that the README prints, unchanged but for the address; its time in the queue is known."""
    source = blocks("python", README)[0]
    assert "amqp://guest:guest@127.0.0.1:5672" in source
    client = source.replace("amqp://guest:guest@127.0.0.1:5672", amqp_url)
    async with daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES) as running:
        code, out = await run([sys.executable, "-c", client])
        await wait_until(lambda: running.logged("submission.answered"))
        (answered,) = running.logged("submission.answered")

    assert (0, "accepted\n") == (code, out)
    assert 0 <= answered["queue_time"] < 60


async def test_publisher_in_a_shell_says_when_it_sent(operator: manual.Operator, tmp_path: Path) -> None:
    """The lines with rabbitmqadmin, unchanged but for its port."""
    script, cancel = (block for block in blocks("sh", CONTRACT) if "rabbitmqadmin" in block)
    assert '"timestamp": \'$(date +%s)' in script
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
        cancelled = await run(["bash", "-c", shell + cancel])
        (answered,) = running.logged("submission.answered")
        left = await reader.count(RESULTS)

    assert (0, 0, 0) == (published, code, left), said + out
    assert '"status":"accepted"' in out
    assert (0, "Message published\n") == cancelled
    assert ("hello-2", True) == (answered["id"], 0 <= answered["queue_time"] < 60)


async def test_operator_sees_daemons_that_want_the_token_of_a_credential(
    amqp_url: str, tmp_path: Path
) -> None:
    """The command of systemd/README.md, from the folder of which the unit makes the credentials."""
    token = "a-token-that-is-a-credential"
    (tmp_path / "http__tokens").write_text(f"{token}\n")
    sudo, *words = next(words for words in manual.commands("Live view") if words[0] == "sudo")
    argv = [word.replace("/etc/verdictd/credentials", str(tmp_path)) for word in words]
    program = argv.index("/opt/verdictd/bin/verdictd")
    argv[program] = str(Path(sys.executable).parent / "verdictd")
    async with site(tmp_path / "daemon.log", broker__url=amqp_url, http__tokens=token) as served:
        with_token, seen = await run([*argv, "--once"], http__port=str(served.port))
        without = await command(*argv[program + 1 :], "--once", http__port=str(served.port))

    assert "sudo" == sudo
    assert (0, 1) == (with_token, without.code), seen + without.err
    assert "wants a token" in without.out


async def test_check_beside_a_daemon_that_runs_takes_another_box(amqp_url: str, tmp_path: Path) -> None:
    """With the settings that systemd/README.md prints for that; without them the box is taken.

    All passes then: settings, broker, sandbox, boxes and every installed language are tried.
    """
    words = manual.commands("Install")[-1]
    changed = dict(words[at + 1].split("=") for at, word in enumerate(words) if word == "-E")
    assert [*words[-2:]] == ["/opt/verdictd/bin/verdictd", "check"]
    settings = {name.removeprefix("VERDICTD_").lower(): value for name, value in changed.items()}
    with boxes() as numbers:
        own = OWN_BOXES | {"broker__url": amqp_url, "sandbox__first_box": str(numbers.start)}
        async with daemon(tmp_path / "daemon.log", **own):
            refused = await command("check", **own)
            passed = await command("check", **(own | settings))

    assert 1 == refused.code
    assert f"box {numbers.start} is in use by another daemon on this host" in refused.out
    assert "boxes: 1 clean: 900 to 900" in passed.out
    names = ["settings", "broker", "sandbox"]
    names += [f"language {known.name}" for known in Registry.load().available]
    assert [] == [name for name in names if f"{name}:" not in passed.out]
    assert (0, False) == (passed.code, "FAILED" in passed.out)


async def test_language_of_the_manual_can_be_added(tmp_path: Path) -> None:
    """The operator's own language is judged like any other."""
    (table,) = (block for block in blocks("toml", manual.TEXT) if "run_cmd" in block)
    assert tomllib.loads(table)
    (tmp_path / "own.toml").write_text(table)
    (tmp_path / "hello.awk").write_text('BEGIN { print "hello" }')
    own = OWN_BOXES | {"judge__languages_file": str(tmp_path / "own.toml")}
    ended = await command("run", "-o", "json", tmp_path / "hello.awk", **own)

    assert 0 == ended.code, ended.err
    assert '"stdout":"hello\\n"' in ended.out


async def test_receiver_in_python_verifies_its_callback(amqp_url: str, tmp_path: Path) -> None:
    """Settings, receiver and submission as schemas/README.md prints them, but for the port."""
    port = str(free_ports(1)[0])
    table, source, submit = (
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
            shell = f"cd {tmp_path}; PATH={Path(sys.executable).parent}:$PATH; {submit}"
            code, out = await run(["bash", "-c", shell], **settings)
            line = await receiver.stdout.readline()
    finally:
        receiver.kill()
        await receiver.wait()

    assert 0 == code, out
    assert line.decode().endswith(" accepted\n")
