"""The store of test data: what it fetches, from where, and what becomes of what it cannot have."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.broker import HOST
from support.data import DataServer, sha256
from verdictd.contract.content import Reference, decode_data
from verdictd.errors import DataUnavailable, InvalidSubmission, Problem
from verdictd.judging import test_data
from verdictd.judging.test_data import DataStore
from verdictd.settings import DataSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[DataServer]:
    async with DataServer().up() as server:
        yield server


@pytest.fixture
def provided(tmp_path: Path) -> Path:
    """The operator's directory, with whatever may lie there."""
    provided = tmp_path / "provided"
    (provided / "sums").mkdir(parents=True)
    (provided / "sums" / "01.in").write_text("1 2")
    (provided / "link").symlink_to("/etc/passwd")
    (provided / "etc").symlink_to("/etc")
    os.mkfifo(provided / "pipe")
    return provided


@pytest.fixture
async def store(server: DataServer, provided: Path) -> AsyncIterator[DataStore]:
    async with opened(server, provided) as store:
        yield store


@asynccontextmanager
async def opened(server: DataServer, provided: Path, **settings: Any) -> AsyncIterator[DataStore]:
    allowed = {"directory": provided, "allow_urls": True, "allow_hosts": [HOST], "allow_ports": [server.port]}
    bounds = {"file_kib": 64, "cache_directory": provided.parent / "cache", "cache_kib": 1_024}
    async with DataStore.open_store(DataSettings.model_validate(allowed | bounds | settings)) as store:
        yield store


def reference(content: object) -> Reference:
    decoded = decode_data(content)
    assert not isinstance(decoded, bytes)
    return decoded


async def read(store: DataStore, content: object) -> bytes:
    async with store.open(reference(content), "/stdin") as data:
        with data.open() as stream:
            return stream.read()


async def problems(store: DataStore, **contents: object) -> list[Problem]:
    """What is found when the data of a submission are fetched, by field."""
    with pytest.raises(InvalidSubmission) as refused:
        await store.fetch({f"/{name}": reference(content) for name, content in contents.items()})
    return refused.value.problems


async def test_file_is_fetched_once(store: DataStore, server: DataServer) -> None:
    """Also if many ask for it at the same time, or under another URL."""
    data = server.reference("01.in", b"1 2")
    found = await asyncio.gather(*(read(store, data) for _ in range(8)))
    again = await read(store, data | {"url": server.url("none?signature=1")})

    assert ([b"1 2"] * 8, b"1 2") == (found, again)
    assert ["01.in"] == server.asked


async def test_file_that_another_daemon_has_fetched_is_not_fetched_again(
    store: DataStore, server: DataServer, provided: Path
) -> None:
    """They share the cache of the host."""
    data = server.reference("01.in", b"1 2")
    await read(store, data)
    async with opened(server, provided) as other:
        assert b"1 2" == await read(other, data)

    assert ["01.in"] == server.asked


async def test_file_that_changed_is_another_file(store: DataStore, provided: Path) -> None:
    """The operator may replace test data while the daemon runs; what was opened stays as it was."""
    async with store.open(reference({"file": "sums/01.in"}), "/stdin") as before:
        (provided / "sums" / "01.in").write_text("3 4")
        after = await read(store, {"file": "sums/01.in"})
        with before.open() as stream:
            assert (b"1 2", b"3 4") == (stream.read(), after)


async def test_link_in_the_directory_is_not_followed(store: DataStore) -> None:
    """Neither to a file nor to a folder; a folder and a pipe are not files."""
    missing = "there is no such file in the directory of test data of this judge"

    for name in ("none", "link", "etc/passwd", "sums/none", "sums/01.in/x"):
        assert [Problem("/stdin", missing)] == await problems(store, stdin={"file": name})
    for name in ("sums", "pipe"):
        found = await problems(store, expected_output={"file": name})
        assert [Problem("/expected_output", "is not a regular file")] == found


async def test_wrong_missing_and_too_large_files_make_the_submission_invalid(
    store: DataStore, server: DataServer, provided: Path
) -> None:
    """With the path of the field, all fields at once."""
    large = b"x" * (64 * 1024 + 1)
    (provided / "large").write_bytes(large)

    assert [
        Problem("/wrong", f"the file has another SHA-256: {sha256(b'right')}"),
        Problem("/large", "has more than 64 KiB (data.file_kib)"),
        Problem("/provided", "has more than 64 KiB (data.file_kib)"),
        Problem("/missing", "the server answered with status 404: there is no such file"),
    ] == await problems(
        store,
        wrong=server.reference("wrong", b"right") | {"sha256": sha256(b"left")},
        large=server.reference("large", large),
        provided={"file": "large"},
        missing={"sha256": sha256(b""), "url": server.url("none")},
    )
    assert [] == list((provided.parent / "cache").iterdir())


async def test_server_that_fails_for_a_moment_is_asked_again(store: DataStore, server: DataServer) -> None:
    """Nobody outside sees it."""
    server.failures = 1

    assert b"moment" == await read(store, server.reference("moment", b"moment"))


@pytest.mark.parametrize("status", [302, 403, 500])
async def test_server_that_goes_on_failing_is_a_fault_of_ours(
    store: DataStore, server: DataServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It is never a verdict, and no redirect is followed."""
    monkeypatch.setattr(test_data, "_LONGEST_PAUSE_S", 0.01)
    server.failures, server.failing_with = 3, status
    with pytest.raises(DataUnavailable, match=f"{HOST} answered with status {status}"):
        await store.fetch({"/stdin": reference(server.reference("failing", b"failing"))})

    assert ["failing"] * 3 == server.asked


async def test_server_that_cannot_be_reached_or_does_not_answer_is_a_fault_of_ours(
    server: DataServer, provided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within `data.timeout_s`; what was fetched until then stays."""
    monkeypatch.setattr(test_data, "_LONGEST_PAUSE_S", 0.01)
    closed = {"sha256": sha256(b"1"), "url": f"http://{HOST}:{server.port + 1}/a"}
    async with opened(server, provided, allow_ports=[server.port + 1]) as store:
        with pytest.raises(DataUnavailable, match=f"cannot connect to {HOST}"):
            await store.fetch({"/stdin": reference(closed)})
    server.hangs = {"hangs"}
    wanted = {name: reference(server.reference(name, name.encode())) for name in ("there", "hangs")}
    async with opened(server, provided, timeout_s=0.5) as store:
        with pytest.raises(DataUnavailable, match=r"not there within 0.5 s \(data.timeout_s\)"):
            await store.fetch(wanted)

    assert [sha256(b"there")] == [file.name for file in (provided.parent / "cache").iterdir()]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:80/a", "port 80 is not allowed"),
        ("http://10.0.0.1:PORT/a", "10.0.0.1 is not an address that may be reached"),
        ("http://user@127.0.0.1:PORT/a", "a URL with a user name or a password is not accepted"),
        ("http://127.0.0.2:PORT/a", "127.0.0.2 is not an address that may be reached"),
        ("http://2130706433:PORT/a", "2130706433 is not an address that may be reached"),
        ("http://localhost:PORT/a", None),
    ],
)
async def test_address_that_is_not_allowed_is_never_reached(
    store: DataStore, server: DataServer, url: str, reason: str | None
) -> None:
    """Most are refused by their URL, before the submission is taken; a name when it is looked up."""
    data = {"sha256": sha256(b""), "url": url.replace("PORT", str(server.port))}
    (found,) = await problems(store, stdin=data)
    at_once = store.problem(reference(data))

    assert found.message.startswith(reason or "the host has an address that may not be reached")
    assert at_once == (found.message if reason else None)
    assert [] == server.asked


async def test_without_settings_no_reference_is_taken(tmp_path: Path) -> None:
    """The message names the setting; no directory is made."""
    async with DataStore.open_store(DataSettings(cache_directory=tmp_path / "cache")) as store:
        file = store.problem(reference({"file": "a"}))
        remote = store.problem(reference({"sha256": sha256(b""), "url": "https://a/"}))

    assert "this judge has no directory of test data (data.directory)" == file
    assert "this judge fetches no test data (data.allow_urls)" == remote
    assert [] == list(tmp_path.iterdir())
