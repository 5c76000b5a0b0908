"""`verdictd top`, as an operator and a script run it, against daemons and other servers."""

import asyncio
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.broker import Broker
from support.certificates import make_certificate, needs_openssl
from support.commands import Ended, command
from support.daemon import environment
from support.rabbitmq import free_ports
from support.receiver import Behave, Receiver, answers, dies, never_answers
from support.terminal import on_terminal
from support.waiting import wait_until
from support.web import Site, site, until_counted, until_in_box

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TOKEN = "a-token-for-the-tests-of-top"
LEFT_SCREEN = "\x1b[?1049l"
SLOW = {"wall_time_limit": 60}


@pytest.fixture(scope="module")
async def served(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon that wants a token."""
    log = tmp_path_factory.mktemp("top") / "daemon.log"
    settings = {"broker__url": broker.fresh_vhost(), "http__tokens": TOKEN}
    async with site(log, **settings) as served:
        served.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield served


@asynccontextmanager
async def judging(served: Site) -> AsyncIterator[str]:
    """Run a submission in a box until the block ends, and give its id; it is accepted then."""
    key = str(uuid.uuid4())
    submission = {"id": key, "language": "bash", "source_code": "sleep 4", "tests": [{"limits": SLOW}] * 2}
    posting = asyncio.create_task(served.post(submission, wait=True))
    await until_in_box(served, 1)
    yield key
    status, said = await posting
    assert (200, "accepted") == (status, said["status"])
    await until_counted(served, key)


async def once(*daemons: str, token: str = TOKEN, **settings: str) -> tuple[Ended, list[list[str]]]:
    """Run `top --once`; return how it ended, and the columns that it printed."""
    ended = await command("top", "--once", *daemons, http__tokens=token, **settings)
    return ended, [line.split("\t") for line in ended.out.splitlines()]


async def test_script_gets_what_runs_and_what_was_judged(served: Site) -> None:
    """While a submission is in its box, and after its verdict; all are ready, so it ends with 0."""
    daemon = f"http://127.0.0.1:{served.port}"
    async with judging(served) as submission:
        during, facts = await once(daemon)
    after, later = await once(daemon)
    (running,) = (fact for fact in facts if fact[6:7] == [submission])
    (verdict,) = (fact for fact in later if fact[-1] == submission)

    assert (0, "", 0) == (during.code, during.err, after.code)
    assert [daemon, "ready", "yes"] == facts[0]
    assert ["box", "leased", "bash"] == [running[1], running[3], running[5]]
    assert 0 <= float(running[4]) < 60
    assert (int(running[7]) in {0, 1}, "2") == (True, running[8])
    assert ["verdict", "accepted", "bash"] == [verdict[1], verdict[3], verdict[6]]
    assert [daemon, "boxes", "leased", "1"] in facts
    assert ["verdictd.submissions"] == [fact[2] for fact in facts if fact[1] == "queue" and fact[3].isdigit()]


async def test_output_for_scripts_is_plain(served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and tabs, also where a variable asks for colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    ended, facts = await once(f"127.0.0.1:{served.port}")

    assert facts
    assert all(character.isprintable() or character in "\t\n" for character in ended.out)


async def test_daemon_that_is_down_does_not_disturb_the_other(served: Site) -> None:
    """One of two: exit code 1, its reason, and everything of the other."""
    up, down = f"http://127.0.0.1:{served.port}", f"http://127.0.0.1:{free_ports(1)[0]}"
    ended, facts = await once(down, up)

    assert (1, "") == (ended.code, ended.err)
    assert [
        [down, "ready", "no"],
        [down, "problem", "cannot connect: Connection refused"],
        [up, "ready", "yes"],
    ] == facts[:3]


async def test_daemon_of_the_settings_is_looked_at_without_arguments(served: Site) -> None:
    """On a judge box the command does not need an address."""
    ended, facts = await once(http__port=str(served.port))

    assert 0 == ended.code
    assert [f"http://127.0.0.1:{served.port}", "ready", "yes"] == facts[0]


async def test_script_of_the_readme_counts_what_waits(served: Site) -> None:
    """The line that is printed there, as a shell runs it."""
    readme = (Path(__file__).parents[2] / "systemd" / "README.md").read_text()
    (line,) = re.findall(r"^verdictd top --once \|.*", readme, re.MULTILINE)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        line,
        stdout=asyncio.subprocess.PIPE,
        env=environment(http__tokens=TOKEN, http__port=str(served.port)) | {"PATH": path},
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()

    assert b"0\n" == out


@pytest.mark.parametrize(
    ("token", "reason"),
    [("", "wants a token; see http.tokens"), ("x" * 20, "does not accept our token; see http.tokens")],
)
async def test_token_that_is_missing_or_wrong_is_told(served: Site, token: str, reason: str) -> None:
    """401 is a reason like any other."""
    ended, facts = await once(f"127.0.0.1:{served.port}", token=token)

    assert (1, ["problem", reason]) == (ended.code, facts[1][1:])


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        writer.write(b"[" * 65_536)
        await writer.drain()


NO_DAEMONS: list[tuple[Behave, str]] = [
    (never_answers, "no answer within 5 s"),
    (endless, "answers with more than 4194304 bytes"),
    (dies, r"ServerDisconnectedError: .+"),
    (answers(404), "answers with HTTP status 404"),
    (answers(302, "Location: http://127.0.0.1:1/"), "answers with HTTP status 302"),
    (answers(200, body=b"<html>"), r"not the status of a verdictd [0-9.]+: Invalid JSON: .+"),
    (answers(200, body=b'{"host": "a"}'), r"not the status of a verdictd [0-9.]+: at: must be given"),
]


async def test_what_is_no_daemon_of_this_version_is_told() -> None:
    """Silence, floods, other servers, other versions: each is one line."""
    ports = free_ports(len(NO_DAEMONS))
    others = [Receiver(behaviour, port=port) for (behaviour, _), port in zip(NO_DAEMONS, ports, strict=True)]
    urls = [f"http://127.0.0.1:{other.port}/path/" for other in others]
    async with AsyncExitStack() as up:
        for other in others:
            await up.enter_async_context(other.up())
        ended, facts = await once(*urls)
    told = [reason for _, key, reason in facts if key == "problem"]

    assert (1, "", 2 * len(others)) == (ended.code, ended.err, len(facts))
    assert [True] * len(others) == [
        re.fullmatch(reason, said) is not None for (_, reason), said in zip(NO_DAEMONS, told, strict=True)
    ]
    for other in others:
        assert "GET /path/status HTTP/1.1" == other.received[0].line
        assert f"Bearer {TOKEN}" == other.received[0].headers["authorization"]


async def test_status_of_a_later_version_may_have_more(served: Site) -> None:
    """Unknown fields are ignored; text in the status is not obeyed by a terminal."""
    _, said = await served.get("/status")
    said |= {"new": 1, "host": "evil\x1b[2J\n", "ready": False, "problems": ["\u202ea\tb"]}
    body = json.dumps(said).encode()
    async with Receiver(answers(200, body=body)).up() as other:
        ended, facts = await once(f"127.0.0.1:{other.port}")

    assert (1, "") == (ended.code, ended.err)
    assert [["ready", "no"], ["problem", " a b"], ["host", "evil [2J "]] == [fact[1:] for fact in facts[:3]]


@needs_openssl
async def test_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    """The token is not sent over such a connection."""
    certificate = make_certificate(tmp_path, "stranger", "-addext", "subjectAltName=IP:127.0.0.1")
    async with Receiver(certificate=certificate).up() as other:
        ended, facts = await once(f"https://127.0.0.1:{other.port}")

    assert 1 == ended.code
    assert "certificate verify failed" in facts[1][2]
    assert [] == other.received


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["http://user:hidden@judge-1"], "http.tokens"), (["ftp://judge-1"], "http or https"), ([], "--once")],
)
async def test_what_cannot_be_done_is_a_usage_error(arguments: list[str], said: str) -> None:
    """A wrong address, and a live view without a terminal to draw on."""
    ended = await command("top", *arguments)

    assert (2, "") == (ended.code, ended.out)
    assert said in ended.err


async def test_live_view_follows_what_runs_and_ends_at_ctrl_c(served: Site) -> None:
    """Two daemons, one down: what runs appears, then its verdict; the terminal is left as it was."""
    down = free_ports(1)[0]
    daemons = (f"127.0.0.1:{served.port}", f"127.0.0.1:{down}")
    async with on_terminal("top", *daemons, "--interval", "0.2", http__tokens=TOKEN) as terminal:
        await wait_until(lambda: "1 of 2 ready" in terminal.read(), 30)
        async with judging(served) as submission:
            await wait_until(lambda: re.search(rf"[12] of 2 .*{submission}", terminal.read()))
        await wait_until(lambda: re.search(rf"Accepted.*{submission}", terminal.read()))
        terminal.type("\x03")
        async with asyncio.timeout(10):
            code = await terminal.process.wait()

    assert 0 == code
    assert "cannot connect: Connection refused" in terminal.text
    assert terminal.read().count(LEFT_SCREEN) == 1
    assert "Traceback" not in terminal.text


async def test_live_view_ends_at_sigterm_while_a_daemon_is_silent() -> None:
    """The end does not wait for an answer that does not come."""
    silent = Receiver(never_answers)
    async with silent.up(), on_terminal("top", f"127.0.0.1:{silent.port}") as terminal:
        await wait_until(lambda: silent.received and "asking" in terminal.read(), 30)
        terminal.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(4):
            code = await terminal.process.wait()

    assert 0 == code
    assert terminal.read().count(LEFT_SCREEN) == 1
