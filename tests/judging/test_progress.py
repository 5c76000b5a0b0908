"""The steps that a judge tells of while it judges."""

from typing import Any

import pytest

from verdictd.contract.events import Step
from verdictd.contract.submission import submission_model
from verdictd.judging.judgehost import Judgehost
from verdictd.settings import Settings

pytestmark = pytest.mark.anyio

ONE_AT_A_TIME: dict[str, Any] = {
    "language": "bash",
    "source_code": "cat",
    "tests": [
        {"stdin": "1", "expected_output": "2", "group": "first", "points": 10},
        {"stdin": "1", "expected_output": "1", "group": "second", "points": 20},
        {"stdin": "1", "expected_output": "1", "group": "third", "points": 30},
    ],
    "groups": [{"name": "first"}, {"name": "second", "requires": ["first"]}, {"name": "third"}],
}


async def steps(host: Judgehost, settings: Settings, **fields: Any) -> list[Step]:
    """What is told of a submission."""
    told: list[Step] = []
    submission = submission_model(settings.limits).model_validate(fields)
    await host.judge.judge(host.admission.admit(submission), observe=told.append)
    return told


async def test_skipped_test_counts_as_done_and_is_not_told(host: Judgehost, settings: Settings) -> None:
    """Here the second, whose group requires one that is not full."""
    told = await steps(host, settings, **ONE_AT_A_TIME)

    assert [
        ("started", 0, None, None),
        ("compiled", 0, None, None),
        ("test", 1, 1, 0),
        ("test", 3, 3, 30),
    ] == [(step.kind, step.done, step.number, step.points) for step in told]


async def test_tests_side_by_side_are_each_told_once(host: Judgehost, settings: Settings) -> None:
    """In the order in which they end; `done` goes up with each."""
    told = await steps(
        host, settings, language="bash", source_code="sleep 0.0$RANDOM", tests=[{}] * 8, parallel_tests=2
    )
    tests = [step for step in told if step.kind == "test"]

    assert list(range(1, 9)) == sorted(step.number or 0 for step in tests)
    assert list(range(1, 9)) == [step.done for step in tests]
    assert ["started", "compiled"] == [step.kind for step in told[:2]]


async def test_program_that_cannot_be_built_is_told(host: Judgehost, settings: Settings) -> None:
    """All its tests are done then, as none is run."""
    told = await steps(host, settings, language="c", source_code="x", tests=[{}, {}])

    assert [("started", None, None, 0), ("compiled", False, False, 2)] == [
        (step.kind, step.ok, step.cached, step.done) for step in told
    ]
