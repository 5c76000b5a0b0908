"""Memory, CPU time and processes of a program, with control groups and without: the same verdicts."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from judging.conftest import Judge, in_modes
from verdictd.contract.result import Cause, Status

pytestmark = pytest.mark.anyio

MIB = 1024
"""In KiB, the unit of all sizes."""


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
static void *hold_alone(void *unused) { hold(1024, MAP_PRIVATE); sleep(3); return unused; }
static void *fork_and_hold(void *unused) {
    if (!fork()) { hold(1024, MAP_PRIVATE); sleep(3); _exit(0); }
    return unused;
}
"""


def c(body: str) -> str:
    """Return a program with this body, for which the functions above are there."""
    return f"{HEAD}int main(int count, char **words) {{ {body} }}\n"


@cache
def compiled(source: str, *options: str) -> bytes:
    """Compile a C program once for all sandboxes and modes; the language `copied` runs it."""
    with TemporaryDirectory() as folder:
        program = Path(folder) / "main"
        subprocess.run(
            ["/usr/bin/gcc", "-O2", "-w", "-x", "c", "-", "-o", program, *options],
            input=source.encode(),
            check=True,
        )
        return program.read_bytes()


TOO_MUCH = {
    "one process": "hold(1024, MAP_PRIVATE);",
    "eight gigabytes": "hold(8192, MAP_PRIVATE);",
    "static array": "touch(array, sizeof array);",
    "shared memory": "hold(1024, MAP_SHARED);",
    "processes together": """
        for (int i = 0; i < 8; i++) if (!fork()) { hold(64, MAP_PRIVATE); sleep(3); _exit(0); }
        wait_for_all();
    """,
    "shared memory that nobody shares": """
        for (int i = 0; i < 8; i++) if (!fork()) { hold(64, MAP_SHARED); sleep(3); _exit(0); }
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
        for (int i = 0; i < 64; i++) file_in_memory();
        sleep(3);
    """,
    "files in memory beside other memory": """
        hold(160, MAP_PRIVATE);
        for (int i = 0; i < 10; i++) file_in_memory();
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
    "source",
    TOO_MUCH,
    both=[
        "one process",
        "shared memory",
        "processes together",
        "files in memory that nobody maps",
        "page tables",
    ],
)
async def test_too_much_memory_is_memory_limit_exceeded(judge_by_mode: Judge, source: str) -> None:
    """Memory of all processes together counts, whatever kind it is; the program is ended in time."""
    result = await judge_by_mode(
        "copied", compiled(c(source)), memory_limit=256 * MIB, cpu_time_limit=20, wall_time_limit=60
    )

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause)
    assert result.memory is not None
    assert 256 * MIB - 64 <= result.memory < 512 * MIB


async def test_shell_pipeline_counts_together(judge_by_mode: Judge) -> None:
    """Four children of a script, each below the limit, are above it together."""
    child = "python3 -c 'import time; x = bytearray(48 << 20); time.sleep(3)' &\n"
    result = await judge_by_mode("bash", child * 4 + "wait", memory_limit=128 * MIB, wall_time_limit=60)

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause)


THREADS_CPP = """
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>
int main() {
    std::vector<std::thread> threads;
    for (int i = 0; i < 59; i++) threads.emplace_back([] {
        std::vector<int> own(1000, 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    });
    for (auto &thread : threads) thread.join();
    std::cout << threads.size();
}
"""
THREADS_PYTHON = """
import threading, time
threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(59)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(threads), end="")
"""
FINE: dict[str, tuple[str, str, list[str], str]] = {
    "60 threads in C++": ("cpp", THREADS_CPP, ["-pthread"], "59"),
    "60 threads in Python": ("python", THREADS_PYTHON, [], "59"),
    "address sanitizer": ("c", c('printf("fine");'), ["-fsanitize=address"], "fine"),
    "untouched static array": ("c", c('printf("%d", array[count << 20]);'), [], "0"),
    "untouched memory": ("c", c('printf("%d", map(4UL << 30, MAP_PRIVATE)[0]);'), [], "0"),
    "memory shared by fork": (
        "c",
        c("""
            hold(150, MAP_PRIVATE);
            for (int i = 0; i < 4; i++) if (!fork()) { usleep(400000); _exit(0); }
            wait_for_all();
            printf("fine");
        """),
        [],
        "fine",
    ),
    "files in memory that are mapped later": (
        "c",
        c("""
            int files[9];
            for (int i = 0; i < 9; i++) files[i] = file_in_memory();
            usleep(300000);
            for (int i = 0; i < 9; i++)
                touch(mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, files[i], 0), 16 << 20);
            usleep(400000);
            printf("fine");
        """),
        [],
        "fine",
    ),
    "memory shared on purpose": (
        "c",
        c("""
            volatile char *memory = map(150 << 20, MAP_SHARED);
            for (int i = 0; i < 4; i++) if (!fork()) { touch(memory, 150 << 20); usleep(400000); _exit(0); }
            wait_for_all();
            printf("fine");
        """),
        [],
        "fine",
    ),
}


@in_modes("language source options printed", FINE, both=["untouched memory", "memory shared by fork"])
async def test_memory_that_is_not_used_is_no_fault(
    judge_by_mode: Judge, language: str, source: str, options: list[str], printed: str
) -> None:
    """Address space is not memory, and what processes share is there once."""
    limits = {"memory_limit": 256 * MIB, "cpu_time_limit": 10}
    if language == "c":
        result = await judge_by_mode("copied", compiled(source, *options), **limits)
    else:
        result = await judge_by_mode(language, source, compiler_options=options, **limits)

    assert (Status.ACCEPTED, printed) == (result.status, result.stdout)


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
    result = await judge_by_mode(
        "copied", compiled(c(body)), cpu_time_limit=0.2, cpu_extra_time=0, wall_time_limit=60
    )

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    assert result.time is not None
    assert 0.2 <= result.time < 4


async def test_cpu_time_of_an_orphan_is_in_the_result(judge_by_mode: Judge) -> None:
    """Time below the limit is told too."""
    source = c("""
        int ends[2]; char byte;
        pipe(ends);
        if (!fork()) { burn(0.3); write(ends[1], "x", 1); pause(); }
        read(ends[0], &byte, 1);
        usleep(500000);
    """)
    result = await judge_by_mode("copied", compiled(source), cpu_time_limit=5, wall_time_limit=60)

    assert Status.ACCEPTED == result.status
    assert result.time is not None
    assert 0.25 <= result.time < 2
