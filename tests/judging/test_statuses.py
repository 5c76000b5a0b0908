"""Every status of the contract is reached by a real program, with its evidence."""

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status
from verdictd.judging.judgehost import Judgehost

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


async def test_right_output_is_accepted(judge: Judge) -> None:
    """A program that prints what was expected and ends well is accepted, with all its figures."""
    result = await judge("c", HELLO, expected_output="hello")

    assert (Status.ACCEPTED, 3, None) == (result.status, result.status_id, result.cause)
    assert ("hello\n", 0, None) == (result.stdout, result.exit_code, result.exit_signal)
    assert result.time is not None
    assert result.wall_time is not None
    assert result.memory is not None
    assert 0 <= result.time < 1
    assert 0 <= result.wall_time <= 5
    assert 100 < result.memory < 65_536


async def test_clean_run_without_expectation_is_accepted(judge: Judge) -> None:
    """Where no output is expected, ending well is enough."""
    result = await judge("python", "print('anything')")

    assert (Status.ACCEPTED, "anything\n") == (result.status, result.stdout)


async def test_other_output_is_wrong_answer(judge: Judge) -> None:
    """A program that ends well and prints something else is wrong; its output is the evidence."""
    result = await judge("c", HELLO, expected_output="good bye")

    assert (Status.WRONG_ANSWER, 4, Cause.OUTPUT) == (result.status, result.status_id, result.cause)
    assert 'Line 1, column 1: expected "good bye", got "hello".' == result.message
    assert ("hello\n", 0) == (result.stdout, result.exit_code)


async def test_endless_loop_is_time_limit_exceeded_by_cpu_time(judge: Judge) -> None:
    """A program that never ends is stopped soon after its CPU limit."""
    result = await judge("c", "int main(void) { for (;;); }", cpu_time_limit=0.4, cpu_extra_time=0.2)

    assert (Status.TIME_LIMIT_EXCEEDED, 5, Cause.CPU_TIME) == (result.status, result.status_id, result.cause)
    assert result.time is not None
    assert 0.4 <= result.time <= 0.4 + 0.2 + 0.5


async def test_slow_end_within_the_extra_time_is_time_limit_exceeded_with_the_true_time(judge: Judge) -> None:
    """The extra time lets a program that is a little too slow end by itself; it is too slow all the same."""
    source = "import time\nwhile time.process_time() < 0.6: pass\nprint('done')"
    result = await judge("python", source, cpu_time_limit=0.3, cpu_extra_time=2)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    assert "done\n" == result.stdout
    assert result.time is not None
    assert 0.55 <= result.time <= 1.5


async def test_sleeping_is_time_limit_exceeded_by_wall_time(judge: Judge) -> None:
    """A program that waits without end uses no CPU time; the wall limit ends it."""
    result = await judge("bash", "sleep 30", wall_time_limit=0.5)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.WALL_TIME) == (result.status, result.cause)
    assert result.wall_time is not None
    assert 0.5 <= result.wall_time < 20


@pytest.mark.parametrize("memory_limit", [2_048, 65_536])
async def test_touching_memory_without_end_is_memory_limit_exceeded(judge: Judge, memory_limit: int) -> None:
    """A program that uses more memory than its limit is said to, however it ended."""
    source = """
        #include <stdlib.h>
        #include <string.h>
        int main(void) { for (char *p; (p = malloc(1 << 20)); ) memset(p, 1, 1 << 20); return 9; }
    """
    result = await judge("c", source, memory_limit=memory_limit)

    assert (Status.MEMORY_LIMIT_EXCEEDED, 101, Cause.MEMORY) == (
        result.status,
        result.status_id,
        result.cause,
    )
    assert result.memory is not None
    assert result.memory >= 0.9 * memory_limit


async def test_endless_output_is_output_limit_exceeded(judge: Judge) -> None:
    """A program that prints forever is killed at the output limit, and the first part is kept."""
    result = await judge("bash", "yes", max_output_size=64, cpu_time_limit=5)

    assert (Status.OUTPUT_LIMIT_EXCEEDED, 102, Cause.OUTPUT) == (
        result.status,
        result.status_id,
        result.cause,
    )
    assert (64 * 1024, True) == (len(result.stdout), result.stdout_truncated)
    assert result.time is not None
    assert result.time < 1


async def test_error_in_the_source_is_compilation_error(judge: Judge) -> None:
    """A program that does not compile is not run; compile_output has the compiler's messages."""
    result = await judge("c", "int main(void) { return missing; }")

    assert (Status.COMPILATION_ERROR, 6, Cause.COMPILE) == (result.status, result.status_id, result.cause)
    assert "missing" in result.compile_output
    assert (None, None, None) == (result.time, result.exit_code, result.exit_signal)


@pytest.mark.parametrize(
    ("statement", "status", "status_id", "signal"),
    [
        ("*(volatile int *)0 = 1;", Status.RUNTIME_ERROR_SIGSEGV, 7, 11),
        ("raise(SIGFPE);", Status.RUNTIME_ERROR_SIGFPE, 9, 8),
        ("abort();", Status.RUNTIME_ERROR_SIGABRT, 10, 6),
        ("raise(SIGTERM);", Status.RUNTIME_ERROR_OTHER, 12, 15),
    ],
)
async def test_deadly_signal_is_a_runtime_error_of_its_own(
    judge: Judge, statement: str, status: Status, status_id: int, signal: int
) -> None:
    """A program killed by a signal has the status of that signal, and its number."""
    source = f"#include <signal.h>\n#include <stdlib.h>\nint main(void) {{ {statement} return 0; }}"
    result = await judge("c", source)

    assert (status, status_id, Cause.SIGNAL) == (result.status, result.status_id, result.cause)
    assert (None, signal) == (result.exit_code, result.exit_signal)


async def test_file_above_the_limit_is_runtime_error_sigxfsz(judge: Judge) -> None:
    """Writing a file beyond its size limit kills the program, and the cause says so."""
    source = """
        #include <stdio.h>
        int main(void) { FILE *f = fopen("big", "w"); for (;;) fputs("0123456789", f); }
    """
    result = await judge("c", source, max_file_size=128)

    assert (Status.RUNTIME_ERROR_SIGXFSZ, 8, Cause.FILE_SIZE) == (
        result.status,
        result.status_id,
        result.cause,
    )
    assert 25 == result.exit_signal


async def test_exit_with_3_is_runtime_error_nzec(judge: Judge) -> None:
    """A program that says that it failed is believed, whatever it printed."""
    result = await judge("python", "print('hello'); raise SystemExit(3)", expected_output="hello")

    assert (Status.RUNTIME_ERROR_NZEC, 11, Cause.EXIT_CODE) == (
        result.status,
        result.status_id,
        result.cause,
    )
    assert (3, None) == (result.exit_code, result.exit_signal)


async def test_exit_with_127_is_the_programs_own(judge: Judge) -> None:
    """127 is what a failed execution gives too; a program that ends so is still one that ran."""
    result = await judge("python", "raise SystemExit(127)")

    assert (Status.RUNTIME_ERROR_NZEC, 127) == (result.status, result.exit_code)


async def test_program_that_cannot_be_executed_is_exec_format_error(judge: Judge) -> None:
    """A file that the kernel cannot execute gives exec_format_error, not a runtime error."""
    result = await judge("direct", "this is not a program")

    assert (Status.EXEC_FORMAT_ERROR, 14, Cause.EXEC) == (result.status, result.status_id, result.cause)
