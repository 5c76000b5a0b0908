"""Background tasks whose failure is seen, and locks by key."""

import asyncio

import pytest

from verdictd.concurrency import KeyedLock, background
from verdictd.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


async def fail() -> None:
    await asyncio.sleep(0)
    raise BrokerUnavailable("gone")


async def test_failure_of_the_work_cancels_the_block_and_propagates() -> None:
    """Work that fails ends its block at once, with the work's own exception."""
    ended = []

    async def run() -> None:
        async with background(fail()):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    with pytest.raises(BrokerUnavailable, match="gone"):
        await run()

    assert ["cancelled"] == ended


async def test_failure_of_the_work_leaves_the_task_usable() -> None:
    """The cancellation of the block is taken back: the task that saw the failure goes on."""
    with pytest.raises(BrokerUnavailable):
        async with background(fail()):
            await asyncio.sleep(60)
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    assert 0 == task.cancelling()


async def test_exception_of_the_block_propagates_as_it_is() -> None:
    """The block's own exception is neither wrapped in a group nor loses its cause."""
    cause, error = OSError("connection reset"), BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable) as raised:
        async with background(asyncio.sleep(60)):
            raise error from cause

    assert (True, True) == (raised.value is error, raised.value.__cause__ is cause)


async def test_exception_group_of_the_block_propagates_as_it_is() -> None:
    """Only the group that `background` itself would add is taken off."""
    group = ExceptionGroup("of the block", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as raised:
        async with background(asyncio.sleep(60)):
            raise group

    assert group is raised.value


async def test_two_failures_are_a_group() -> None:
    """Where the block fails, and the work fails as it is cancelled, neither is lost."""

    async def fail_at_the_end() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("of the work")

    async def run() -> None:
        async with background(fail_at_the_end()):
            await asyncio.sleep(0)
            raise ValueError("of the block")

    with pytest.raises(ExceptionGroup) as raised:
        await run()

    assert {"ValueError", "OSError"} == {type(error).__name__ for error in raised.value.exceptions}


async def test_work_is_cancelled_at_the_end_of_the_block() -> None:
    """The block does not wait for the work to come to an end, but for its cancellation."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    async with background(work()):
        await asyncio.sleep(0)
    ended.append("block")

    assert ["work", "block"] == ended


async def test_work_may_end_before_the_block() -> None:
    """A normal end of the work is not the block's business."""
    async with background(asyncio.sleep(0)):
        await asyncio.sleep(0.01)


async def test_cancellation_from_outside_ends_block_and_work() -> None:
    """Who cancels the task that runs the block sees it cancelled, and nothing else."""
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append("work")
            raise

    async def run() -> None:
        async with background(work()):
            await asyncio.sleep(60)

    task = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])

    assert (True, ["work"]) == (task.cancelled(), cancelled)


async def test_one_at_a_time_per_key() -> None:
    """Holders of one key follow each other in their order; another key does not wait."""
    locks = KeyedLock()
    order = []

    async def use(key: str, name: str, hold_s: float) -> None:
        async with locks.hold(key):
            order.append(f"{name} begins")
            await asyncio.sleep(hold_s)
            order.append(f"{name} ends")

    await asyncio.gather(use("a", "first", 0.05), use("a", "second", 0), use("b", "other", 0))

    assert [
        "first begins",
        "other begins",
        "other ends",
        "first ends",
        "second begins",
        "second ends",
    ] == order


async def test_entry_of_a_key_vanishes_with_its_last_user() -> None:
    """Locks of keys that come once only do not pile up, also where a holder fails or a waiter gives up."""
    locks = KeyedLock()

    async def use() -> None:
        async with locks.hold("a"):
            await asyncio.sleep(60)

    holder, waiter = asyncio.create_task(use()), asyncio.create_task(use())
    await asyncio.sleep(0)
    counts = [len(locks)]
    waiter.cancel()
    await asyncio.wait([waiter])
    counts.append(len(locks))
    holder.cancel()
    await asyncio.wait([holder])
    counts.append(len(locks))

    assert [1, 1, 0] == counts
