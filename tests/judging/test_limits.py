"""Every limit of the contract reaches the sandbox: a real program runs into it, and one below it does not."""

import socket

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.judging.judgehost import Judgehost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


async def test_limits_in_force_are_in_the_result(judge: Judge) -> None:
    """A result says under which limits it came about, defaults included."""
    result = await judge("bash", "true", cpu_time_limit=3, memory_limit=100_000)

    expected = EffectiveLimits(
        cpu_time_limit=3,
        cpu_extra_time=0.5,
        wall_time_limit=9,
        memory_limit=100_000,
        stack_limit=65_536,
        max_processes_and_or_threads=60,
        enable_per_process_and_thread_memory_limit=False,
        enable_per_process_and_thread_time_limit=False,
        max_file_size=16_384,
        max_disk_usage=262_144,
        max_output_size=4_096,
        enable_network=False,
        number_of_runs=1,
    )
    assert expected == result.limits


@pytest.mark.parametrize(
    ("stack_limit", "status"), [(8_192, Status.RUNTIME_ERROR_SIGSEGV), (65_536, Status.ACCEPTED)]
)
async def test_recursion_ends_at_the_stack_limit(judge: Judge, stack_limit: int, status: Status) -> None:
    """16 MiB of frames fit into 64 MiB of stack and not into 8."""
    source = """
        __attribute__((noinline)) static int deep(int n) {
            volatile char frame[4096];
            frame[0] = (char)n;
            return n ? deep(n - 1) + frame[0] - frame[0] : 0;
        }
        int main(void) { return deep(4096); }
    """
    result = await judge("c", source, stack_limit=stack_limit)

    assert status == result.status


@pytest.mark.parametrize(("processes", "forked"), [(1, "0"), (6, "5"), (60, "20")])
async def test_forks_end_at_the_process_limit(judge: Judge, processes: int, forked: str) -> None:
    """A program with a limit of n can have n - 1 children."""
    source = """
        #include <stdio.h>
        #include <unistd.h>
        int main(void) {
            int made = 0;
            while (made < 20) {
                pid_t child = fork();
                if (child < 0) break;
                if (child == 0) { sleep(1); _exit(0); }
                made++;
            }
            printf("%d", made);
        }
    """
    result = await judge("c", source, max_processes_and_or_threads=processes)

    assert (Status.ACCEPTED, forked) == (result.status, result.stdout)


async def test_threads_end_at_the_process_limit(judge: Judge) -> None:
    """A thread counts as a process."""
    source = """
        #include <pthread.h>
        #include <stdio.h>
        #include <unistd.h>
        static void *rest(void *unused) { sleep(1); return unused; }
        int main(void) {
            int made = 0;
            pthread_t thread;
            while (made < 20 && pthread_create(&thread, 0, rest, 0) == 0) made++;
            printf("%d", made);
            fflush(stdout);
            _exit(0);
        }
    """
    result = await judge("c", source, max_processes_and_or_threads=5)

    assert (Status.ACCEPTED, "4") == (result.status, result.stdout)


async def test_open_files_end_at_the_operators_limit(judge: Judge) -> None:
    """A program can have as many files open as `sandbox.open_files` says: 256, its streams included."""
    source = """
        #include <fcntl.h>
        #include <stdio.h>
        int main(void) { int n = 0; while (open("/dev/null", O_RDONLY) >= 0) n++; printf("%d", n); }
    """
    result = await judge("c", source)

    assert "253" == result.stdout


@pytest.mark.parametrize(("kib", "status"), [(100, Status.ACCEPTED), (101, Status.OUTPUT_LIMIT_EXCEEDED)])
@pytest.mark.parametrize("stream", ["1", "2"])
async def test_output_ends_at_its_own_limit(judge: Judge, kib: int, status: Status, stream: str) -> None:
    """Standard output and standard error have a limit each, and that on files does not count for them."""
    result = await judge(
        "bash", f"head -c {kib}K /dev/zero | tr '\\0' x >&{stream}", max_output_size=100, max_file_size=1
    )

    assert status == result.status
    assert 100 * 1024 == len(result.stdout + result.stderr)


@pytest.mark.parametrize(("kib", "printed"), [(1_000, "written"), (1_100, "")])
async def test_files_end_at_the_file_size_limit(judge: Judge, kib: int, printed: str) -> None:
    """A file of 1,000 KiB can be written under a limit of 1,024, one of 1,100 cannot."""
    result = await judge("bash", f"head -c {kib}K /dev/zero > file && echo -n written", max_file_size=1_024)

    assert printed == result.stdout


async def test_memory_below_the_limit_is_accepted(judge: Judge) -> None:
    """Half of the limit is not too much."""
    source = "block = bytearray(64 << 20)\nprint(len(block))"
    result = await judge("python", source, memory_limit=131_072)

    assert (Status.ACCEPTED, "67108864\n") == (result.status, result.stdout)
    assert result.memory is not None
    assert 65_536 <= result.memory <= 131_072


async def test_smallest_memory_limit_fits_a_small_program(judge: Judge) -> None:
    """The least limit of the contract, 2 MiB, is enough for a program that needs next to nothing."""
    result = await judge("c", "int main(void) { return 0; }", memory_limit=2_048)

    assert Status.ACCEPTED == result.status


async def test_untouched_memory_is_not_used_memory(judge: Judge) -> None:
    """Memory that is mapped but never touched does not count towards the limit of the group."""
    source = """
        #include <stdio.h>
        #include <stdlib.h>
        int main(void) { puts(malloc(96 << 20) ? "mapped" : "refused"); }
    """
    result = await judge("c", source, memory_limit=65_536)

    assert (Status.ACCEPTED, "mapped\n") == (result.status, result.stdout)


async def test_memory_limit_per_process_bounds_the_address_space(judge: Judge) -> None:
    """With the flag, mapping alone is limited: an allocation beyond it fails."""
    source = """
        #include <stdio.h>
        #include <stdlib.h>
        int main(void) { puts(malloc(96 << 20) ? "mapped" : "refused"); }
    """
    result = await judge("c", source, memory_limit=65_536, enable_per_process_and_thread_memory_limit=True)

    assert (Status.ACCEPTED, "refused\n") == (result.status, result.stdout)


async def test_memory_limit_per_process_is_that_of_each(judge: Judge) -> None:
    """Two processes may have as much each; together they may have more."""
    source = """
        #include <stdlib.h>
        #include <string.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            int status = 1;
            pid_t child = fork();
            memset(malloc(40 << 20), 1, 40 << 20);
            usleep(300000);
            if (child) wait(&status);
            return child ? status : 0;
        }
    """
    result = await judge("c", source, memory_limit=65_536, enable_per_process_and_thread_memory_limit=True)

    assert (Status.ACCEPTED, 0) == (result.status, result.exit_code)
    assert result.memory is not None
    assert 40 * 1024 <= result.memory <= 65_536


async def test_time_limit_per_process_runs_without_control_groups(judge: Judge) -> None:
    """Both flags together are judged too, and hold the limits of each process."""
    flags = {
        "enable_per_process_and_thread_memory_limit": True,
        "enable_per_process_and_thread_time_limit": True,
    }
    fine = await judge("bash", "echo fine", **flags)
    slow = await judge("bash", "while :; do :; done", cpu_time_limit=0.3, cpu_extra_time=0, **flags)

    assert (Status.ACCEPTED, "fine\n") == (fine.status, fine.stdout)
    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (slow.status, slow.cause)


CONNECT = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2).close()
    print("connected")
except OSError:
    print("no network")
"""


@pytest.mark.parametrize(("enabled", "printed"), [(False, "no network\n"), (True, "connected\n")])
async def test_network_is_there_only_where_it_is_allowed(judge: Judge, enabled: bool, printed: str) -> None:
    """A program reaches a listener on the host's loopback only with enable_network."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = await judge("networked", CONNECT, command_line_arguments=[str(port)], enable_network=enabled)

    assert (Status.ACCEPTED, printed) == (result.status, result.stdout)
