"""Child processes: deadline, bounded output and end, also of processes that resist."""

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import alive
from support.waiting import wait_until
from verdictd.errors import SandboxBroken
from verdictd.sandbox.model import Ending
from verdictd.sandbox.processes import ProcessResult, execute

pytestmark = pytest.mark.anyio


async def shell(
    script: str,
    *,
    stdin: bytes = b"",
    output_bytes: int = 1_000,
    dropped_bytes: int = 0,
    deadline_s: float = 60,
    grace_s: float = 60,
) -> ProcessResult:
    return await execute(
        ["/bin/bash", "-c", script],
        stdin=stdin,
        output_bytes=output_bytes,
        dropped_bytes=dropped_bytes,
        deadline_s=deadline_s,
        grace_s=grace_s,
    )


async def test_streams_and_exit_code_are_kept() -> None:
    """Both streams of a child and its exit code are returned."""
    outcome = await shell("cat; echo err >&2; exit 3", stdin=b"in")

    assert (3, b"in", b"err\n") == (outcome.returncode, outcome.stdout.data, outcome.stderr.data)
    assert outcome.ended_for is None


@pytest.mark.parametrize("size", [1, 300_000, 5_000_000])
async def test_input_of_any_size_is_read_whole(size: int) -> None:
    """The input is a file without a name, not a pipe that somebody has to feed."""
    outcome = await shell("wc -c; readlink /proc/self/fd/0", stdin=b"x" * size)

    length, name = outcome.stdout.data.decode().splitlines()
    assert size == int(length)
    assert name.endswith("(deleted)")


@pytest.mark.parametrize(
    "attempt", ["echo x >&0", "echo x > /dev/stdin", "chmod 666 /dev/stdin; echo x > /dev/stdin"]
)
async def test_input_cannot_be_written_to(attempt: str) -> None:
    """The child's descriptor can only read, and seals stop even the owner of the file."""
    outcome = await shell(f"{attempt} || echo refused; cat /dev/stdin", stdin=b"in")

    assert b"refused\nin" == outcome.stdout.data


async def test_streams_can_be_opened_again_by_every_user() -> None:
    """A program has another user id than the daemon; what it opens by name are its own streams."""
    outcome = await shell("stat -L -c %a /dev/stdin /dev/stdout /dev/stderr", stdin=b"in")

    assert b"444\n666\n666\n" == outcome.stdout.data


async def test_child_that_writes_too_much_is_ended() -> None:
    """The first bytes are kept, and it does not run on."""
    started = time.monotonic()
    outcome = await shell("yes")

    assert Ending.OUTPUT is outcome.ended_for
    assert (1_000, True) == (len(outcome.stdout.data), outcome.stdout.truncated)
    assert time.monotonic() - started < 30


async def test_output_at_the_limit_is_not_too_much() -> None:
    """The limit itself is allowed."""
    outcome = await shell("head -c 1000 /dev/zero")

    assert (None, 1_000, False) == (outcome.ended_for, len(outcome.stdout.data), outcome.stdout.truncated)


async def test_output_beyond_the_limit_can_be_dropped() -> None:
    """A child may write more than is kept, up to a bound of its own."""
    fine = await shell("head -c 3000000 /dev/zero; echo end >&2", dropped_bytes=3_000_000)
    over = await shell("yes", dropped_bytes=3_000_000)

    assert (0, None, True) == (fine.returncode, fine.ended_for, fine.stdout.truncated)
    assert (1_000, b"end\n") == (len(fine.stdout.data), fine.stderr.data)
    assert (Ending.OUTPUT, 1_000) == (over.ended_for, len(over.stdout.data))


async def test_child_that_outlives_its_deadline_is_asked_to_end() -> None:
    """SIGTERM first: a sandbox that gets it can end its program and say so."""
    marker = Path(f"/tmp/verdictd-test-{os.getpid()}")  # noqa: S108 - removed below
    marker.unlink(missing_ok=True)
    with pytest.raises(SandboxBroken, match="did not end within"):
        await shell(f"trap 'echo asked > {marker}; exit 0' TERM; sleep 60 & wait", deadline_s=2)
    said = marker.read_text()
    marker.unlink()

    assert "asked\n" == said


async def test_child_that_ignores_sigterm_is_killed_with_its_own_child() -> None:
    """A keeper that hangs is killed, and the first process of its sandbox before it."""
    running = asyncio.ensure_future(shell("trap '' TERM; sleep 6543 & sleep 6543", deadline_s=2, grace_s=0.5))
    await wait_until(lambda: len(alive(["sleep", "6543"])) == 2)
    with pytest.raises(SandboxBroken, match="did not end within"):
        await running
    await wait_until(lambda: not alive(["sleep", "6543"]))


async def test_cancelled_wait_ends_the_child() -> None:
    """A cancelled caller leaves no process behind."""
    task = asyncio.ensure_future(shell("exec sleep 6544", deadline_s=60))
    await wait_until(lambda: alive(["sleep", "6544"]))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not alive(["sleep", "6544"])


async def test_descendant_that_holds_the_output_is_a_fault() -> None:
    """If a process inside outlives its sandbox, the sandbox has failed."""
    with pytest.raises(SandboxBroken, match="outlived its sandbox"):
        await shell("sleep 6545 & exit 0", grace_s=0.5)
    for pid in alive(["sleep", "6545"]):
        os.kill(pid, 9)


async def test_missing_executable_is_a_fault() -> None:
    """An isolate that is gone from disk says nothing about a program."""
    with pytest.raises(SandboxBroken, match="cannot start"):
        await execute(["/nonexistent/isolate"], stdin=b"", output_bytes=10, deadline_s=1)


async def test_no_descriptor_is_left_open() -> None:
    """A thousand runs do not use up the descriptors of the daemon."""
    before = _open_files()
    for _ in range(5):
        await shell("yes", stdin=b"in")
        with pytest.raises(SandboxBroken):
            await execute(["/nonexistent"], stdin=b"in", output_bytes=10, deadline_s=1)

    assert before == _open_files()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open only `count` files more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]  # no gaps below the limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


@pytest.mark.parametrize("left", range(6))
async def test_host_without_descriptors_is_a_broken_sandbox(left: int) -> None:
    """A host without free descriptors is our fault, wherever that shows; no descriptor is left open."""
    await shell("true")  # what asyncio opens once is open
    before = len(list(Path("/proc/self/fd").iterdir()))
    with descriptors_left(left), pytest.raises(SandboxBroken, match="Too many open files"):
        await shell("true", stdin=b"in")

    assert before == len(list(Path("/proc/self/fd").iterdir()))
