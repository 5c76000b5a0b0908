"""Test data by reference: programs read it, outputs are compared with it, and nobody changes or finds it."""

import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from judging.conftest import Judge, judge_on
from support.boxes import boxes
from support.data import DataServer, sha256
from support.rabbitmq import HOST
from verdictd.contract.result import Status
from verdictd.errors import DataUnavailable, InvalidSubmission, Problem
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.settings import DataSettings, SandboxSettings, Settings

pytestmark = pytest.mark.anyio

COPY = "import shutil, sys\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
ATTACK = """
import os
def attempt(name, act):
    try:
        print(name, act() or "done")
    except OSError:
        print(name, "refused")
print(open("/dev/stdin").read(), end="")
attempt("fchmod", lambda: os.fchmod(0, 0o666))
attempt("chmod", lambda: os.chmod("/proc/self/fd/0", 0o666))
attempt("open", lambda: os.open("/proc/self/fd/0", os.O_RDWR))
attempt("truncate", lambda: os.truncate("/dev/stdin", 0))
attempt("times", lambda: os.utime(0))
attempt("link", lambda: os.link("/proc/self/fd/0", "/box/link", follow_symlinks=True))
path = os.readlink("/proc/self/fd/0")
print("path", os.path.isfile(path), os.path.isdir(os.path.dirname(path)) and os.path.dirname(path) != "/")
"""
REFUSED = ["fchmod", "chmod", "open", "truncate", "times", "link"]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[DataServer]:
    async with DataServer().up() as server:
        yield server


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a folder of provided files and whatever else may lie there, and one of the cache."""
    directory = tmp_path_factory.mktemp("data")
    provided = directory / "provided"
    (provided / "sums").mkdir(parents=True)
    (provided / "link").symlink_to("/etc/passwd")
    (provided / "etc").symlink_to("/etc")
    os.mkfifo(provided / "pipe")
    return directory


@pytest.fixture(scope="module")
def data_settings(isolate: str, server: DataServer, directory: Path) -> Iterator[Settings]:
    with boxes(1) as numbers:
        yield Settings(
            sandbox=SandboxSettings(isolate=isolate, boxes=1, first_box=numbers.start),
            data=DataSettings(
                directory=directory / "provided",
                allow_urls=True,
                allow_hosts=(HOST,),
                allow_ports=(server.port,),
                file_kib=4_096,
                cache_directory=directory / "cache",
                cache_kib=8_192,
            ),
        )


@pytest.fixture(scope="module")
async def data_host(data_settings: Settings) -> AsyncIterator[Judgehost]:
    """A judgehost that takes test data by reference."""
    async with open_judgehost(data_settings) as host:
        yield host


@pytest.fixture
def judge_data(data_host: Judgehost, data_settings: Settings) -> Judge:
    return judge_on(data_host, data_settings)


async def problems(judge: Judge, **fields: object) -> list[Problem]:
    with pytest.raises(InvalidSubmission) as refused:
        await judge("python", COPY, **fields)
    return refused.value.problems


async def test_files_from_a_server_and_from_the_directory_are_read_and_compared(
    judge_data: Judge, server: DataServer, directory: Path
) -> None:
    """3 MiB each way, and the second time nothing is fetched."""
    content = os.urandom(3 << 20)
    (directory / "provided" / "sums" / "01.ans").write_bytes(content)
    fields = {"stdin": server.reference("01.in", content), "expected_output": {"file": "sums/01.ans"}}
    server.asked.clear()
    first = await judge_data("python", COPY, **fields)
    second = await judge_data("python", COPY, **fields)

    assert [Status.ACCEPTED] * 2 == [first.status, second.status]
    assert ["01.in"] == server.asked


async def test_other_output_is_a_wrong_answer(judge_data: Judge, server: DataServer) -> None:
    """A reference is compared as bytes in the message are."""
    result = await judge_data("python", COPY, stdin="2\n", expected_output=server.reference("1", b"1\n"))

    assert Status.WRONG_ANSWER == result.status


async def test_daemon_holds_no_more_than_a_part_of_a_file(judge_data: Judge, directory: Path) -> None:
    """Input and expected output are copied, read and compared in parts."""
    lines = b"".join(b"%09d\n" % number for number in range(400_000))
    (directory / "provided" / "large").write_bytes(lines)
    tracemalloc.start()
    try:
        result = await judge_data("bash", "wc -l", stdin={"file": "large"}, expected_output={"file": "large"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "400000\n" == result.stdout
    assert peak < len(lines) / 2


async def test_program_cannot_change_its_input_or_find_its_path(
    judge_data: Judge, server: DataServer, directory: Path
) -> None:
    """It opens it again to read, and nothing more; the file in the cache stays as it is."""
    reference = server.reference("attacked", b"attacked\n")
    result = await judge_data("python", ATTACK, stdin=reference)
    refused = "".join(f"{name} refused\n" for name in REFUSED)

    assert f"attacked\n{refused}path False False\n" == result.stdout
    assert b"attacked\n" == (directory / "cache" / reference["sha256"]).read_bytes()


async def test_file_that_changed_is_another_file(judge_data: Judge, directory: Path) -> None:
    """The operator may replace test data while the daemon runs."""
    file = directory / "provided" / "changing"
    outputs = []
    for content in ("one", "other"):
        file.write_text(content)
        outputs.append((await judge_data("python", COPY, stdin={"file": "changing"})).stdout)

    assert ["one", "other"] == outputs


async def test_link_in_the_directory_is_not_followed(judge_data: Judge) -> None:
    """Neither to a file nor to a folder; a folder and a pipe are not files."""
    missing = "there is no such file in the directory of test data of this judge"

    for name in ("none", "link", "etc/passwd", "sums/none", "sums/01.ans/x"):
        assert [Problem("/stdin", missing)] == await problems(judge_data, stdin={"file": name})
    for name in ("sums", "pipe"):
        found = await problems(judge_data, expected_output={"file": name})
        assert [Problem("/expected_output", "is not a regular file")] == found


async def test_wrong_missing_and_too_large_files_make_the_submission_invalid(
    judge_data: Judge, server: DataServer
) -> None:
    """With the path of the field, both fields at once."""
    wrong = server.reference("wrong", b"right") | {"sha256": sha256(b"left")}
    large = server.reference("large", b"x" * ((4 << 20) + 1))
    missing = {"sha256": sha256(b""), "url": server.url("none")}

    assert [
        Problem("/stdin", f"the file has another SHA-256: {sha256(b'right')}"),
        Problem("/expected_output", "has more than 4096 KiB (data.file_kib)"),
    ] == await problems(judge_data, stdin=wrong, expected_output=large)
    answered = "the server answered with status 404: there is no such file"
    assert [Problem("/stdin", answered)] == await problems(judge_data, stdin=missing)


async def test_server_that_fails_for_a_moment_is_asked_again(judge_data: Judge, server: DataServer) -> None:
    """Nobody outside sees it."""
    server.failures = 1

    assert "moment" == (await judge_data("python", COPY, stdin=server.reference("m", b"moment"))).stdout


@pytest.mark.parametrize("status", [302, 403, 500])
async def test_server_that_goes_on_failing_is_a_fault_of_ours(
    judge_data: Judge, server: DataServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It is never a verdict, and no redirect is followed."""
    monkeypatch.setattr("verdictd.judging.test_data._LONGEST_PAUSE_S", 0.01)
    server.failures, server.failing_with = 3, status
    server.asked.clear()
    with pytest.raises(DataUnavailable, match=f"{HOST} answered with status {status}"):
        await judge_data("python", COPY, stdin=server.reference(f"failing-{status}", bytes([status % 256])))

    assert [f"failing-{status}"] * 3 == server.asked


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/a", "port 80 is not allowed"),
        ("http://10.0.0.1:PORT/a", "10.0.0.1 is not an address that may be reached"),
        ("http://user@127.0.0.1:PORT/a", "a URL with a user name or a password is not accepted"),
        ("http://127.0.0.2:PORT/a", "127.0.0.2 is not an address that may be reached"),
        ("http://2130706433:PORT/a", "2130706433 is not an address that may be reached"),
        ("http://localhost:PORT/a", "the host has an address that may not be reached"),
    ],
)
async def test_address_that_is_not_allowed_is_never_reached(
    judge_data: Judge, server: DataServer, url: str, reason: str
) -> None:
    """Most are refused by their URL, before anything is fetched; a name when it is looked up."""
    server.asked.clear()
    found = await problems(
        judge_data, stdin={"sha256": sha256(url.encode()), "url": url.replace("PORT", str(server.port))}
    )

    assert [("/stdin", True)] == [(problem.path, problem.message.startswith(reason)) for problem in found]
    assert [] == server.asked


async def test_without_settings_no_reference_is_taken(judge: Judge) -> None:
    """The message names the setting."""
    remote = {"sha256": sha256(b""), "url": "https://a/"}

    assert [
        Problem("/stdin", "this judge has no directory of test data (data.directory)"),
        Problem("/expected_output", "this judge fetches no test data (data.allow_urls)"),
    ] == await problems(judge, stdin={"file": "a"}, expected_output=remote)
