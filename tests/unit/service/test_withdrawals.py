"""Submissions that are withdrawn: before their work begins, and while it goes on."""

import asyncio
from typing import Any

import pytest

from support.submissions import take
from verdictd.contract.control import ControlMessage, Taken
from verdictd.contract.result import Status
from verdictd.service.control import Withdrawals, Withdrawn

pytestmark = pytest.mark.anyio

KEY = ("s-1", b"\0" * 32)


def cancel(name: str = "s-1") -> ControlMessage:
    return ControlMessage(cancel=name)


def taken(name: str, published_ms: int) -> ControlMessage:
    return ControlMessage(
        supersede=Taken(key="k", id=name, body_sha256="00" * 32, published_ms=published_ms, taken_ms=0)
    )


async def work(withdrawals: Withdrawals, begun: asyncio.Event, **fields: Any) -> None:
    async with withdrawals.heeded(take(id="s-1", **fields), KEY):
        begun.set()
        await asyncio.sleep(60)


async def withdrawn(*said: ControlMessage, **fields: Any) -> Status:
    """The status for which work ends that has begun before these messages."""
    withdrawals, begun = Withdrawals(age_s=60), asyncio.Event()
    working = asyncio.create_task(work(withdrawals, begun, **fields))
    await begun.wait()
    for message in said:
        withdrawals.hear(message)
    with pytest.raises(Withdrawn) as ended:
        await working
    return ended.value.verdict.status


async def test_work_ends_when_its_submission_is_cancelled() -> None:
    """Once, however often that is said; its task can go on to answer it."""
    assert Status.CANCELLED == await withdrawn(cancel(), cancel())


async def test_work_ends_when_its_submission_is_superseded() -> None:
    """By a newer one of the same key, and not by an older one."""
    status = await withdrawn(
        taken("s-1", 2), taken("s-0", 1), taken("s-2", 3), taken("s-3", 4), supersede_key="k"
    )

    assert Status.SUPERSEDED == status


async def test_first_reason_counts() -> None:
    """What is said while work is being ended changes nothing."""
    said = taken("s-1", 1), taken("s-2", 2), cancel()

    assert Status.SUPERSEDED == await withdrawn(*said, supersede_key="k")


async def test_work_does_not_begin_for_what_was_cancelled_before() -> None:
    """Whenever that was."""
    withdrawals, begun = Withdrawals(age_s=60), asyncio.Event()
    withdrawals.hear(cancel())
    with pytest.raises(Withdrawn):
        await work(withdrawals, begun)

    assert not begun.is_set()


async def test_cancel_is_forgotten_after_its_age() -> None:
    """An id may be used again then."""
    withdrawals = Withdrawals(age_s=0.01)
    withdrawals.hear(cancel())
    await asyncio.sleep(0.02)

    assert withdrawals.verdict(take(id="s-1"), KEY) is None


async def test_work_of_others_goes_on() -> None:
    """Another id is cancelled, or another key has a newer submission."""
    withdrawals = Withdrawals(age_s=60)
    async with withdrawals.heeded(take(id="s-1"), KEY):
        withdrawals.hear(cancel("s-2"))
        withdrawals.hear(taken("s-2", 2))
        await asyncio.sleep(0.01)

    assert withdrawals.verdict(take(id="s-1", supersede_key="other"), KEY) is None


async def test_end_of_the_task_is_not_taken_for_a_cancel() -> None:
    """A daemon that stops cancels the task itself: that passes, also if the submission is cancelled too."""
    withdrawals, begun = Withdrawals(age_s=60), asyncio.Event()
    working = asyncio.create_task(work(withdrawals, begun))
    await begun.wait()
    withdrawals.hear(cancel())
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_timeout_of_the_work_is_not_taken_for_a_cancel() -> None:
    """It is whatever the work makes of it."""
    withdrawals = Withdrawals(age_s=60)
    with pytest.raises(TimeoutError):
        async with withdrawals.heeded(take(id="s-1"), KEY):
            raise TimeoutError
