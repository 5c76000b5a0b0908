"""Processes of a program: their number, their end, and which others they can reach."""

import time
import uuid
from pathlib import Path

import pytest

from sandbox.conformance import ENDED_WELL, Box, Executable, failed, fresh_box, prog
from sandbox.host import wait_until
from support.processes import alive


@pytest.mark.parametrize("behaviour", ["fork", "thread"])
@pytest.mark.parametrize(
    ("options", "most"), [([], 1), (["--processes=1"], 1), (["-p5"], 5)], ids=["none", "1", "5"]
)
def test_processes_and_threads_are_limited_together(
    box: Box, behaviour: str, options: list[str], most: int
) -> None:
    """The program itself is one of them, and the only one unless told otherwise."""
    ran = box.run(prog(behaviour, 20), *options)

    assert (failed(1), [str(most - 1)]) == (ran.outcome, ran.lines)
    assert ran.stderr.endswith(b": Resource temporarily unavailable\n")


@pytest.mark.parametrize("option", ["--processes", "-p", "--processes=0"])
def test_processes_without_a_number_are_unlimited(box: Box, option: str) -> None:
    """So is the number 0."""
    assert ENDED_WELL == box.run(prog("fork", 100), option).outcome


def test_limit_of_processes_is_that_of_one_box(executable: Executable, program: Path, box: Box) -> None:
    """What runs in one box leaves the limit of another as it is: every box has a user of its own."""
    sleeper = prog("sleep", 20, uuid.uuid4().hex)
    words = " ".join(map(str, sleeper))
    with (
        fresh_box(executable, program=program) as other,
        other.started(["/bin/sh", "-c", f"{words} & {words}"], "--processes=3"),
    ):
        wait_until(lambda: len(alive(sleeper)) == 2)
        ran = box.run(prog("fork", 2), "--processes=3")

    assert ENDED_WELL == ran.outcome


@pytest.mark.parametrize("behaviour", ["fork-bomb", "thread-bomb", "fork-chain"])
def test_bomb_is_contained(box: Box, behaviour: str) -> None:
    """It ends soon after its wall limit, and no process of it is left."""
    token = uuid.uuid4().hex
    ran = box.run(prog(behaviour, token), "--processes=30", "--wall-time=0.3")

    assert ran.took_s <= 20
    assert [] == alive(prog(behaviour, token))


def test_shell_bomb_is_contained(box: Box) -> None:
    """It ends soon after its wall limit, and no process of it is left."""
    bomb = ["/bin/sh", "-c", f"b() {{ b {uuid.uuid4().hex} | b & b; }}; b"]
    ran = box.run(bomb, "--processes=30", "--wall-time=0.3")

    assert ran.took_s <= 20
    assert [] == alive(bomb)


def test_box_is_usable_after_a_bomb(box: Box) -> None:
    """The processes of one run take nothing from the next."""
    box.run(prog("fork-bomb"), "--processes=30", "--wall-time=0.3")

    assert ENDED_WELL == box.run(prog("fork", 28), "--processes=30").outcome


@pytest.mark.parametrize("behaviour", ["leave-child", "leave-daemon", "fork-bomb"])
def test_nothing_survives_the_run(box: Box, behaviour: str) -> None:
    """When the sandbox has ended, so has every process that it started, however they tried to escape."""
    token = uuid.uuid4().hex
    ran = box.run(prog(behaviour, token), "--processes=10", "--wall-time=0.3")

    assert [] == alive(prog(behaviour, token))
    assert ran.took_s <= 20


def test_children_that_nobody_waited_for_count(executable: Executable, box: Box) -> None:
    """The embedded sandbox ends all processes of a box before it reports their time, without groups too."""
    if executable.name != "embedded":
        pytest.skip("isolate counts them in control groups only, and is watched elsewhere")
    busy = "(while :; do :; done) & trap '' TERM; sleep 0.5; (sleep 9 & sleep 9) & exit 3"
    ran = box.run(["/bin/bash", "-c", busy], "--processes=9", "--time=5")

    assert failed(3) == ran.outcome
    assert ran.time_s > 0.1
    assert ran.took_s < 9


def test_program_that_ends_is_not_waited_for_longer_than_it_runs(box: Box) -> None:
    """The end of the first process is the end of the run, and its exit code counts."""
    ran = box.run(["/bin/sh", "-c", "/box/prog sleep 60 & exit 3"], "--processes=2", "--wall-time=30")

    assert failed(3) == ran.outcome
    assert ran.took_s <= 20


def test_kill_of_everybody_meets_nobody_else(executable: Executable, program: Path, box: Box) -> None:
    """`kill(-1)` reaches what the program may signal: in its own box, nothing."""
    patient = ["/bin/sh", "-c", "sleep 0.5; exit 7", uuid.uuid4().hex]
    with (
        fresh_box(executable, program=program) as other,
        other.started(patient, "--processes=2") as bystander,
    ):
        wait_until(lambda: alive(patient))
        ran = box.run(prog("try-kill", -1, 9))

        assert (ENDED_WELL, ["ESRCH"]) == (ran.outcome, ran.lines)
        assert failed(7) == bystander.result().outcome


@pytest.mark.parametrize("victim", ["1", "$PPID"], ids=["init", "parent"])
def test_sandbox_cannot_be_killed_from_inside(box: Box, victim: str) -> None:
    """The process that watches the program belongs to another user, or is deaf to signals from inside."""
    ran = box.run(["/bin/sh", "-c", f"kill -9 {victim}; sleep 0.05; echo alive"], "--processes=2")

    assert (ENDED_WELL, b"alive\n") == (ran.outcome, ran.stdout)


def test_kill_of_its_own_group_ends_only_the_program(box: Box) -> None:
    """The sandbox is in another process group: it lives to report."""
    ran = box.run(prog("try-kill", 0, 9))

    assert (1, "SG", 9) == (ran.outcome.exit_code, ran.outcome.status, ran.outcome.signal)


def test_only_own_processes_are_seen(box: Box) -> None:
    """/proc shows the processes of the box's user in the box, so `ls` finds itself alone."""
    entries = box.run(["/bin/ls", "/proc"]).lines

    assert 1 == len([entry for entry in entries if entry.isdigit()])


def test_parent_cannot_be_looked_into(box: Box) -> None:
    """
    Neither environment, nor memory, nor descriptors of the process that watches the program can be read.
    """
    script = "for p in 1 $PPID; do cat /proc/$p/environ /proc/$p/mem /proc/$p/maps; ls -l /proc/$p/fd; done"
    ran = box.run(["/bin/sh", "-c", script], "--processes=2")

    assert b"" == ran.stdout


def test_runs_follow_each_other_without_a_trace(box: Box) -> None:
    """A run in the same box does not see processes of the one before."""
    started_s = time.monotonic()
    for _ in range(4):
        box.run(prog("leave-daemon"), "--processes=5")
    ran = box.run(prog("try-kill", -1, 9))

    assert ["ESRCH"] == ran.lines
    assert time.monotonic() - started_s < 60
