"""A real host, with boxes of each sandbox that this machine has, and no broker."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.boxes import boxes
from verdictd.contract.result import Result
from verdictd.contract.submission import submission_model
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.sandbox.discovery import ControlGroups
from verdictd.settings import JudgeSettings, SandboxSettings, Settings

Judge = Callable[..., Awaitable[Result]]

OWN_LANGUAGES = """
[[language]]
name = "copied"
source_file = "main.txt"
compile_cmd = "cp main.txt main"
run_cmd = "./main"
artifacts = ["main"]

[[language]]
name = "made"
source_file = "make.sh"
compile_cmd = "bash make.sh"
run_cmd = "./main"
artifacts = ["main"]

[[language]]
name = "made whole"
source_file = "make.sh"
compile_cmd = "bash make.sh"
run_cmd = "./main"

[[language]]
name = "made classes"
source_file = "make.sh"
compile_cmd = "bash make.sh"
run_cmd = "/bin/echo {main_class}"
entry_point = "class"

[[language]]
name = "direct"
source_file = "main.txt"
run_cmd = "./main.txt"

[[language]]
name = "networked"
source_file = "main.py"
run_cmd = "python3 main.py"
allow_network = true
"""
"""Languages that let a test say what lies in the box after the build."""


@pytest.fixture(scope="session")
def judging(tmp_path_factory: pytest.TempPathFactory) -> JudgeSettings:
    """Settings with the languages above."""
    languages_file: Path = tmp_path_factory.mktemp("languages") / "own.toml"
    languages_file.write_text(OWN_LANGUAGES)
    return JudgeSettings(languages_file=languages_file, cache_kib=0)


@pytest.fixture(scope="session")
def settings(isolate: str, judging: JudgeSettings) -> Iterator[Settings]:
    """Settings of a judgehost with each sandbox."""
    with boxes(2) as numbers:
        yield settings_of(isolate, numbers, judging, "never")


@pytest.fixture(scope="session")
async def host(settings: Settings) -> AsyncIterator[Judgehost]:
    """The judgehost of `verdictd run`."""
    async with open_judgehost(settings) as host:
        yield host


@pytest.fixture(scope="session")
async def host_with_groups(isolate: str, judging: JudgeSettings) -> AsyncIterator[Judgehost]:
    """One with control groups, where they work: for files whose programs are measured or ended by them."""
    with boxes(2) as numbers:
        async with open_judgehost(settings_of(isolate, numbers, judging, "auto")) as host:
            yield host


@pytest.fixture
def judge(host: Judgehost, settings: Settings) -> Judge:
    """Judge a submission given by its fields, as if they had come in a message."""
    return judge_on(host, settings)


def in_modes(names: str, cases: Mapping[str, Any], *, both: Collection[str]) -> pytest.MarkDecorator:
    """Parametrize `judge_by_mode` and these names: each without control groups, those in `both` with too.

    Without them verdictd itself has to see what the kernel counts, whatever it is, in a group.
    """
    modes = [("never", name) for name in cases] + [("always", name) for name in both]
    rows = [(mode, name, case if isinstance(case := cases[name], tuple) else (case,)) for mode, name in modes]
    return pytest.mark.parametrize(
        ("judge_by_mode", *names.split()),
        [pytest.param(mode, *case, id=f"{mode}-{name}") for mode, name, case in rows],
        indirect=["judge_by_mode"],
    )


@pytest.fixture(params=["always", "never"])
def judge_by_mode(
    request: pytest.FixtureRequest, host: Judgehost, host_with_groups: Judgehost, settings: Settings
) -> Judge:
    """The same with control groups, where they work, and without."""
    if request.param == "never":
        return judge_on(host, settings)
    if not host_with_groups.sandbox.control_groups:
        pytest.skip("control groups do not work here")
    return judge_on(host_with_groups, settings)


def settings_of(isolate: str, numbers: range, judging: JudgeSettings, groups: ControlGroups) -> Settings:
    """Return the settings of a judgehost with these boxes."""
    sandbox = SandboxSettings(
        isolate=isolate,
        boxes=len(numbers),
        first_box=numbers.start,
        control_groups=groups,
        retire_s=1,
    )
    return Settings(sandbox=sandbox, judge=judging)


def judge_on(host: Judgehost, settings: Settings) -> Judge:
    """Return a function that judges a submission, given by its fields, on a judgehost."""

    async def judge(language: str, source_code: str | bytes, **fields: Any) -> Result:
        model = submission_model(settings.limits)
        source = source_code.encode() if isinstance(source_code, str) else source_code
        submission = model(language=language, source_code=source, **fields)
        return await host.judge.judge(host.admission.admit(submission))

    return judge
