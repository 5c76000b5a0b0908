"""HostLimits: a number of requests to a host at once, and no more than as many waiting for a slow one."""

import asyncio

import pytest

from support.waiting import wait_until
from verdictd.callbacks.host_limits import HostLimits

pytestmark = pytest.mark.anyio


async def use(limits: HostLimits, host: str, seconds: float, until: asyncio.Event | None = None) -> bool:
    async with limits.enter(host) as entered:
        if entered:
            await (until.wait() if until else asyncio.sleep(seconds))
        return entered


async def test_quick_host_turns_nobody_away() -> None:
    """A crowd is not slow: each request waits for its turn."""
    limits = HostLimits(2)

    assert [True] * 50 == await asyncio.gather(*(use(limits, "a", 0.01) for _ in range(50)))


async def test_slow_host_lets_as_many_wait_as_are_at_work() -> None:
    """The others are turned away after a while, and later ones at once."""
    limits, release = HostLimits(2, patience_s=0.3), asyncio.Event()
    crowd = [asyncio.create_task(use(limits, "a", 0, release)) for _ in range(10)]
    await wait_until(lambda: sum(task.done() for task in crowd) == 6)
    async with asyncio.timeout(0.1):  # less than the patience: at once
        late = await use(limits, "a", 0)
    other = await use(limits, "b", 0)
    turned_away = [task.result() for task in crowd if task.done()]
    release.set()

    assert (False, True) == (late, other)
    assert [False] * 6 == turned_away
    assert 4 == sum(await asyncio.gather(*crowd))


async def test_host_that_has_recovered_is_as_others() -> None:
    """The last request decides."""
    limits = HostLimits(1, patience_s=0.3)
    slow = asyncio.create_task(use(limits, "a", 0.5))
    await asyncio.sleep(0)
    quick = asyncio.create_task(use(limits, "a", 0.01))
    await asyncio.gather(slow, quick)

    assert [True] * 5 == await asyncio.gather(*(use(limits, "a", 0.01) for _ in range(5)))


async def test_cancelled_request_frees_its_place() -> None:
    """While it waits, or while it is in flight."""
    limits = HostLimits(1)
    tasks = [asyncio.create_task(use(limits, "a", 60)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async with asyncio.timeout(10):
        assert await use(limits, "a", 0)
