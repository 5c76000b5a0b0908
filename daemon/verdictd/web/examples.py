"""Example of a submission, and of its result, for the OpenAPI document."""

from datetime import UTC, datetime
from typing import Any, Final

from verdictd import __version__
from verdictd.contract.result import STATUS_IDS, LanguageUsed, Result, Status, WorkerIdentity
from verdictd.contract.submission import Submission

SUBMISSION: Final[dict[str, Any]] = {
    "source_code": 'print("hello world")',
    "language": "py",
    "stdin": "",
    "expected_output": "hello world",
    "cpu_time_limit": 1,
    "memory_limit": 1000000,
    "redirect_stderr_to_stdout": True,
    "enable_network": False,
}
_MOMENT: Final = datetime(2026, 1, 2, 3, 4, 5, 120_000, UTC)
RESULT: Final[dict[str, Any]] = Result(
    id="0b0f0d8e-6f0a-4c5e-9d2b-3a1f5f0c7e42",
    status=Status.ACCEPTED,
    status_id=STATUS_IDS[Status.ACCEPTED],
    message="The output matches the expected output.",
    stdout="hello world\n",
    exit_code=0,
    time=0.021,
    wall_time=0.034,
    memory=9_216,
    created_at=_MOMENT,
    started_at=_MOMENT.replace(microsecond=125_000),
    finished_at=_MOMENT.replace(microsecond=175_000),
    queue_time=0.005,
    language=LanguageUsed(name="python", version="Python 3.11.2"),
    limits=Submission.model_validate(SUBMISSION).effective_limits(),
    worker=WorkerIdentity(
        host="judge-1", box=0, sandbox="isolate", sandbox_version="2.6", verdictd=__version__
    ),
).model_dump(mode="json")
