"""Judgehosts whose sandbox fails when a test wants it to."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from support.faulty import Faulty
from verdictd.contract.result import Result, Status
from verdictd.contract.submission import submission_model
from verdictd.judging.judgehost import Judgehost
from verdictd.settings import SandboxSettings, Settings

Open = Callable[[], AbstractAsyncContextManager[Judgehost]]

ON_RUN: Final = 'case " $* " in *" --run "*) {} ;; esac'
ON_INIT: Final = 'case " $* " in *" --init "*) {} ;; esac'
CHECKER: Final = {
    "type": "program",
    "language": "bash",
    "source_code": "echo asked >&2",
    "protocol": "testlib",
}


def settings_of(faulty: Faulty, numbers: range) -> Settings:
    """Return the settings of a host with two boxes of the faulty sandbox."""
    sandbox = SandboxSettings(isolate=str(faulty.path), boxes=2, first_box=numbers.start, retire_s=0.5)
    return Settings(sandbox=sandbox)


async def judge(host: Judgehost, source: str = "echo fine", wall_time_limit: float = 10) -> Status:
    """Return the verdict on a script."""
    return (await result_of(host, "bash", source, wall_time_limit=wall_time_limit)).status


async def result_of(host: Judgehost, language: str, source: str, **fields: Any) -> Result:
    """Judge a submission that is given by its fields."""
    model = submission_model(Settings().limits)
    submission = model(language=language, source_code=source.encode(), **fields)
    return await host.judge.judge(host.admission.admit(submission))
