"""HostLimits: so many to a host at once, and no more than as many waiting for a slow one."""

import asyncio

import pytest

from support.waiting import wait_until
from verdictd.callbacks import host_limits as lanes_module
from verdictd.callbacks.host_limits import HostLimits

pytestmark = pytest.mark.anyio


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane is slow when somebody is in it for 0.3 s."""
    monkeypatch.setattr(lanes_module, "_PATIENCE_S", 0.3)


async def use(lanes: HostLimits, host: str, seconds: float, until: asyncio.Event | None = None) -> bool:
    async with lanes.enter(host) as entered:
        if entered:
            await (until.wait() if until else asyncio.sleep(seconds))
        return entered


async def test_quick_host_turns_nobody_away() -> None:
    """
    A crowd is not slow: each waits for its turn.
    """
    lanes = HostLimits(2)

    assert [True] * 50 == await asyncio.gather(*(use(lanes, "a", 0.01) for _ in range(50)))


@pytest.mark.usefixtures("impatient")
async def test_slow_host_lets_as_many_wait_as_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The others are turned away after a while, and those that come later at once.
    """
    lanes, release = HostLimits(2), asyncio.Event()
    crowd = [asyncio.create_task(use(lanes, "a", 0, release)) for _ in range(10)]
    await wait_until(lambda: sum(task.done() for task in crowd) == 6)
    monkeypatch.setattr(lanes_module, "_PATIENCE_S", 60)
    async with asyncio.timeout(10):
        late = await use(lanes, "a", 0)
        other = await use(lanes, "b", 0)
    turned_away = [task.result() for task in crowd if task.done()]
    release.set()

    assert (False, True) == (late, other)
    assert [False] * 6 == turned_away
    assert 4 == sum(await asyncio.gather(*crowd))


@pytest.mark.usefixtures("impatient")
async def test_host_that_has_recovered_is_as_others() -> None:
    """
    The last who left decides.
    """
    lanes = HostLimits(1)
    slow = asyncio.create_task(use(lanes, "a", 0.5))
    await asyncio.sleep(0)
    quick = asyncio.create_task(use(lanes, "a", 0.01))
    await asyncio.gather(slow, quick)

    assert [True] * 5 == await asyncio.gather(*(use(lanes, "a", 0.01) for _ in range(5)))


async def test_who_is_cancelled_takes_no_place_along() -> None:
    """
    While it waits, or while it is at work.
    """
    lanes = HostLimits(1)
    tasks = [asyncio.create_task(use(lanes, "a", 60)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    async with asyncio.timeout(10):
        assert await use(lanes, "a", 0)
