"""Lanes: so many to a host at once, and no more than as many waiting for a slow one."""

import asyncio

import pytest

from verdictd.lanes import Lanes

pytestmark = pytest.mark.anyio


async def use(lanes: Lanes, host: str, seconds: float) -> bool:
    async with lanes.enter(host) as entered:
        if entered:
            await asyncio.sleep(seconds)
        return entered


async def test_quick_host_turns_nobody_away() -> None:
    """
    A crowd is not slow: each waits for its turn.
    """
    lanes = Lanes(2)

    assert [True] * 50 == await asyncio.gather(*(use(lanes, "a", 0.01) for _ in range(50)))


async def test_slow_host_lets_as_many_wait_as_are_at_work() -> None:
    """
    The others are turned away after a second, and those that come later at once.
    """
    lanes = Lanes(2)
    crowd = [asyncio.create_task(use(lanes, "a", 1.4)) for _ in range(10)]
    await asyncio.sleep(1.2)
    turned_away = [task for task in crowd if task.done()]
    async with asyncio.timeout(0.1):
        late = await use(lanes, "a", 0)
        other = await use(lanes, "b", 0)

    assert (6, False, True) == (len(turned_away), late, other)
    assert [False] * 6 == [task.result() for task in turned_away]
    assert 4 == sum(await asyncio.gather(*crowd))


async def test_host_that_has_recovered_is_as_others() -> None:
    """
    The last who left decides.
    """
    lanes = Lanes(1)
    slow = asyncio.create_task(use(lanes, "a", 1.1))
    await asyncio.sleep(0)
    quick = asyncio.create_task(use(lanes, "a", 0.01))
    await asyncio.gather(slow, quick)

    assert [True] * 5 == await asyncio.gather(*(use(lanes, "a", 0.01) for _ in range(5)))


async def test_who_is_cancelled_takes_no_place_along() -> None:
    """
    While it waits, or while it is at work.
    """
    lanes = Lanes(1)
    tasks = [asyncio.create_task(use(lanes, "a", 60)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async with asyncio.timeout(0.1):
        assert await use(lanes, "a", 0)
