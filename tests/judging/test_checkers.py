"""Checkers decide about the output of real programs."""

from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("checker", "accepted"),
    [
        ({"type": "lines"}, False),
        ({"type": "exact"}, False),
        ({"type": "tokens"}, False),
        ({"type": "floats"}, True),
        ({"type": "unordered_lines"}, False),
    ],
)
async def test_checker_of_the_submission_decides(
    judge: Judge, checker: dict[str, Any], accepted: bool
) -> None:
    """The same output is right by one rule and wrong by others, which say where."""
    result = await judge(
        "bash", "printf '0.5\\n1e3\\n'", expected_output=b"0.5000001 1000\n", checker=checker
    )

    assert (Status.ACCEPTED if accepted else Status.WRONG_ANSWER) == result.status
    assert (None if accepted else Cause.OUTPUT) == result.cause
    assert accepted == ("Line 1, column " not in result.message)


async def test_program_that_failed_keeps_its_verdict(judge: Judge) -> None:
    """Whatever it printed."""
    result = await judge("bash", "echo 1; exit 3", expected_output=b"1", checker={"type": "tokens"})

    assert (Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE) == (result.status, result.cause)


@pytest.mark.parametrize(("printed", "status"), [("", Status.ACCEPTED), ("1", Status.WRONG_ANSWER)])
async def test_empty_expectation_is_one(judge: Judge, printed: str, status: Status) -> None:
    """Expecting nothing to be printed is not the same as expecting nothing."""
    result = await judge("bash", f"printf '{printed}'", expected_output=b"")

    assert status == result.status
