"""Programs that attack the service: each gets its verdict, and the next ordinary one gets its own."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from judging.conftest import Judge
from support.processes import alive
from support.waiting import wait_until
from verdictd.contract.result import Cause, Status
from verdictd.judging.judgehost import Judgehost
from verdictd.sandbox.pool import BoxState
from verdictd.sandbox.processes import children

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that no program may read or change."""
    file = tmp_path / "canary"
    file.write_text("the canary's secret")
    file.chmod(0o644)
    return file


@pytest.fixture(autouse=True)
async def neighbours(judge: Judge, host: Judgehost, canary: Path) -> AsyncIterator[None]:
    """After each attack ordinary submissions get the right verdicts, in every box."""
    yield
    await wait_until(lambda: BoxState.RESETTING not in host.pool.states.values())
    assert {BoxState.FREE} == set(host.pool.states.values())
    words = ["fine", "bad"]  # one for each box
    results = await asyncio.gather(*(judge("bash", f"echo {word}", expected_output="fine") for word in words))
    assert [Status.ACCEPTED, Status.WRONG_ANSWER] == [result.status for result in results]
    assert set(host.pool.states) == {result.worker.box for result in results}
    assert BoxState.RETIRED not in host.pool.states.values()
    assert "the canary's secret" == canary.read_text()


NO_REGULAR_FILES = [
    "ln -s {canary} main",
    "ln -s /proc/self/environ main",
    "mkfifo main",
    "mkdir main",
    "printf '#!/bin/bash' > other; ln other main",
    "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('main')\"",
    "truncate -s 10G main",
    "true",
]


async def test_artifact_that_is_no_regular_file_is_compilation_error(judge: Judge, canary: Path) -> None:
    """A link, a pipe, a directory in place of the artifact is never opened, and answered at once."""
    started = time.monotonic()
    results = {make: await judge("made", make.format(canary=canary)) for make in NO_REGULAR_FILES}

    assert dict.fromkeys(NO_REGULAR_FILES, (Status.COMPILATION_ERROR, Cause.COMPILE)) == {
        make: (result.status, result.cause) for make, result in results.items()
    }
    assert not [make for make, result in results.items() if "secret" in result.model_dump_json()]
    assert time.monotonic() - started < 60


async def test_files_of_the_host_are_not_there(judge: Judge) -> None:
    """Only the directories of the languages, and an /etc made for it, exist in a box."""
    paths = ["/etc/shadow", "/etc/hostname", "/etc/ssl/certs", "/root/.bashrc", "/var/log/dpkg.log"]
    result = await judge("bash", "\n".join(f"cat {path} || echo none" for path in paths))

    assert "none\n" * len(paths) == result.stdout


async def test_file_of_the_host_cannot_be_compiled_in(judge: Judge) -> None:
    """The compiler is in the box too."""
    source = '#include "/etc/shadow"\nint main(void) { return 0; }'
    result = await judge("c", source)

    assert Status.COMPILATION_ERROR == result.status
    assert "root" not in result.compile_output


async def test_background_process_is_dead_when_the_result_is_there(judge: Judge) -> None:
    """Processes that a program left behind are killed."""
    seconds = f"98765{os.getpid()}"
    result = await judge("bash", f"setsid sleep {seconds} >/dev/null 2>&1 </dev/null & sleep 0.2; echo left")

    assert (Status.ACCEPTED, "left\n") == (result.status, result.stdout)
    assert [] == alive(["sleep", seconds])


FORK_BOMB = "#include <unistd.h>\nint main(void) { for (;;) fork(); }"


async def test_fork_bomb_is_contained(judge: Judge) -> None:
    """It ends at its limits within the wall limit and a little, and nothing of it is left."""
    started = time.monotonic()
    limits = {"cpu_time_limit": 0.2, "cpu_extra_time": 0, "wall_time_limit": 2}
    result = await judge("c", FORK_BOMB, **limits)

    assert Status.TIME_LIMIT_EXCEEDED == result.status
    assert time.monotonic() - started < 30


async def test_kill_reaches_nobody_else(judge: Judge) -> None:
    """A program that kills all it can kills itself at most."""
    bystander = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    try:
        results = {
            target: await judge("bash", f"kill -9 {target}; sleep 0.1", wall_time_limit=2)
            for target in ("-1", "1", "$PPID")
        }
        alive = bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()

    assert alive
    assert {Status.ACCEPTED, Status.RUNTIME_ERROR_NZEC, Status.RUNTIME_ERROR_OTHER} >= {
        result.status for result in results.values()
    }


async def test_stopped_program_is_ended_by_the_wall_limit(judge: Judge) -> None:
    """SIGSTOP does not stop the clock."""
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"
    result = await judge("python", source, wall_time_limit=0.5)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.WALL_TIME) == (result.status, result.cause)


async def test_program_that_ignores_signals_is_ended(judge: Judge) -> None:
    """Only signals that can be ignored can be ignored."""
    ignore = "for n in {*range(1, 32)} - {9, 19}: signal.signal(n, signal.SIG_IGN)"
    source = f"import signal\n{ignore}\nwhile True: pass"
    result = await judge("python", source, cpu_time_limit=0.3, cpu_extra_time=0)

    assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)


async def test_one_line_of_64_mib_is_cut(judge: Judge) -> None:
    """Output without a line end is bounded like any other."""
    result = await judge("bash", "head -c 64M /dev/zero | tr '\\0' x")

    assert (Status.OUTPUT_LIMIT_EXCEEDED, 4 << 20) == (result.status, len(result.stdout))


async def test_closed_stdout_is_an_empty_output(judge: Judge) -> None:
    """A program may close its output and go on."""
    result = await judge("bash", "exec >&-; sleep 0.1", expected_output="")

    assert (Status.ACCEPTED, "") == (result.status, result.stdout)


async def test_full_stderr_does_not_hold_stdout_up(judge: Judge) -> None:
    """Both streams are read while the program runs."""
    result = await judge("bash", "head -c 1M /dev/zero >&2; echo out")

    assert (Status.ACCEPTED, "out\n", 1 << 20) == (result.status, result.stdout, len(result.stderr))


async def test_compile_output_is_cut(judge: Judge) -> None:
    """Hundreds of errors are shown as far as the bound, and marked as cut."""
    source = "int main(void) {" + "\n".join(f"missing_{n}();undeclared_{n};" for n in range(700)) + "}"
    result = await judge("c", source)

    assert Status.COMPILATION_ERROR == result.status
    assert result.compile_output_truncated
    assert len(result.compile_output.encode()) <= 64 * 1024


async def test_program_that_breaks_its_sandbox_is_runtime_error(judge: Judge, host: Judgehost) -> None:
    """Isolate cannot read the figures of a process with this name; the embedded sandbox can."""
    source = '#include <sys/prctl.h>\nint main(void) { prctl(PR_SET_NAME, "a) 1 2"); for (;;); }'
    result = await judge("c", source, cpu_time_limit=0.2, cpu_extra_time=0)

    if host.sandbox.name == "embedded":
        assert (Status.TIME_LIMIT_EXCEEDED, Cause.CPU_TIME) == (result.status, result.cause)
    else:
        assert (Status.RUNTIME_ERROR_OTHER, Cause.SANDBOX) == (result.status, result.cause)
        assert "proc stat syntax error" in result.message


async def test_files_that_are_hard_to_remove_are_removed(judge: Judge) -> None:
    """Folders without permissions, names that are not text, set-uid files, special files."""
    source = (
        "import os\n"
        "os.mkdir('a'); open('a/b', 'w').close(); os.chmod('a', 0)\n"
        "open(b'\\xff\\xfe', 'w').close(); os.mkfifo('pipe'); os.symlink('/etc', 'link')\n"
        "open('s', 'w').close(); os.chmod('s', 0o6777)\n"
        "for n in range(500): open(f'f{n}', 'w').close()\n"
    )
    result = await judge("python", source, cpu_time_limit=10)

    assert Status.ACCEPTED == result.status


async def test_keeper_that_is_killed_is_our_fault_and_the_box_comes_back(
    judge: Judge, host: Judgehost
) -> None:
    """A sandbox that somebody kills says nothing about the program: it runs again, and none stays alive."""
    seconds = f"87654{os.getpid()}"
    program = ["sleep", seconds]
    judging = asyncio.ensure_future(judge("bash", f"exec sleep {seconds}", wall_time_limit=8))
    await wait_until(lambda: alive(program))
    for keeper in _keepers():
        os.kill(keeper, signal.SIGKILL)
    result = await judging
    await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})

    assert (Status.TIME_LIMIT_EXCEEDED, []) == (result.status, alive(program))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_program_that_others_kill_is_run_once_more(judge: Judge, number: int) -> None:
    """A service that ends kills so, and a host without memory: that says nothing about the program."""
    seconds = f"2.{os.getpid()}{number:02}"
    program = ["sleep", seconds]
    judging = asyncio.ensure_future(judge("bash", f"exec sleep {seconds}", wall_time_limit=30))
    await wait_until(lambda: alive(program))
    for pid in alive(program):
        os.kill(pid, number)
    result = await judging

    assert (Status.ACCEPTED, None) == (result.status, result.exit_signal)
    assert result.wall_time is not None
    assert result.wall_time > 2


async def test_program_that_kills_itself_gets_its_verdict(judge: Judge) -> None:
    """It does so again."""
    numbers = (signal.SIGTERM, signal.SIGKILL)
    results = [await judge("bash", f"kill -{number} $$") for number in numbers]

    assert [(Status.RUNTIME_ERROR_OTHER, Cause.SIGNAL, number) for number in numbers] == [
        (result.status, result.cause, result.exit_signal) for result in results
    ]


async def test_compiler_that_others_kill_is_run_once_more(judge: Judge) -> None:
    """As a program is."""
    seconds = f"2.{os.getpid()}55"
    program = ["sleep", seconds]
    source = f"printf '#!/bin/bash\necho made\n' > main; exec sleep {seconds}"
    judging = asyncio.ensure_future(judge("made", source))
    await wait_until(lambda: alive(program))
    for pid in alive(program):
        os.kill(pid, signal.SIGTERM)
    result = await judging

    assert (Status.ACCEPTED, "made\n") == (result.status, result.stdout)


def _keepers() -> list[int]:
    """The processes of this one that run a program in a box."""
    return [pid for pid in children(os.getpid()) if "\0--run\0" in Path(f"/proc/{pid}/cmdline").read_text()]


async def test_unix_socket_of_the_host_is_out_of_reach(judge: Judge) -> None:
    """A box has its own network: it does not contain the abstract sockets of the host."""
    name = f"verdictd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        source = f"import socket\nsocket.socket(socket.AF_UNIX).connect('\\0{name}')"
        result = await judge("python", source)

    assert Status.RUNTIME_ERROR_NZEC == result.status
