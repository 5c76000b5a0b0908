"""Files of a program: /box, /tmp and /dev/shm together have one bound, with control groups and without."""

from typing import Any

import pytest

from judging.conftest import Judge, in_modes
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio

MIB = 1024
"""In KiB, the unit of all sizes."""

WRITE = """
write() { for i in $(seq $2); do head -c 2M /dev/zero > $1/$i || exit; done; }
"""
WITHOUT_A_NAME = """
python3 -c "
import tempfile, time
files = [tempfile.TemporaryFile(dir='/tmp') for _ in range(20)]
for file in files: file.write(bytes(2 << 20)); file.flush()
time.sleep(40)
"
"""
TOO_MUCH: dict[str, tuple[str, dict[str, Any]]] = {
    "80 MiB in 40 files": ("write /box 40", {"max_disk_usage": 64 * MIB}),
    "in /tmp": ("write /tmp 9", {"max_disk_usage": 16 * MIB}),
    "in /dev/shm": ("write /dev/shm 9", {"max_disk_usage": 16 * MIB, "memory_limit": 64 * MIB}),
    "in three places": (
        "write /box 3; write /tmp 3; write /dev/shm 3",
        {"max_disk_usage": 16 * MIB, "memory_limit": 64 * MIB},
    ),
    "in one deep directory": (
        "deep=$(printf 'd/%.0s' {1..200}); mkdir -p $deep; cd $deep; write . 9",
        {"max_disk_usage": 16 * MIB},
    ),
    "until the program sleeps": ("write /tmp 9; sleep 50", {"max_disk_usage": 16 * MIB}),
    "behind a child": ("write /tmp 9 & sleep 50", {"max_disk_usage": 16 * MIB}),
    "in files without a name": (WITHOUT_A_NAME, {"max_disk_usage": 16 * MIB}),
    "small": ("head -c 100K /dev/zero > file", {"max_disk_usage": 64}),
    "whatever the exit code is": ("write /box 9; exit 3", {"max_disk_usage": 16 * MIB}),
}


@in_modes("source fields", TOO_MUCH, both=["80 MiB in 40 files", "in /dev/shm", "behind a child"])
async def test_too_many_files_are_output_limit_exceeded(
    judge_by_mode: Judge, source: str, fields: dict[str, Any]
) -> None:
    """Bytes and number of files are bounded, and a program beyond the bound is ended."""
    result = await judge_by_mode("bash", WRITE + source, wall_time_limit=60, cpu_time_limit=30, **fields)

    assert (Status.OUTPUT_LIMIT_EXCEEDED, Cause.DISK) == (result.status, result.cause)
    assert result.wall_time is not None
    assert result.wall_time < 45


FINE: dict[str, tuple[str, dict[str, Any]]] = {
    "60 MiB": ("write /tmp 30", {"max_disk_usage": 64 * MIB}),
    "files that are replaced": ("for n in 1 2 3; do write /tmp 2; done", {"max_disk_usage": 5 * MIB}),
    "a file with a hole": ("truncate -s 15M hole", {"max_disk_usage": 64}),
    "none": ("true", {"max_disk_usage": 1}),
    "a link out of the box": ("ln -s /usr usr", {"max_disk_usage": 64}),
}


@in_modes("source fields", FINE, both=["60 MiB"])
async def test_files_within_the_bound_are_fine(
    judge_by_mode: Judge, source: str, fields: dict[str, Any]
) -> None:
    """Only what is on the disk at one time counts."""
    result = await judge_by_mode("bash", WRITE + source, wall_time_limit=60, cpu_time_limit=30, **fields)

    assert (Status.ACCEPTED, "") == (result.status, result.stderr)


async def test_9_000_files_are_within_the_bound(judge: Judge) -> None:
    """10,000 may be there, links included, however small; the hostile suite has programs that leave more."""
    source = "import os\nopen('x', 'w')\nfor n in range(9_000): os.link('x', str(n))"
    result = await judge("python", source, wall_time_limit=60, cpu_time_limit=30)

    assert Status.ACCEPTED == result.status


async def test_files_of_the_submission_do_not_count(judge_by_mode: Judge) -> None:
    """The source and additional files were there before the program ran."""
    files = [{"name": "data/large.txt", "content": "x" * 1_000_000}]
    result = await judge_by_mode("bash", "true", additional_files=files, max_disk_usage=4)

    assert Status.ACCEPTED == result.status


async def test_shared_memory_beyond_the_memory_limit_is_memory_limit_exceeded(judge_by_mode: Judge) -> None:
    """What lies in /dev/shm is memory of the program, whether or not a process maps it."""
    result = await judge_by_mode(
        "bash", WRITE + "write /dev/shm 40", memory_limit=64 * MIB, wall_time_limit=60, cpu_time_limit=30
    )

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause)


async def test_shared_memory_works(judge_by_mode: Judge) -> None:
    """POSIX shared memory and semaphores are files in /dev/shm."""
    source = """
from multiprocessing import Process, Semaphore, shared_memory

def work(name, done):
    memory = shared_memory.SharedMemory(name)
    memory.buf[0] = 42
    memory.close()
    done.release()

memory = shared_memory.SharedMemory(create=True, size=1_000_000)
done = Semaphore(0)
child = Process(target=work, args=(memory.name, done))
child.start()
done.acquire()
child.join()
print(memory.buf[0])
memory.close()
memory.unlink()
"""
    result = await judge_by_mode("python", source)

    assert (Status.ACCEPTED, "42\n") == (result.status, result.stdout)


async def test_compiler_is_bounded_too(judge_by_mode: Judge) -> None:
    """A source that makes the compiler write without end gives no program."""
    source = '__asm__(".rept 100\\n.section .text.\\\\@\\n.zero 200000000\\n.endr");\nint main(void) {}'
    result = await judge_by_mode("c", source)

    assert Status.COMPILATION_ERROR == result.status
