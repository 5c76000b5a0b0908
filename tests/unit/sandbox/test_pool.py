"""Pool of boxes, with fake boxes: leasing, retirement, and the event for a change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from verdictd.errors import FaultKind, SandboxBroken
from verdictd.sandbox import pool as pool_module
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import BoxId, Sandbox
from verdictd.sandbox.pool import BoxPool, BoxState

pytestmark = pytest.mark.anyio

SANDBOX = Sandbox(("/bin/false",), "fake", "1", control_groups=False, box_root=Path("/nonexistent"))


class FakeBox(Box):
    """A box that starts no process, and fails while `broken`."""

    broken = False

    async def reset(self, *, control_groups: bool = True) -> Path:  # noqa: ARG002 - as the real one
        if self.broken:
            raise SandboxBroken("broken", FaultKind.MANAGE)
        return Path("/nonexistent")

    async def cleanup(self) -> None:
        """There is nothing to remove."""


@asynccontextmanager
async def started(boxes: list[FakeBox], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BoxPool]:
    async def recover(box: Box) -> int:
        await box.reset()
        return 0

    monkeypatch.setattr(pool_module, "recover", recover)
    async with asyncio.TaskGroup() as tasks:
        pool = BoxPool([*boxes], tasks, retire_s=0.05)
        await pool.start()
        pool.changed.clear()
        yield pool
        await pool.close()


@pytest.fixture
def boxes() -> list[FakeBox]:
    return [FakeBox(SANDBOX, BoxId(number), Path("/nonexistent")) for number in range(2)]


async def test_change_is_told_when_a_box_is_retired_and_when_it_is_back(
    boxes: list[FakeBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that limits its work by the number of usable boxes waits for the event, and need not poll."""
    usable = []
    async with started(boxes, monkeypatch) as pool, asyncio.timeout(10):
        async with pool.lease():
            boxes[0].broken = True
        for expected in (1, 2):
            while pool.usable != expected:
                await pool.changed.wait()
                pool.changed.clear()
            usable.append(pool.usable)
            boxes[0].broken = False

    assert [1, 2] == usable


async def test_change_is_told_at_a_drain(boxes: list[FakeBox], monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter looks again when the pool drains."""
    async with started(boxes, monkeypatch) as pool:
        before = pool.changed.is_set()
        await pool.drain()
        after = pool.changed.is_set()

    assert (False, True) == (before, after)


async def test_box_is_free_again_after_its_reset(
    boxes: list[FakeBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box is leased, then reset off the critical path, then free."""
    async with started(boxes, monkeypatch) as pool:
        async with pool.lease() as box:
            leased = pool.states[box.number]
        await pool.changed.wait()

        assert (BoxState.LEASED, BoxState.FREE) == (leased, pool.states[box.number])
