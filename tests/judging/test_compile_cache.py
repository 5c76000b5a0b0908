"""A program that was compiled before is not compiled again; what a limit ended is."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from judging.conftest import OWN_LANGUAGES, Judge, judge_on
from support.boxes import boxes
from verdictd import metrics
from verdictd.contract.result import Result, Status
from verdictd.judging.judgehost import open_judgehost
from verdictd.settings import JudgeSettings, SandboxSettings, Settings

pytestmark = pytest.mark.anyio

HURRIED = """
[[language]]
name = "hurried"
source_file = "make.sh"
compile_cmd = "bash make.sh"
run_cmd = "./main"
compile_limits = { wall_time_s = 0.5 }
"""
NUMBER = "echo compiled; printf '#!/bin/bash\\necho %s' $RANDOM$RANDOM > main"
"""A compiler that makes another program each time."""


@pytest.fixture(scope="module")
def settings(isolate: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    directory = tmp_path_factory.mktemp("compiled")
    languages_file = directory / "own.toml"
    languages_file.write_text(OWN_LANGUAGES + HURRIED)
    with boxes(2) as numbers:
        yield Settings(
            sandbox=sandbox_of(isolate, numbers),
            judge=JudgeSettings(languages_file=languages_file, cache_directory=directory, cache_kib=1_024),
        )


def sandbox_of(isolate: str, numbers: range) -> SandboxSettings:
    return SandboxSettings(
        isolate=isolate, boxes=len(numbers), first_box=numbers.start, control_groups="never"
    )


@pytest.fixture(scope="module")
async def cached(settings: Settings) -> AsyncIterator[Judge]:
    """Judge on a host with a cache."""
    async with open_judgehost(settings) as host:
        yield judge_on(host, settings)


def entries(settings: Settings) -> list[Path]:
    assert settings.judge.cache_directory is not None
    return [file for file in settings.judge.cache_directory.iterdir() if len(file.name) == 64]


def new(source: str) -> str:
    """A source that was never compiled before."""
    return f"# {uuid.uuid4()}\n{source}"


def made(result: Result) -> tuple[str, str, str]:
    assert Status.ACCEPTED == result.status, result.message
    return result.stdout, result.compile_output, result.message


async def test_equal_programs_are_compiled_once(cached: Judge, settings: Settings, isolate: str) -> None:
    """Whatever the program is run with, by whichever daemon of the host; the messages are those of then."""
    source = new(NUMBER)
    first = await cached("made", source)
    second = await cached("made", source, stdin="input", command_line_arguments="argument", cpu_time_limit=1)
    with boxes(1) as numbers:
        others = settings.model_copy(update={"sandbox": sandbox_of(isolate, numbers)})
        async with open_judgehost(others) as host:
            third = await judge_on(host, others)("made", source)

    assert "compiled\n" == first.compile_output
    assert made(first) == made(second) == made(third)
    assert [False, True, True] == [first.compile_cached, second.compile_cached, third.compile_cached]


async def test_equal_programs_at_the_same_moment_are_compiled_once(cached: Judge) -> None:
    """The second one waits for the first."""
    source = new(f"sleep 0.2; {NUMBER}")
    results = await asyncio.gather(*(cached("made", source) for _ in range(2)))

    assert 1 == len({made(result) for result in results})
    assert [False, True] == sorted(result.compile_cached for result in results)


async def test_other_files_make_another_program(cached: Judge) -> None:
    """They are there for the compiler; the program has its own too, and the folders of what was made."""
    source = new("mkdir in; echo $RANDOM > in/made; printf '#!/bin/bash\ncat more in/made' > main")
    files = [[{"name": "more", "content": content}] for content in ("1", "2", "1")]
    results = [await cached("made whole", source, additional_files=more) for more in files]

    assert [False, False, True] == [result.compile_cached for result in results]
    assert ["1", "2", "1"] == [made(result)[0][0] for result in results]
    assert made(results[0]) == made(results[2])


async def test_equal_programs_wait_only_once_for_a_compiler_that_a_limit_ends(cached: Judge) -> None:
    """Each is compiled then, at the same moment: a queue of them would take longer than a submission may."""
    source = new("echo $RANDOM$RANDOM; sleep 30")
    results = await asyncio.gather(*(cached("hurried", source) for _ in range(2)))

    assert [Status.COMPILATION_ERROR] * 2 == [result.status for result in results]
    assert [False, False] == [result.compile_cached for result in results]
    assert 2 == len({result.compile_output for result in results})


async def test_lookups_are_counted(cached: Judge) -> None:
    """Also those that waited for another one; not the languages without a compiler."""
    source = new(NUMBER)
    before = lookups()
    await asyncio.gather(*(cached("made", source) for _ in range(2)))
    await cached("made", source)
    await cached("bash", "true")
    after = lookups()

    assert {"hit": 2, "miss": 1} == {outcome: after[outcome] - before[outcome] for outcome in after}


def lookups() -> dict[str, float]:
    samples = (sample for metric in metrics.ARTIFACT_CACHE.collect() for sample in metric.samples)
    return {sample.labels["outcome"]: sample.value for sample in samples if sample.name.endswith("_total")}


@pytest.mark.parametrize(
    ("language", "source", "remembered"),
    [
        ("made", "echo line 1: wrong; exit 3", True),
        ("made", "true", True),
        ("made", "kill -9 $$", False),
        ("made", "(kill -9 $BASHPID); exit 1", False),
        ("made", "bash -c 'kill -9 $$'; exit $?", False),
        ("hurried", "sleep 30", False),
    ],
)
async def test_compilation_error_is_remembered_unless_a_limit_or_a_signal_ended_it(
    cached: Judge, language: str, source: str, remembered: bool
) -> None:
    """A part of the compiler that was killed counts too."""
    source = new(source)
    first, second = [await cached(language, source) for _ in range(2)]

    assert Status.COMPILATION_ERROR == first.status == second.status
    assert (first.message, first.compile_output) == (second.message, second.compile_output)
    assert [False, remembered] == [first.compile_cached, second.compile_cached]


async def test_damaged_program_is_compiled_again(cached: Judge, settings: Settings) -> None:
    """As after a disk that lost what was written last; the next one is found."""
    source = new(NUMBER)
    before = set(entries(settings))
    first = await cached("made", source)
    (entry,) = set(entries(settings)) - before
    entry.write_bytes(entry.read_bytes()[:-1])
    second, third = [await cached("made", source) for _ in range(2)]

    assert [False, True] == [second.compile_cached, third.compile_cached]
    assert made(first) != made(second)
    assert made(second) == made(third)


async def test_program_does_not_see_the_cache(cached: Judge, settings: Settings) -> None:
    """Neither it nor a compiler can read or write there."""
    directory = settings.judge.cache_directory
    source = new(f"ls {directory}; touch {directory}/x; printf '#!/bin/bash\\nls {directory}' > main")
    result = await cached("made", source)

    assert Status.RUNTIME_ERROR_NZEC == result.status
    assert 2 == result.compile_output.count("No such file or directory")


async def test_language_without_a_compiler_is_not_cached(cached: Judge, settings: Settings) -> None:
    """There is nothing to reuse."""
    before = entries(settings)
    results = [await cached("bash", "echo 42") for _ in range(2)]

    assert [False, False] == [result.compile_cached for result in results]
    assert before == entries(settings)
