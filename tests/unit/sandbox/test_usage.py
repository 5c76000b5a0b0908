"""Figures of processes that are not in a box: children of this test."""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.waiting import wait_until
from verdictd.sandbox.procfs import HostMemory
from verdictd.sandbox.usage import ProcessTree

MIB = 1024
KEEPER = "import subprocess, sys; subprocess.run(sys.argv[1:])"
"""Stands for a keeper: its child stands for process 1 of a sandbox."""


@contextmanager
def tree(script: str) -> Iterator[ProcessTree]:
    """Run a script below a keeper and a first process, and end all of them with the block."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, sys.executable, "-c", KEEPER, sys.executable, "-c", script],
        start_new_session=True,
        stdin=subprocess.PIPE,
    )
    try:
        with ProcessTree(keeper.pid) as processes:
            yield processes
    finally:
        os.killpg(keeper.pid, signal.SIGKILL)
        keeper.communicate()


def count(tree: ProcessTree) -> int:
    tree.refresh()
    return len(tree)


@pytest.mark.anyio
async def test_memory_of_a_process_is_what_it_touched() -> None:
    """Mapped memory that was not touched is not in use."""
    script = "import mmap; x = bytearray(b'x' * (40 << 20)); y = mmap.mmap(-1, 1 << 30); input()"
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 1 and processes.at_most_kib > 40 * MIB)

        assert 40 * MIB < processes.memory_kib(0) < 64 * MIB


@pytest.mark.anyio
async def test_memory_of_threads_is_seen_when_the_first_has_ended() -> None:
    """A process lives on when its first thread ends, and the kernel tells its memory at the others only."""
    script = (
        "import ctypes, threading\n"
        "def hold(): x = bytearray(b'x' * (40 << 20)); threading.Event().wait(60)\n"
        "threading.Thread(target=hold).start()\n"
        "ctypes.PyDLL(None).pthread_exit(0)"
    )
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 1 and processes.at_most_kib > 40 * MIB)

        assert 40 * MIB < processes.memory_kib(0) < 64 * MIB


@pytest.mark.anyio
async def test_many_processes_are_read_with_few_open_files() -> None:
    """Files in /proc stay open to be read again, those of the first processes; all are closed in the end."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with tree("import os\nfor _ in range(150):\n if not os.fork(): break\ninput()") as processes:
        await wait_until(lambda: count(processes) == 151)
        processes.refresh()

        assert 151 == len(processes)
        assert len(os.listdir("/proc/self/fd")) < before + 300  # noqa: PTH208
    assert before == len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.anyio
async def test_name_of_a_program_cannot_forge_figures() -> None:
    """A program may name itself like the fields that follow its name."""
    name = "a) S 1 1 1 1"
    script = f"open('/proc/self/comm', 'w').write({name!r}); x = b'x' * (40 << 20); input()"
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 1 and processes.at_most_kib > 40 * MIB)


@pytest.mark.anyio
async def test_time_of_a_process_that_ended_is_kept() -> None:
    """Nobody waits for the children of a process that ignores SIGCHLD: what was seen of them counts."""
    script = (
        "import os, signal, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "if not os.fork():\n while time.process_time() < 0.6: pass\n os._exit(0)\n"
        "input()"
    )
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 2 and processes.cpu_time_s > 0.4)
        await wait_until(lambda: count(processes) == 1)

        assert 0.4 < processes.cpu_time_s < 1


@pytest.mark.anyio
async def test_child_of_any_thread_is_seen() -> None:
    """Children belong to the thread that started them."""
    script = (
        "import subprocess, threading\n"
        "run = threading.Thread(target=subprocess.run, args=(['sleep', '60'],)); run.start()\n"
        "input()"
    )
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 2)


@pytest.mark.anyio
async def test_memory_of_the_host_grows_with_that_of_a_process() -> None:
    """Memory that one process takes is in the sum, whatever is freed between two readings."""
    with HostMemory() as host:

        def take_and_free() -> bool:
            before = host.added_kib, host.added_shared_kib
            with mmap.mmap(-1, 32 << 20) as memory:
                memory.write(bytes(32 << 20))
                host.read()
            host.read()
            added = host.added_kib - before[0], host.added_shared_kib - before[1]
            return min(added) > 30 * MIB

        await wait_until(take_and_free)


def test_tree_without_a_keeper_is_empty() -> None:
    """A run may have ended before the first look."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    processes = ProcessTree(ended.pid)
    processes.refresh()

    assert (0, 0, 0) == (len(processes), processes.at_most_kib, processes.cpu_time_s)


@pytest.mark.anyio
async def test_open_files_without_a_name_are_found(tmp_path: Path) -> None:
    """A file in memory that nobody maps, and one that was deleted; each counts once for all who have it."""
    script = (
        "import os, tempfile\n"
        "memory = os.memfd_create('x'); os.write(memory, bytes(20 << 20))\n"
        f"file = tempfile.TemporaryFile(dir={str(tmp_path)!r}); file.write(bytes(30 << 20)); file.flush()\n"
        "os.fork()\n"
        "while True: os.read(0, 1)"
    )
    device = tmp_path.stat().st_dev
    with tree(script) as processes:
        await wait_until(lambda: count(processes) == 2 and processes.unnamed_kib(device) >= 30 * MIB)

        assert 20 * MIB == processes.unnamed_kib()
        assert processes.unnamed_kib(device) < 31 * MIB
