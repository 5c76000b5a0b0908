"""Every language that this host has is proved: it compiles, runs, reads, and fails as it should."""

import asyncio
from collections.abc import Mapping

import pytest

from judging.conftest import Judge
from sandbox.language_programs import PROGRAMS
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost
from verdictd.judging.languages import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


DECLARED = {
    "bash", "c", "cpp", "csharp", "go", "haskell", "java", "javascript", "kotlin", "lua", "pascal", "perl",
    "php", "python", "ruby", "rust",
}  # fmt: skip
INSTALLED_BY_THE_SET_UP = {"bash", "c", "cpp", "java", "javascript", "lua", "perl", "php", "python", "ruby"}

LIMITS: Mapping[str, object] = {"cpu_time_limit": 10, "wall_time_limit": 60, "memory_limit": 524_288}


@pytest.fixture(params=sorted(DECLARED))
def language(request: pytest.FixtureRequest) -> str:
    """Each language of the package; those that this machine lacks are skipped."""
    name: str = request.param
    declared = Registry.load().get(name)
    assert declared is not None
    if declared.missing and name not in INSTALLED_BY_THE_SET_UP:
        pytest.skip(f"{' and '.join(declared.missing)} not installed")
    return name


async def test_language_does_what_programs_need(judge: Judge, language: str) -> None:
    """An echo of the input, an exit code of 3; and a program that does not compile is not accepted."""
    programs = PROGRAMS[language]
    tests = [{"stdin": "a line of text\n"}, {"stdin": "\n"}]
    echo, broken = await asyncio.gather(
        judge(language, programs.echo, tests=tests, return_output="all", **LIMITS),
        judge(language, programs.broken, **LIMITS),
    )

    assert [
        (Status.ACCEPTED, "a line of text\n", 0),
        (Status.RUNTIME_ERROR_NZEC, "\n", 3),
    ] == [(test.status, test.stdout, test.exit_code) for test in echo.tests], echo.compile_output
    assert broken.status in {Status.COMPILATION_ERROR, Status.RUNTIME_ERROR_NZEC}
    assert broken.compile_output + broken.stderr + broken.stdout != ""
    assert echo.language is not None
    assert echo.language.version


def test_all_declared_languages_are_in_the_package() -> None:
    """The package declares sixteen languages."""
    assert DECLARED == {language.name for language in Registry.load()}
