"""HTTP in as a client sees it: a real daemon between a real RabbitMQ and a real sandbox."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.amqp import RESULTS, Peer, peer
from support.broker import Broker
from support.submissions import UUID
from support.waiting import LIMIT_S
from support.web import Site, site, until_counted, until_in_box
from verdictd.cli.configuration import SettingsError, load
from verdictd.contract.result import Result
from verdictd.contract.submission import ID_PATTERN
from verdictd.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

BOUNDS = {"limits__message_bytes": "200000", "limits__source_code_bytes": "100000"}


@pytest.fixture(scope="module")
def url(broker: Broker) -> str:
    """The virtual host that the tests of this module share."""
    return broker.fresh_vhost()


@pytest.fixture(scope="module")
async def shared(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon for tests that leave nothing in its queues."""
    log = tmp_path_factory.mktemp("web") / "daemon.log"
    async with site(log, broker__url=url, **BOUNDS) as shared:
        yield shared


@pytest.fixture
async def client(url: str) -> AsyncIterator[Peer]:
    """A consumer of results."""
    async with peer(url) as client:
        yield client


def bash(source: str, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "language": "bash", "source_code": source} | fields


async def result(client: Peer) -> Result:
    return Result.model_validate_json((await client.take(RESULTS)).body)


async def test_submission_is_published_and_its_result_is_on_the_results_queue(
    shared: Site, client: Peer
) -> None:
    """202 with the sender's id; the verdict is on the results queue under that id."""
    sent_at = datetime.now(UTC).replace(microsecond=0)
    submission = bash("echo 42", expected_output="42")
    status, said = await shared.post(submission)
    message = await client.take(RESULTS)
    answer = Result.model_validate_json(message.body)

    assert (202, {"id": submission["id"]}) == (status, said)
    assert (submission["id"], "accepted") == (answer.id, answer.status)
    assert submission["id"] == message.correlation_id
    assert answer.created_at is not None
    assert answer.created_at >= sent_at


async def test_trace_context_comes_back_with_the_result(shared: Site, client: Peer) -> None:
    """A traced request and its result have the same trace."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}
    await shared.post(bash(""), headers=trace | {"Content-Type": "application/json"})
    message = await client.take(RESULTS)

    assert trace == {name: message.headers.get(name) for name in trace}


async def test_submission_without_an_id_gets_a_new_one(shared: Site, client: Peer) -> None:
    """The id of the answer is that of the result, and a UUID."""
    _, said = await shared.post(b' {"language": "bash", "source_code": "echo 1"}')
    answer = await result(client)

    assert re.fullmatch(UUID, said["id"])
    assert said["id"] == answer.id


async def test_waiting_gives_the_result_and_leaves_none_behind(shared: Site, client: Peer) -> None:
    """200 with the whole verdict, as it would be on the results queue, which does not get it."""
    submission = bash("cat", stdin="abc", expected_output="cba")
    status, said = await shared.post(submission, wait=True)
    answer = Result.model_validate_json(json.dumps(said))

    assert 200 == status
    assert (submission["id"], "wrong_answer", "abc") == (answer.id, answer.status, answer.stdout)
    assert 0 == await client.count(RESULTS)


async def test_large_submission_is_judged(shared: Site) -> None:
    """A body that is decoded in a thread arrives whole."""
    status, said = await shared.post(bash("wc -c", stdin="x" * 150_000), wait=True)

    assert (200, "150000\n") == (status, said["stdout"])


@pytest.mark.parametrize("wait", ["?wait", "?wait=1", "?wait=True", "?wait=TRUE", "?wait=yes"])
async def test_wait_is_taken_as_languages_write_it(shared: Site, wait: str) -> None:
    """Python writes True, PHP 1."""
    status, said = await shared.get(f"/submissions/new{wait}", "POST", json=bash("echo 42"))

    assert (200, "42\n") == (status, said["stdout"])


@pytest.mark.parametrize("wait", ["?wait=0", "?wait=False", "?wait=no", "?"])
async def test_wait_that_is_false_is_none(shared: Site, client: Peer, wait: str) -> None:
    """The result comes on the results queue."""
    status, said = await shared.get(f"/submissions/new{wait}", "POST", json=bash("echo 42"))
    answer = await result(client)

    assert (202, said["id"]) == (status, answer.id)


async def test_many_that_wait_get_their_own_results(shared: Site) -> None:
    """Twelve at once, some with the same id: no answer is another's."""
    sent = [bash(f"echo {number}", id=f"same-{number % 8}") for number in range(12)]
    answers = await asyncio.gather(*(shared.post(submission, wait=True) for submission in sent))

    assert [f"{number}\n" for number in range(12)] == [said["stdout"] for _, said in answers]
    assert [submission["id"] for submission in sent] == [said["id"] for _, said in answers]


async def test_client_that_hangs_up_finds_the_result_on_the_results_queue(shared: Site, client: Peer) -> None:
    """A result is not lost if the client that waited for it has gone."""
    submission = bash("sleep 2; echo done")
    posting = asyncio.create_task(shared.post(submission, wait=True))
    await until_in_box(shared, 1)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    answer = await result(client)

    assert (submission["id"], "done\n") == (answer.id, answer.stdout)


@pytest.mark.parametrize(
    ("submission", "errors"),
    [
        (b"", ["Invalid JSON: EOF while parsing a value at line 1 column 0"]),
        (b"[]", ["must be an object"]),
        ({"language": "bash"}, ["must be given"]),
        (bash("", cpu_time_limit="1", nonsense=1), ["must be a number", "unknown field"]),
        (bash("", id="a b"), [f"must match pattern '{ID_PATTERN}'"]),
    ],
)
async def test_invalid_submission_is_422_with_reasons(
    shared: Site, submission: object, errors: list[str]
) -> None:
    """The same problems as in the result over AMQP."""
    status, said = await shared.post(submission)

    assert (422, errors) == (status, [error["message"] for error in said["errors"]])


async def test_what_this_host_cannot_do_is_422(shared: Site) -> None:
    """The judge's own checks are made before anything is published."""
    status, unknown = await shared.post({"language": "cobol", "source_code": ""})
    _, network = await shared.post(bash("", enable_network=True))

    assert (422, "/language") == (status, unknown["errors"][0]["path"])
    assert ["/enable_network"] == [error["path"] for error in network["errors"]]


async def test_body_over_the_limit_is_413(shared: Site) -> None:
    """With or without Content-Length; an id that the daemon adds counts too."""
    exact = json.dumps({"language": "bash", "source_code": "", "stdin": "x" * 1000}).encode()
    exact += b" " * (200_000 - len(exact))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1000

    told = await shared.post(b" " * 200_001)
    headers = {"Content-Type": "application/json"}
    untold = await shared.get("/submissions/new", "POST", data=chunks(), headers=headers)
    grown = await shared.post(exact)

    assert [413, 413, 413] == [status for status, _ in (told, untold, grown)]
    assert "A submission may have at most 200000 bytes." == told[1]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_other_content_is_415(shared: Site, headers: dict[str, str]) -> None:
    """An HTML form of another site cannot post here, and nothing is unpacked."""
    status, _ = await shared.post(b"{}", headers=headers)

    assert 415 == status


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/../settings.py", 404, None),
        ("GET", "/submissions/new", 405, "DELETE,POST"),  # it may be an id
        ("DELETE", "/languages", 405, "GET,HEAD"),
        ("POST", "/submissions/new?wait=soon", 400, None),
        ("POST", "/submissions/new?wait=true&wait=false", 400, None),
        ("POST", "/submissions/new?base64_encoded=true&wait=true", 400, None),
        ("POST", "/submissions/new?WAIT=true", 400, None),
    ],
)
async def test_errors_are_json(shared: Site, method: str, path: str, status: int, allow: str | None) -> None:
    """Errors for a wrong path, method or parameter have the same JSON body as all others."""
    async with shared.client.request(method, path) as response:
        said = await response.json()

    assert (status, allow) == (response.status, response.headers.get("Allow"))
    assert {"message", "errors"} == set(said)


async def test_no_version_is_told_to_strangers(shared: Site) -> None:
    """Responses, also to bytes that are not HTTP, reveal no version; and no cache keeps them."""
    async with shared.client.head("/healthz") as response:
        headers, body = response.headers, await response.read()
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()

    assert (200, b"", "verdictd", "no-store") == (
        response.status,
        body,
        headers["Server"],
        headers["Cache-Control"],
    )
    assert raw.startswith(b"HTTP/1.0 400 ")
    assert b"\r\nServer: verdictd\r\n" in raw


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_broken_framing_is_a_bad_request(shared: Site, framing: bytes) -> None:
    """A body with two lengths, or with none, is a bad request, and not an error of the daemon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    writer.write(
        b"POST /submissions/new HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing
    )
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()
    await writer.wait_closed()

    assert raw[8:13] == b" 400 "
    assert [] == shared.daemon.logged("http.failed")


async def test_large_headers_are_refused(shared: Site) -> None:
    """A header of 10 KB, or a hundred of them, is a bad request."""
    long = await shared.get("/healthz", headers={"X-Long": "x" * 10_000})
    many = await shared.get("/healthz", headers={f"X-{number}": "x" for number in range(100)})

    assert [400, 400] == [status for status, _ in (long, many)]


async def test_languages_have_names_versions_and_limits(shared: Site) -> None:
    """The installed languages, and the limits of a submission."""
    status, said = await shared.get("/languages")
    offered = {language["name"]: language for language in said["languages"]}

    assert 200 == status
    assert {"py", "python3"} <= set(offered["python"]["aliases"])
    assert re.search(r"3\.\d+", offered["python"]["version"])
    assert (False, None) == (offered["python"]["compiled"], offered["python"]["compile_limits"])
    assert {"default": 2.0, "min": 0.01, "max": 60.0} == said["limits"]["cpu_time_limit"]
    assert 200_000 == said["limits"]["message_bytes"]


async def test_status_shows_what_runs_and_what_was_judged(shared: Site) -> None:
    """The submission in its box while it runs, the verdict and the rates afterwards."""
    submission = bash("sleep 2")
    posting = asyncio.create_task(shared.post(submission, wait=True))
    async with asyncio.timeout(LIMIT_S):
        while not (running := [box for box in (await shared.get("/status"))[1]["boxes"] if box["running"]]):
            await asyncio.sleep(0.05)
    await posting
    said = await until_counted(shared, submission["id"])

    assert ("leased", submission["id"], "bash") == (
        running[0]["state"],
        running[0]["running"]["id"],
        running[0]["running"]["language"],
    )
    assert running[0]["running"]["since"] > said["started_at"]
    assert (submission["id"], "accepted", running[0]["box"]) == (
        said["verdicts"][0]["id"],
        said["verdicts"][0]["status"],
        said["verdicts"][0]["box"],
    )
    assert [60, 300, 900] == [rate["window_s"] for rate in said["rates"]]
    assert said["rates"][0]["by_status"]["accepted"] >= 1
    queues = [{"name": "verdictd.submissions", "weight": 1, "messages": 0}]
    assert (True, [], queues) == (said["ready"], said["problems"], said["queues"])
    assert {"verdictd", "sandbox", "python", "kernel"} == set(said["versions"])


async def test_it_is_off_and_on_loopback_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults."""
    monkeypatch.delenv("VERDICTD_HTTP__ENABLED", raising=False)
    http = Settings().http

    assert (False, "127.0.0.1", 8080, ()) == (http.enabled, http.host, http.port, http.tokens)


async def test_daemon_talks_to_loopback_alone(shared: Site) -> None:
    """Every socket of the process, after all that the other tests did, is on 127.0.0.1."""
    pid = shared.daemon.process.pid
    links = [*targets(Path(f"/proc/{pid}/fd"))]
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    rows = [line.split() for name in ("tcp", "tcp6", "udp", "udp6") for line in sockets(pid, name)]
    own = [row for row in rows if row[9] in inodes]

    assert f"0100007F:{shared.port:04X}" in [row[1] for row in own if row[3] == "0A"]
    assert {"0100007F"} == {row[1].split(":")[0] for row in own}
    assert {"0100007F", "00000000"} >= {row[2].split(":")[0] for row in own}


def targets(folder: Path) -> Iterator[str]:
    """Return the targets of the links in a directory; one may vanish meanwhile."""
    for link in folder.iterdir():
        with suppress(FileNotFoundError):
            yield str(link.readlink())


def sockets(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("http__tokens", "short", "16 to 512"),
        ("http__port", "70000", "less than or equal to 65535"),
        ("broker__reply_to_pattern", "mine", "http.enabled needs a broker.reply_to_pattern"),
    ],
)
def test_wrong_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, reason: str
) -> None:
    """Before anything starts, with a reason, and without the token."""
    monkeypatch.setenv("VERDICTD_HTTP__ENABLED", "true")
    monkeypatch.setenv(f"VERDICTD_{setting.upper()}", value)
    with pytest.raises(SettingsError, match=reason) as refused:
        load()

    assert "short" not in str(refused.value)
