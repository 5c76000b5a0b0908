"""Deadlines: a submission has a box by then, or is not judged."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost

pytestmark = pytest.mark.anyio


def from_now(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_submission_is_not_begun_after_its_deadline(judge: Judge) -> None:
    """Its own data come back."""
    result = await judge("bash", "echo 42", deadline="2026-01-31T12:00:00+01:00", metadata={"row": 7})

    assert (Status.EXPIRED, 106, None, {"row": 7}) == (
        result.status,
        result.status_id,
        result.cause,
        result.metadata,
    )
    assert "Not begun by its deadline, 2026-01-31T12:00:00+01:00." == result.message
    assert result.worker.box is None


async def test_submission_that_has_begun_goes_on_after_its_deadline(judge: Judge) -> None:
    """Also in the box of its second test."""
    tests = [{"stdin": ""}, {"stdin": ""}]
    result = await judge("bash", "sleep 0.4; echo 42", deadline=from_now(0.4), tests=tests)

    assert Status.ACCEPTED == result.status


async def test_submission_that_waits_for_a_box_is_answered_at_its_deadline(
    host: Judgehost, judge: Judge
) -> None:
    """It leaves its place to others; no box is lost, and a later deadline is no matter."""
    async with host.pool.lease(), host.pool.lease():
        in_time = asyncio.ensure_future(judge("bash", "echo 42", deadline=from_now(3_600)))
        late = await judge("bash", "echo 42", deadline=from_now(0.2))
    others = await asyncio.gather(in_time, *(judge("bash", "echo 42") for _ in range(2)))

    assert Status.EXPIRED == late.status
    assert [Status.ACCEPTED] * 3 == [result.status for result in others]
