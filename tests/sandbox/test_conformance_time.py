"""Limits of CPU time and of wall-clock time, and the measurement of both.

Limits are checked ten times a second, so a program is found a little late: up to 0.15 s of each thread, and
later on a busy machine. How late the wall clock finds it depends on that even more, and gets more slack.
"""

import signal

import pytest

from sandbox.conformance import ENDED_WELL, TIMED_OUT, Box, Outcome, prog, signalled

LATE_S = 0.5
WALL_SLACK_S = 15.0

TOO_SLOW_BUT_ENDED = Outcome(1, status="TO")


@pytest.mark.parametrize("behaviour", ["burn", "burn-in-kernel", "burn-stubbornly"])
def test_program_is_ended_at_its_time_limit(box: Box, behaviour: str) -> None:
    """Time of the program and of the kernel for it count alike, and no signal handler helps."""
    ran = box.run(prog(behaviour, 30), "--time=0.2", "--wall-time=15")

    assert (TIMED_OUT, "Time limit exceeded") == (ran.outcome, ran.meta["message"])
    assert 0.2 <= ran.time_s <= 0.2 + LATE_S


def test_extra_time_shows_how_long_the_program_takes(box: Box) -> None:
    """A program that ends between the limit and the extra time is too slow, and its true time is known."""
    ran = box.run(prog("burn", 0.3), "--time=0.1", "--extra-time=5", "--wall-time=15")

    assert TOO_SLOW_BUT_ENDED == ran.outcome
    assert 0.3 <= ran.time_s <= 0.3 + LATE_S


def test_extra_time_counts_from_the_start(box: Box) -> None:
    """A program that goes on is ended after the extra time, which includes the limit."""
    ran = box.run(prog("burn", 30), "--time=0.6", "--extra-time=0.7", "--wall-time=15")

    assert TIMED_OUT == ran.outcome
    assert 0.7 <= ran.time_s <= 0.7 + LATE_S


def test_extra_time_below_the_limit_changes_nothing(box: Box) -> None:
    """The limit itself is always granted."""
    ran = box.run(prog("burn", 30), "--time=0.3", "--extra-time=0.1", "--wall-time=15")

    assert TIMED_OUT == ran.outcome
    assert 0.3 <= ran.time_s <= 0.3 + LATE_S


@pytest.mark.parametrize("behaviour", ["sleep", "sleep-stubbornly", "burn"])
def test_program_is_ended_at_its_wall_limit(box: Box, behaviour: str) -> None:
    """The wall clock ends the idle and the busy alike."""
    ran = box.run(prog(behaviour, 30), "--wall-time=0.2")

    assert (TIMED_OUT, "Time limit exceeded (wall clock)") == (ran.outcome, ran.meta["message"])
    assert 0.2 <= ran.wall_s <= 0.2 + LATE_S + WALL_SLACK_S


def test_wall_limit_holds_although_a_child_keeps_the_output_open(box: Box) -> None:
    """All processes of a program end with it, so nobody waits for what they hold."""
    ran = box.run(["/bin/sh", "-c", "sleep 30 & sleep 30"], "--processes=3", "--wall-time=0.3")

    assert TIMED_OUT == ran.outcome
    assert ran.took_s <= 0.3 + LATE_S + WALL_SLACK_S


def test_sleep_is_not_processor_time(box: Box) -> None:
    """A program that waits for longer than its time limit is not too slow."""
    ran = box.run(prog("sleep", 0.4), "--time=0.2", "--wall-time=15")

    assert ENDED_WELL == ran.outcome
    assert ran.time_s < 0.1
    assert 0.4 <= ran.wall_s <= 0.4 + LATE_S + WALL_SLACK_S


def test_time_of_a_program_that_ends_is_exact(box: Box) -> None:
    """It is taken from the kernel when the program has ended, not from the last check."""
    ran = box.run(prog("burn", 0.15))

    assert ENDED_WELL == ran.outcome
    assert 0.15 <= ran.time_s <= 0.15 + LATE_S


def test_starting_the_sandbox_is_not_time_of_the_program(box: Box) -> None:
    """A program that does nothing takes next to no time, however long the sandbox needs for its own work."""
    assert min(box.run(prog("hello")).time_s for _ in range(3)) < 0.02


def test_every_run_starts_from_zero(box: Box) -> None:
    """Earlier runs in the same box do not count."""
    box.run(prog("burn", 0.15))

    assert box.run(prog("hello"), "--time=0.1").time_s < 0.1


def test_threads_are_counted_together(box: Box) -> None:
    """Two threads use up the limit twice as fast as one where there are two processors."""
    ran = box.run(prog("burn-in-threads", 2, 30), "--processes=3", "--time=0.2", "--wall-time=15")

    assert TIMED_OUT == ran.outcome
    assert 0.2 <= ran.time_s <= 0.2 + 2 * LATE_S


def test_children_that_are_waited_for_are_counted(box: Box) -> None:
    """Without control groups this is known at the end only, and still said."""
    ran = box.run(prog("burn-in-children", 2, 0.15), "--processes=3", "--time=0.2", "--wall-time=15")

    assert "TO" == ran.outcome.status
    assert 0.3 <= ran.time_s <= 0.3 + 2 * LATE_S


def test_children_are_ended_at_the_wall_limit(box: Box) -> None:
    """Where nothing else counts the time of children while they run, the wall limit is the one that holds."""
    ran = box.run(prog("burn-in-children", 2, 30), "--processes=3", "--time=0.1", "--wall-time=0.3")

    assert "TO" == ran.outcome.status
    assert ran.took_s <= 0.3 + LATE_S + WALL_SLACK_S


def test_children_are_counted_together_with_control_groups(grouped_box: Box) -> None:
    """The group's time is that of all its processes while they run."""
    ran = grouped_box.run(prog("burn-in-children", 2, 30), "--processes=3", "--time=0.2", "--wall-time=15")

    assert (TIMED_OUT, "Time limit exceeded") == (ran.outcome, ran.meta["message"])
    assert 0.2 <= ran.time_s <= 0.2 + 2 * LATE_S


def test_every_run_starts_from_zero_with_control_groups(grouped_box: Box) -> None:
    """Earlier runs in the same group do not count."""
    grouped_box.run(prog("burn", 0.15))

    assert grouped_box.run(prog("hello"), "--time=0.1").time_s < 0.1


def test_zero_is_no_limit(box: Box) -> None:
    """`--time=0` and `--wall-time=0` do not end a program at once."""
    assert ENDED_WELL == box.run(prog("burn", 0.15), "--time=0", "--wall-time=0").outcome


def test_signal_below_the_time_limit_is_a_signal(box: Box) -> None:
    """A program that crashes in time crashed: the limit has no part in it."""
    assert (
        signalled(signal.SIGSEGV)
        == box.run(prog("segv"), "--time=1", "--extra-time=2", "--wall-time=5").outcome
    )
