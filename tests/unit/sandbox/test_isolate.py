"""Isolate's command line and meta file; the meta files are real ones."""

from pathlib import Path

import pytest

from verdictd.errors import SandboxBroken
from verdictd.sandbox.isolate import cleanup_argv, init_argv, report, run_argv
from verdictd.sandbox.model import (
    BoxId,
    Captured,
    Command,
    Constraints,
    Ending,
    NamedStreams,
    Sandbox,
    Watched,
)

ISOLATE = Sandbox(("isolate",), "isolate", "2.6", control_groups=True, box_root=Path("/boxes"))
PLAIN = Sandbox(("isolate",), "isolate", "2.6", control_groups=False, box_root=Path("/boxes"))
CONSTRAINTS = Constraints(
    cpu_time_s=2,
    cpu_extra_time_s=0.5,
    wall_time_s=6,
    memory_kib=262_144,
    address_space_kib=None,
    stack_kib=65_536,
    file_size_kib=16_384,
    processes=60,
    open_files=256,
    output_bytes=4_096,
)
TIMES = "time:0.002\ntime-wall:0.001\nmax-rss:1376\n"


def test_run_line_has_every_limit() -> None:
    """Nothing is left to isolate's defaults, and extra time is given from the program's start."""
    command = Command(("./main", "-x"), CONSTRAINTS, environment={"A": "b"}, directories=("/etc/x:maybe",))

    assert [
        "isolate", "--box-id=7", "--cg", "--meta=/run/meta", "--silent", "--time=2.000", "--extra-time=2.500",
        "--wall-time=6.000", "--stack=65536", "--fsize=16384", "--processes=60", "--open-files=256",
        "--cg-mem=262144", "--dir=dev/shm:tmp", "--dir=/etc/x:maybe", "--env=A=b", "--run", "--", "./main",
        "-x",
    ] == run_argv(ISOLATE, BoxId(7), Path("/run/meta"), command)  # fmt: skip


def test_run_line_without_control_groups_names_none() -> None:
    """Isolate refuses --cg-mem without --cg."""
    asked = Command(("./main",), CONSTRAINTS, control_groups=False)

    for sandbox, command in ((PLAIN, Command(("./main",), CONSTRAINTS)), (ISOLATE, asked)):
        line = run_argv(sandbox, BoxId(7), Path("/run/meta"), command)
        assert [] == [word for word in line if word.startswith("--cg")]


def test_streams_are_opened_by_name_in_the_box() -> None:
    """So the sandbox itself does not keep them open."""
    command = Command(("./main",), CONSTRAINTS, streams=NamedStreams(Path("/run/pipes"), Path("/run/errors")))

    line = run_argv(PLAIN, BoxId(7), Path("/run/meta"), command)
    assert ["--dir=pipes=/run/pipes", "--stdin=/pipes/in", "--stdout=/pipes/out", "--stderr=/pipes/err"] == [
        word for word in line if "pipes" in word
    ]


@pytest.mark.parametrize(
    ("meta", "ending"),
    [
        ("status:SG\nexitsig:15\nmessage:Interrupted\n", Ending.STOPPED),
        ("status:SG\nexitsig:11\nmessage:Caught fatal signal 11\n", Ending.SIGNALLED),
        ("exitcode:0\n", Ending.EXITED),
    ],
)
def test_program_that_had_ended_by_itself_was_not_stopped(meta: str, ending: Ending) -> None:
    """It may end at the moment when nothing depends on it any more."""
    found = report(0, TIMES + meta, Captured(), Captured(), ended_for=Ending.STOPPED)

    assert ending == found.ending


def test_init_and_cleanup_lines_follow_the_mode() -> None:
    """With --cg on one of them, --cg on all."""
    assert ["isolate", "--box-id=7", "--cg", "--init"] == init_argv(ISOLATE, BoxId(7), control_groups=True)
    assert ["isolate", "--box-id=7", "--cleanup"] == cleanup_argv(ISOLATE, BoxId(7), control_groups=False)


@pytest.mark.parametrize("cpu_time_s", [0, 0.0004, -1, float("nan"), float("inf"), 1e9])
def test_time_limit_that_isolate_would_take_for_none_is_refused(cpu_time_s: float) -> None:
    """0 is unlimited for isolate, and what rounds to 0 too."""
    constraints = Constraints(
        **{name: getattr(CONSTRAINTS, name) for name in CONSTRAINTS.__slots__} | {"cpu_time_s": cpu_time_s}
    )

    with pytest.raises(ValueError, match="cannot be passed to the sandbox"):
        run_argv(ISOLATE, BoxId(7), Path("/run/meta"), Command(("./main",), constraints))


@pytest.mark.parametrize(
    ("code", "meta", "stderr", "expected"),
    [
        (0, TIMES + "exitcode:0\n", b"", (Ending.EXITED, 0, None)),
        (
            1,
            TIMES + "exitcode:3\nstatus:RE\nmessage:Exited with error status 3\n",
            b"",
            (Ending.EXITED, 3, None),
        ),
        (
            1,
            TIMES + "exitcode:127\nstatus:RE\nmessage:Exited with error status 127\n",
            b"",
            (Ending.EXITED, 127, None),
        ),
        (
            1,
            TIMES + "exitsig:11\nstatus:SG\nmessage:Caught fatal signal 11\n",
            b"",
            (Ending.SIGNALLED, None, 11),
        ),
        (
            1,
            "status:TO\nmessage:Time limit exceeded\nkilled:1\n" + TIMES,
            b"",
            (Ending.CPU_TIME, None, None),
        ),
        (
            1,
            TIMES + "exitcode:0\nstatus:TO\nmessage:Time limit exceeded\n",
            b"",
            (Ending.CPU_TIME, 0, None),
        ),
        (
            1,
            "status:TO\nmessage:Time limit exceeded (wall clock)\nkilled:1\n" + TIMES,
            b"",
            (Ending.WALL_TIME, None, None),
        ),
        (0, TIMES + "cg-mem:65536\ncg-oom-killed:1\nexitcode:0\n", b"", (Ending.OUT_OF_MEMORY, 0, None)),
        (
            1,
            TIMES + "cg-mem:65536\ncg-oom-killed:1\nexitsig:9\nstatus:SG\nmessage:Caught fatal signal 9\n",
            b"",
            (Ending.OUT_OF_MEMORY, None, 9),
        ),
    ],
)
def test_ending_is_what_the_meta_file_says(
    code: int, meta: str, stderr: bytes, expected: tuple[Ending, int | None, int | None]
) -> None:
    """Each way to end has its own marks, and memory comes before all others."""
    found = report(code, meta, Captured(), Captured(stderr), group_kib=65_536)

    assert expected == (found.ending, found.exit_code, found.signal)
    assert (0.002, 0.001) == (found.cpu_time_s, found.wall_time_s)


@pytest.mark.parametrize(
    ("executable", "exit_code", "text", "ending"),
    [
        (False, 127, b'execve("./main"): Exec format error\n', Ending.NOT_EXECUTED),
        (True, 127, b'execve("./main"): Exec format error\n', Ending.EXITED),
        (False, 127, b"something else", Ending.EXITED),
        (False, 1, b'execve("./main"): Exec format error\n', Ending.EXITED),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_program_that_can_be_executed_was_executed(
    *, executable: bool, exit_code: int, text: bytes, ending: Ending, stream: str
) -> None:
    """The sandbox's text about a failed execution is not believed where the program can print it."""
    streams = {"stdout": Captured(), "stderr": Captured(), stream: Captured(text)}
    meta = TIMES + f"exitcode:{exit_code}\nstatus:RE\n"
    found = report(1, meta, streams["stdout"], streams["stderr"], executable=lambda: executable)

    assert (ending, exit_code) == (found.ending, found.exit_code)


def test_program_that_wrote_too_much_was_ended_by_us() -> None:
    """Then the signal in the meta file is ours and not shown as the program's."""
    meta = "exitsig:15\nstatus:SG\nmessage:Interrupted\nkilled:1\n" + TIMES
    found = report(1, meta, Captured(b"x", truncated=True), Captured(), ended_for=Ending.OUTPUT)

    assert (Ending.OUTPUT, None) == (found.ending, found.signal)


@pytest.mark.parametrize(
    ("code", "meta"),
    [
        (2, 'status:XX\nmessage:open("nosuch.txt"): No such file or directory\n'),
        (2, TIMES + "exitcode:0\n"),
        (-9, ""),
        (137, TIMES + "exitcode:0\n"),
        (0, ""),
        (1, ""),
        (127, ""),
        (0, "status:OK\n"),
        (0, "exitcode:0\n"),
        (1, TIMES + "exitsig:15\nstatus:SG\nmessage:Interrupted\nkilled:1\n"),
        (1, TIMES + "status:SG\nmessage:Caught fatal signal\n"),
        (1, TIMES + "status:ZZ\nexitcode:0\n"),
        (1, TIMES + "status:XX\nexitcode:0\n"),
        (0, TIMES + "exitcode:1\n"),
        (0, "time:abc\ntime-wall:0.1\nmax-rss:1\nexitcode:0\n"),
        (0, "time:0.1\ntime-wall:0.1\nexitcode:0\n"),
        (0, "time:nan\ntime-wall:0.1\nmax-rss:1\nexitcode:0\n"),
        (0, "time:-1\ntime-wall:0.1\nmax-rss:1\nexitcode:0\n"),
        (0, "time:0.1\ntime-wall:0.1\nmax-rss:1_0\nexitcode:0\n"),
        (1, TIMES + "status:RE\nexitcode:256\n"),
        (1, TIMES + "status:SG\nexitsig:65\n"),
        (0, "garbage"),
    ],
)
def test_anything_else_is_a_fault_of_the_sandbox(code: int, meta: str) -> None:
    """Exit codes from 2, a signal, an interruption, an unusable meta file: never the program's fault."""
    with pytest.raises(SandboxBroken):
        report(code, meta, Captured(), Captured())


@pytest.mark.parametrize(("more", "killed"), [("killed:1\n", True), ("", False)])
def test_program_that_was_late_by_itself_is_told_from_one_that_was_killed(more: str, killed: bool) -> None:
    """Both exceed the limit; only of the first one it is known how long it takes."""
    meta = f"status:TO\nmessage:Time limit exceeded\n{more}{TIMES}"
    found = report(1, meta, Captured(), Captured())

    assert (Ending.CPU_TIME, killed) == (found.ending, found.killed)


KILLED = "exitsig:9\nstatus:SG\nmessage:Caught fatal signal 9\n"


@pytest.mark.parametrize(
    ("group_kib", "peak"), [(65_536, "cg-mem:49151\n"), (None, "cg-mem:65536\n"), (None, "")]
)
def test_memory_that_the_host_lacks_is_no_fault_of_the_program(group_kib: int | None, peak: str) -> None:
    """The kernel also counts kills for others' limits: the program was far below its own, or had none."""
    with pytest.raises(SandboxBroken, match="the host ran out of memory"):
        report(
            1,
            TIMES + peak + "cg-oom-killed:1\n" + KILLED,
            Captured(),
            Captured(),
            group_kib=group_kib,
        )


def test_memory_is_that_of_all_only_where_all_share_a_limit() -> None:
    """Else it is that of the largest process, which is what its own limit is about."""
    meta = TIMES.replace("max-rss:", "cg-mem:90000\nmax-rss:") + "exitcode:0\n"
    shared, own = (
        report(0, meta, Captured(), Captured(), group_kib=group_kib) for group_kib in (65_536, None)
    )

    assert 90_000 == shared.memory_kib
    assert own.memory_kib < 90_000


@pytest.mark.parametrize(
    ("code", "meta", "said"),
    [
        (2, "", "'Cannot run proxy, clone failed'"),
        (2, "status:XX\nmessage:Cannot write\n", "'Cannot write'"),
        (-9, "", "exited with -9: ''"),
        (137, TIMES, "exited with 137: ''"),
    ],
)
def test_words_of_a_program_are_not_those_of_the_sandbox(code: int, meta: str, said: str) -> None:
    """They share a stream; only the sandbox's own last line may reach a log."""
    stderr = Captured(b"secret of the program\nCannot run proxy, clone failed\n")
    with pytest.raises(SandboxBroken) as raised:
        report(code, meta, Captured(), stderr)

    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


INTERRUPTED = TIMES + "exitsig:15\nstatus:SG\nmessage:Interrupted\nkilled:1\n"


@pytest.mark.parametrize("ended_for", [Ending.OUT_OF_MEMORY, Ending.CPU_TIME, Ending.DISK, Ending.OUTPUT])
@pytest.mark.parametrize("meta", [INTERRUPTED, TIMES + "exitcode:3\nstatus:RE\n"])
def test_run_that_the_daemon_ended_has_its_reason(meta: str, ended_for: Ending) -> None:
    """The reason counts, also if the program ended by itself a moment before the signal."""
    found = report(1, meta, Captured(), Captured(), ended_for=ended_for)

    assert (ended_for, None) == (found.ending, found.signal)


@pytest.mark.parametrize(
    ("meta", "ending"),
    [
        ("exitcode:0\n", Ending.DISK),
        ("exitcode:3\nstatus:RE\n", Ending.DISK),
        ("exitsig:11\nstatus:SG\n", Ending.DISK),
        ("status:TO\nmessage:Time limit exceeded\nkilled:1\n", Ending.CPU_TIME),
    ],
)
def test_limit_that_was_found_exceeded_counts_unless_another_did_before(meta: str, ending: Ending) -> None:
    """A program that ended by itself can have exceeded a limit all the same."""
    found = report(meta != "exitcode:0\n", TIMES + meta, Captured(), Captured(), exceeded=Ending.DISK)

    assert ending == found.ending


def test_larger_figure_counts() -> None:
    """The sandbox measures the largest process, the daemon watches all of them; either may see more."""
    found = report(0, TIMES + "exitcode:0\n", Captured(), Captured(), watched=Watched(5_000, 0.001))

    assert (5_000, 0.002) == (found.memory_kib, found.cpu_time_s)


def test_lines_in_a_message_forge_nothing() -> None:
    """File names of the program can reach the message, new lines included: the first occurrence counts."""
    meta = TIMES + "exitcode:1\nstatus:RE\nmessage:x\nexitcode:0\ntime:0.000\ncolour:red\n"
    found = report(1, meta, Captured(), Captured())

    assert (1, 0.002) == (found.exit_code, found.cpu_time_s)
