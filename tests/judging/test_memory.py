"""Memory, CPU time and processes of a program, with control groups and without: the same verdicts."""

import subprocess
from base64 import b64encode
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipInfo

import pytest

from judging.conftest import Judge, in_modes
from support.archives import archive
from verdictd.contract.result import Cause, Result, Status

pytestmark = pytest.mark.anyio

MIB = 1024
"""In KiB, the unit of all sizes."""
LIMIT_MIB = 128

HEAD = """
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile char *map(size_t bytes, int flags) {
    flags |= MAP_ANONYMOUS | MAP_NORESERVE;
    volatile char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) _exit(9);
    return memory;
}
static void touch(volatile char *memory, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
}
static void hold(size_t mib, int flags) { touch(map(mib << 20, flags), mib << 20); }
static void burn(double seconds) {
    struct timespec now;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); while (now.tv_sec + now.tv_nsec / 1e9 < seconds);
}
static void wait_for_all(void) { while (wait(0) > 0); }
static int file_in_memory(void) { /* as large as max_file_size allows: 16 MiB */
    static char block[1 << 20];
    int file = memfd_create("block", 0);
    for (int mib = 0; mib < 16; mib++) if (write(file, block, sizeof block) < 0) _exit(8);
    return file;
}
static volatile char array[800 << 20];
static void *use_little(void *unused) { touch(malloc(4000), 4000); usleep(200000); return unused; }
static void *hold_alone(void *unused) { hold(1024, MAP_PRIVATE); sleep(3); return unused; }
static void *fork_and_hold(void *unused) {
    if (!fork()) { hold(1024, MAP_PRIVATE); sleep(3); _exit(0); }
    return unused;
}
"""


TOO_MUCH = {
    "one process": "hold(8192, MAP_PRIVATE);",
    "shared memory": "hold(1024, MAP_SHARED);",
    "processes together": """
        for (int i = 0; i < 8; i++) if (!fork()) { hold(32, MAP_PRIVATE); sleep(3); _exit(0); }
        wait_for_all();
    """,
    "shared memory that nobody shares": """
        for (int i = 0; i < 8; i++) if (!fork()) { hold(32, MAP_SHARED); sleep(3); _exit(0); }
        wait_for_all();
    """,
    "orphan": """
        if (!fork()) { setsid(); if (!fork()) { hold(1024, MAP_PRIVATE); sleep(3); } _exit(0); }
        wait_for_all(); sleep(3);
    """,
    "child of a thread": """
        pthread_t thread;
        pthread_create(&thread, 0, fork_and_hold, 0);
        pthread_join(thread, 0);
        sleep(3);
    """,
    "thread that outlives the first": """
        pthread_t thread;
        pthread_create(&thread, 0, hold_alone, 0);
        pthread_exit(0);
    """,
    "files in memory that nobody maps": """
        for (int i = 0; i < 32; i++) file_in_memory();
        sleep(3);
    """,
    "files in memory beside other memory": """
        hold(80, MAP_PRIVATE);
        for (int i = 0; i < 5; i++) file_in_memory();
        sleep(3);
    """,
    "page tables": """
        long sum = 0;
        for (int i = 0; i < 64; i++) {
            volatile char *memory = map(1UL << 35, MAP_PRIVATE);
            for (long at = 0; at < 1L << 35; at += 1 << 21) sum += memory[at];
        }
        printf("%ld", sum);
    """,
}


@in_modes(
    "body",
    TOO_MUCH,
    both=[
        "one process",
        "shared memory",
        "processes together",
        "files in memory that nobody maps",
        "page tables",
    ],
)
async def test_too_much_memory_is_memory_limit_exceeded(judge_by_mode: Judge, body: str) -> None:
    """Memory of all processes together counts, whatever kind it is; the program is ended in time."""
    result = await run(judge_by_mode, body, cpu_time_limit=20)

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause)
    assert result.memory is not None
    assert LIMIT_MIB * MIB - 64 <= result.memory < (LIMIT_MIB + 256) * MIB


THREADS = """
        pthread_t threads[59];
        for (int i = 0; i < 59; i++) pthread_create(&threads[i], 0, use_little, 0);
        for (int i = 0; i < 59; i++) pthread_join(threads[i], 0);
        printf("fine");
"""
FINE = {
    "60 threads": THREADS,
    "untouched static array": 'printf("fine%.0d", array[count << 20]);',
    "untouched memory": 'printf("fine%.0d", map(4UL << 30, MAP_PRIVATE)[0]);',
    "memory shared by fork": """
        hold(75, MAP_PRIVATE);
        for (int i = 0; i < 4; i++) if (!fork()) { usleep(400000); _exit(0); }
        wait_for_all();
        printf("fine");
    """,
    "files in memory that are mapped later": """
        int files[5];
        for (int i = 0; i < 5; i++) files[i] = file_in_memory();
        usleep(300000);
        for (int i = 0; i < 5; i++)
            touch(mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0), 16 << 20);
        usleep(400000);
        printf("fine");
    """,
    "memory shared on purpose": """
        volatile char *memory = map(75 << 20, MAP_SHARED);
        for (int i = 0; i < 4; i++) if (!fork()) { touch(memory, 75 << 20); usleep(400000); _exit(0); }
        wait_for_all();
        printf("fine");
    """,
}


@in_modes("body", FINE, both=["untouched memory", "memory shared by fork"])
async def test_memory_that_is_not_used_is_no_fault(judge_by_mode: Judge, body: str) -> None:
    """Address space is not memory, and what processes share is there once."""
    result = await run(judge_by_mode, body, cpu_time_limit=10)

    assert (Status.ACCEPTED, "fine") == (result.status, result.stdout)


async def test_address_sanitizer_works(judge: Judge) -> None:
    """It reserves far more address space than there is memory."""
    source = 'printf("fine")'
    result = await judge(
        "c", f"{HEAD}int main(void) {{ {source}; }}", compiler_options="-w -fsanitize=address"
    )

    assert (Status.ACCEPTED, "fine") == (result.status, result.stdout)


TOO_SLOW = {
    "child that nobody waits for": "if (!fork()) { burn(9); _exit(0); } sleep(60);",
    "orphan": "if (!fork()) { setsid(); if (!fork()) burn(9); _exit(0); } wait_for_all(); sleep(60);",
    "one child after the other": """
        for (int i = 0; i < 40; i++) { if (!fork()) { burn(0.05); _exit(0); } wait_for_all(); }
    """,
    "children together": """
        for (int i = 0; i < 4; i++) if (!fork()) { burn(9); _exit(0); }
        wait_for_all();
    """,
    "children whose end is ignored": """
        signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 40; i++) { if (!fork()) { burn(0.2); _exit(0); } wait_for_all(); }
        sleep(60);
    """,
}


@in_modes("body", TOO_SLOW, both=["orphan", "children whose end is ignored"])
async def test_cpu_time_of_all_processes_counts(judge_by_mode: Judge, body: str) -> None:
    """A limit of 0.2 s is one for all processes together, and the time in the result is theirs."""
    result = await run(judge_by_mode, body, cpu_time_limit=0.2, cpu_extra_time=0)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    assert result.time is not None
    assert 0.2 <= result.time < 4


ORPHAN = """
        int ends[2]; char byte;
        pipe(ends);
        if (!fork()) { burn(0.3); write(ends[1], "x", 1); pause(); }
        read(ends[0], &byte, 1);
        usleep(500000);
"""


async def test_cpu_time_of_an_orphan_is_in_the_result(judge_by_mode: Judge) -> None:
    """Time below the limit is told too."""
    result = await run(judge_by_mode, ORPHAN, cpu_time_limit=5)

    assert Status.ACCEPTED == result.status
    assert result.time is not None
    assert 0.25 <= result.time < 2


BODIES = [*TOO_MUCH.values(), *FINE.values(), *TOO_SLOW.values(), ORPHAN]


@cache
def program() -> str:
    """Compile all of them as one program, once for all sandboxes and modes; return an archive of it."""
    cases = "\n".join(f"case {number}: {{ {body} break; }}" for number, body in enumerate(BODIES))
    source = f"{HEAD}int main(int count, char **words) {{ switch (atoi(words[1])) {{ {cases} }} }}"
    with TemporaryDirectory() as folder:
        made = Path(folder) / "main"
        argv = ["/usr/bin/gcc", "-O2", "-w", "-pthread", "-x", "c", "-", "-o", str(made)]
        subprocess.run(argv, input=source.encode(), check=True)
        entry = ZipInfo("program")
        entry.external_attr = 0o100755 << 16
        return b64encode(archive((entry, made.read_bytes()))).decode()


async def run(judge: Judge, body: str, **limits: float) -> Result:
    """Judge the part of the program that has this body."""
    number = BODIES.index(body)
    limits = {"memory_limit": LIMIT_MIB * MIB, "wall_time_limit": 60} | limits
    return await judge("bash", f"exec ./program {number}", additional_files=program(), **limits)
