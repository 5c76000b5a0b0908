"""The embedded sandbox's meta file has isolate's keys, in isolate's order."""

import pytest

from verdictd.sandbox.embedded.meta import Measured, RunStatus, broken, conclude

FACTS = "time:0.250\ntime-wall:0.500\nmax-rss:1472\ncsw-voluntary:3\ncsw-forced:6\n"


def measured(status: int = 0) -> Measured:
    result = Measured()
    result.status = status
    result.cpu_time_s = 0.25
    result.wall_time_s = 0.5
    result.max_rss_kib = 1472
    result.switches_voluntary = 3
    result.switches_forced = 6
    return result


def concluded(run: Measured, *, time_s: float | None = None, wall_time_s: float | None = None) -> RunStatus:
    return conclude(run, time_s=time_s, wall_time_s=wall_time_s)


def test_end_with_0_has_no_status() -> None:
    """A program that ended well has an exit code and nothing else."""
    report = concluded(measured(), time_s=1, wall_time_s=1)

    assert (f"{FACTS}exitcode:0\n", 0) == (report.text, report.exit_code)


def test_end_with_0_is_ok_on_stderr() -> None:
    """The line on stderr tells both times."""
    assert "OK (0.250 sec real, 0.500 sec wall)" == concluded(measured()).message


def test_end_with_3_is_re() -> None:
    """Any other exit code is a run-time error."""
    report = concluded(measured(3 << 8))

    expected = f"{FACTS}exitcode:3\nstatus:RE\nmessage:Exited with error status 3\n"
    assert (expected, 1) == (report.text, report.exit_code)


@pytest.mark.parametrize("status", [11, 11 | 0x80])
def test_end_by_signal_11_is_sg(status: int) -> None:
    """A fatal signal is named, whether or not there was a core dump."""
    report = concluded(measured(status))

    expected = f"{FACTS}exitsig:11\nstatus:SG\nmessage:Caught fatal signal 11\n"
    assert (expected, 1) == (report.text, report.exit_code)


def test_slow_end_is_to_without_killed() -> None:
    """A program that ended by itself beyond its limit, in the extra time, was too slow, however it ended."""
    report = concluded(measured(11), time_s=0.2)

    assert f"{FACTS}status:TO\nmessage:Time limit exceeded\n" == report.text


def test_slow_end_by_the_wall_clock_says_so() -> None:
    """The message tells the two limits apart."""
    report = concluded(measured(), time_s=1, wall_time_s=0.4)

    assert f"{FACTS}status:TO\nmessage:Time limit exceeded (wall clock)\n" == report.text


def test_killed_for_time_is_to_with_killed() -> None:
    """The status comes first where the sandbox ended the program."""
    run = measured()
    run.killed_for = "Time limit exceeded"
    report = concluded(run, time_s=0.2)

    assert (f"status:TO\nmessage:Time limit exceeded\nkilled:1\n{FACTS}", 1) == (
        report.text,
        report.exit_code,
    )


def test_interrupted_keeper_is_sg_with_its_own_signal() -> None:
    """A signal to the sandbox is told from the program's by the message, never by the status."""
    run = measured()
    run.killed_for = "Interrupted"
    run.interrupted_by = 15

    assert f"exitsig:15\nstatus:SG\nmessage:Interrupted\nkilled:1\n{FACTS}" == concluded(run).text


def test_oom_is_told_even_of_a_run_that_ended_well() -> None:
    """A child can die of memory while its parent ends with 0."""
    run = measured()
    run.cg_mem_kib = 32768
    run.cg_oom_killed = True

    assert f"{FACTS}cg-mem:32768\ncg-oom-killed:1\nexitcode:0\n" == concluded(run).text


def test_new_line_in_a_message_makes_no_line() -> None:
    """A file name chosen by a program cannot write lines of its own into the meta file."""
    report = broken('open("x\nstatus:OK\n"): No such file or directory')

    assert 'status:XX\nmessage:open("x?status:OK?"): No such file or directory\n' == report.text


def test_sandbox_failure_is_exit_code_2() -> None:
    """A failure of the sandbox is never mistaken for one of the program."""
    assert 2 == broken("anything").exit_code
