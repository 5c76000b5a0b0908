"""Signals to the sandbox itself: they end the program, and are reported differently from its own end."""

import os
import signal
import uuid
from pathlib import Path

import pytest

from sandbox.conformance import BROKEN, ENDED_WELL, Box, Outcome, embedded_only, prog
from sandbox.host import wait_until
from support.processes import alive


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_signal_to_the_sandbox_interrupts_the_program(box: Box, name: str) -> None:
    """`SG` with the message `Interrupted` says that it was not the program's doing; nothing goes on."""
    number = signal.Signals[f"SIG{name}"]
    program = prog("sleep", 20, uuid.uuid4().hex)
    with box.started(program) as run:
        wait_until(lambda: alive(program))
        run.process.send_signal(number)
        ran = run.result()

    assert Outcome(1, status="SG", signal=number, killed=True) == ran.outcome
    assert ("Interrupted", []) == (ran.meta["message"], alive(program))


@pytest.mark.parametrize("behaviour", ["sleep-stubbornly", "burn-stubbornly", "fork-bomb"])
def test_program_cannot_resist_the_end_of_the_sandbox(box: Box, behaviour: str) -> None:
    """SIGTERM to the sandbox is enough for programs that ignore all signals, and for many at once."""
    program = prog(behaviour, 20, uuid.uuid4().hex)
    with box.started(program, "--processes=20") as run:
        wait_until(lambda: alive(program))
        run.process.terminate()
        ran = run.result()

    assert (1, "SG", "Interrupted") == (ran.outcome.exit_code, ran.outcome.status, ran.meta["message"])
    assert [] == alive(program)


def test_interrupted_box_is_usable(box: Box) -> None:
    """The next run is like any other."""
    program = prog("leave-daemon", uuid.uuid4().hex)
    with box.started(["/bin/sh", "-c", f"{' '.join(map(str, program))}; sleep 20"], "--processes=9") as run:
        wait_until(lambda: alive(program))
        run.process.terminate()
        run.result()

    assert (ENDED_WELL, []) == (box.run(["/bin/true"]).outcome, alive(program))


def test_interrupted_sandbox_tells_the_time_so_far(box: Box) -> None:
    """Times are measured up to the end, also if the sandbox was interrupted."""
    program = prog("burn", 20, uuid.uuid4().hex)
    with box.started(program) as run:
        wait_until(lambda: processor_time_s(program) >= 0.2)
        run.process.terminate()
        ran = run.result()

    assert 0.2 <= ran.time_s <= ran.wall_s + 0.05


def processor_time_s(program: list[str | bytes]) -> float:
    """Return the CPU time that a running program has used so far, as the host counts it."""
    for pid in alive(program):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0


@embedded_only
@pytest.mark.parametrize("behaviour", ["sleep", "sleep-stubbornly", "burn-stubbornly", "fork-bomb"])
def test_program_does_not_outlive_a_sandbox_that_is_killed(box: Box, behaviour: str) -> None:
    """
    SIGKILL leaves the sandbox no time to clean up: what it started must end by itself. (isolate leaves the
    program running without limits, so whoever drives it must not kill it.)
    """
    program = prog(behaviour, 20, uuid.uuid4().hex)
    with box.started(program, "--processes=20") as run:
        wait_until(lambda: alive(program))
        run.process.kill()
        run.process.wait()
        wait_until(lambda: not alive(program), within_s=2)
    reset = box.call("--init")

    assert (0, ENDED_WELL) == (reset.returncode, box.run(["/bin/true"]).outcome)


@embedded_only
def test_end_of_process_1_is_a_fault_of_the_sandbox(box: Box) -> None:
    """The sandbox does not wait for a report that cannot come, and blames no program."""
    program = prog("sleep", 20, uuid.uuid4().hex)
    with box.started(program) as run:
        wait_until(lambda: alive(program))
        for process_1 in Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split():
            os.kill(int(process_1), signal.SIGKILL)
        ran = run.result()

    assert (BROKEN, []) == (ran.outcome, alive(program))
