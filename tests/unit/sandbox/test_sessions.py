"""Sessions of a run have the weight of one together."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from verdictd.sandbox.procfs import Process
from verdictd.sandbox.sessions import Sessions


@pytest.fixture
def sleepers() -> Iterator[list[Process]]:
    """Sixteen processes, each in a session of its own."""
    if os.geteuid() != 0 or not Path("/proc/self/autogroup").exists():
        pytest.skip("only root may change the weight of sessions, where the kernel shares between them")
    with ExitStack() as stack:
        found = []
        for _ in range(16):
            sleeper = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
            stack.callback(sleeper.wait)
            stack.callback(sleeper.kill)
            process = Process(sleeper.pid, keep=False)
            assert process.read()
            found.append(process)
        yield found


def nice(process: Process) -> int:
    """The nice value of the session of a process."""
    return int(Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1])


def test_sixteen_sessions_have_the_weight_of_one(sleepers: list[Process]) -> None:
    """Each step of a nice value is a quarter more; the last session gets all of it back."""
    sessions = Sessions()
    sessions.share(sleepers)
    sixteen = {nice(process) for process in sleepers}
    sessions.share(sleepers[:1])

    assert ({12}, 0) == (sixteen, nice(sleepers[0]))


def test_run_with_one_session_is_left_as_it_is(sleepers: list[Process]) -> None:
    """An operator may have given it another weight."""
    Path(f"/proc/{sleepers[0].pid}/autogroup").write_text("3")
    Sessions().share(sleepers[:1])

    assert 3 == nice(sleepers[0])
