"""Test data by reference: programs read it, outputs are compared with it, and nobody changes or finds it."""

import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from judging.conftest import Judge, judge_on
from support.boxes import boxes
from support.broker import HOST
from support.data import DataServer
from verdictd.contract.result import Status
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
    """A directory with a folder of provided files, and one of the cache."""
    directory = tmp_path_factory.mktemp("data")
    (directory / "provided" / "sums").mkdir(parents=True)
    return directory


@pytest.fixture(scope="module")
def data_settings(isolate: str, server: DataServer, directory: Path) -> Iterator[Settings]:
    with boxes(1) as numbers:
        yield Settings(
            sandbox=SandboxSettings(
                isolate=isolate, boxes=1, first_box=numbers.start, control_groups="never"
            ),
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


async def test_file_by_reference_can_be_an_input_file(judge_data: Judge, server: DataServer) -> None:
    """It is copied into the box, and what the program does to its copy changes nothing."""
    data = server.reference("sum.in", b"20 22")
    source = "chmod 666 sum.in; cat sum.in >> sum.out; echo 43 > sum.in; ls -l sum.in | wc -l; wc -c"
    fields = {"input_file": "sum.in", "output_file": "sum.out", "stdin": data}
    results = [await judge_data("bash", source, **fields, expected_output=data) for _ in range(2)]

    assert [(Status.ACCEPTED, "1\n0\n")] * 2 == [(result.status, result.stdout) for result in results]


async def test_program_cannot_change_its_input_or_find_its_path(
    judge_data: Judge, server: DataServer, directory: Path
) -> None:
    """It opens it again to read, and nothing more; the file in the cache stays as it is."""
    reference = server.reference("attacked", b"attacked\n")
    result = await judge_data("python", ATTACK, stdin=reference)
    refused = "".join(f"{name} refused\n" for name in REFUSED)

    assert f"attacked\n{refused}path False False\n" == result.stdout
    assert b"attacked\n" == (directory / "cache" / reference["sha256"]).read_bytes()
