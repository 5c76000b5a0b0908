"""What the README prints works as printed."""

import asyncio
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from support.daemon import daemon, environment
from support.rabbitmq import free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
OWN_BOXES = {"sandbox__isolate": "embedded", "sandbox__boxes": "2", "sandbox__first_box": "790"}


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in order."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


RUN_LINES = [line for line in "".join(blocks("sh")).splitlines() if line.startswith(".venv/bin/verdictd run")]


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


async def test_publisher_in_python_gets_its_verdict(amqp_url: str, tmp_path: Path) -> None:
    """The client that the README prints, unchanged but for the address."""
    source = blocks("python")[0]
    assert "amqp://guest:guest@127.0.0.1:5672/" in source
    client = source.replace("amqp://guest:guest@127.0.0.1:5672/", amqp_url)
    async with daemon(tmp_path / "daemon.log", broker__url=amqp_url, **OWN_BOXES):
        code, out = await run([sys.executable, "-c", client])

    assert (0, "accepted\n") == (code, out)


async def test_language_of_the_readme_can_be_added(tmp_path: Path) -> None:
    """The operator's own language is judged like any other."""
    (table,) = (block for block in blocks("toml") if "[[language]]" in block)
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
    """Settings, receiver and submission as the README prints them, but for the port."""
    port = str(free_ports(1)[0])
    table, source, command = (
        next(block for block in blocks(language) if word in block).replace("8081", port)
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
