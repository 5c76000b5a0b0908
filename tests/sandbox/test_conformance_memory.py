"""Limits of memory and stack, and the measurement of memory."""

import signal

import pytest

from sandbox.conformance import ENDED_WELL, Box, failed, prog, signalled

MIB = 1024
"""In KiB, the unit of all sizes."""


def test_allocation_beyond_the_address_space_fails(box: Box) -> None:
    """`--mem` limits what a process may map: an allocation fails, and the program lives to tell."""
    ran = box.run(prog("touch", 200), f"--mem={32 * MIB}")

    assert (failed(1), b"malloc: Cannot allocate memory\n") == (ran.outcome, ran.stderr)
    assert 25 <= int(ran.stdout) <= 32


def test_address_space_counts_although_it_is_not_used(box: Box) -> None:
    """`--mem` limits what is mapped, not what is touched."""
    assert failed(1) == box.run(prog("reserve", 100), f"--mem={32 * MIB}").outcome


def test_address_space_that_does_not_even_hold_the_program_is_sg(box: Box) -> None:
    """
    The kernel ends a program that it cannot load: that is the program's end, not a fault of the sandbox.
    """
    assert signalled(signal.SIGSEGV) == box.run(prog("hello"), "--mem=512").outcome


def test_zero_is_no_limit_of_address_space(box: Box) -> None:
    """`--mem=0` does not leave a program without memory."""
    assert ENDED_WELL == box.run(prog("reserve", 100), "--mem=0").outcome


def test_resident_set_is_measured(box: Box) -> None:
    """`max-rss` is what the program had in memory at its largest."""
    ran = box.run(prog("touch", 40))

    assert ENDED_WELL == ran.outcome
    assert 40 * MIB <= ran.max_rss_kib <= 44 * MIB


def test_resident_set_of_a_child_is_measured(box: Box) -> None:
    """It is that of the largest process that was waited for."""
    assert 40 * MIB <= box.run(prog("touch-in-child", 40), "--processes=2").max_rss_kib <= 44 * MIB


def test_resident_set_is_that_of_the_program_alone(box: Box) -> None:
    """
    Of the sandbox no more is counted than the process that turned into the program: the kernel adds that.
    """
    assert box.run(prog("hello")).max_rss_kib < 12 * MIB


def test_program_beyond_the_memory_of_its_group_is_killed(grouped_box: Box) -> None:
    """
    `--cg-mem` limits what all processes together have in memory; the kernel ends the one that asks for more.
    """
    ran = grouped_box.run(prog("touch", 200), f"--cg-mem={32 * MIB}")

    assert (signalled(signal.SIGKILL), "1") == (ran.outcome, ran.meta.get("cg-oom-killed"))
    assert 31 * MIB <= ran.cg_mem_kib <= 32 * MIB


def test_program_within_the_memory_of_its_group_ends_well(grouped_box: Box) -> None:
    """`cg-mem` is the largest memory of the group, and there is no mark."""
    ran = grouped_box.run(prog("touch", 40), f"--cg-mem={64 * MIB}")

    assert (ENDED_WELL, None) == (ran.outcome, ran.meta.get("cg-oom-killed"))
    assert 40 * MIB <= ran.cg_mem_kib <= 44 * MIB


def test_reserved_memory_does_not_count_for_the_group(grouped_box: Box) -> None:
    """Memory that is never touched costs nothing: runtimes reserve far more than they use."""
    assert ENDED_WELL == grouped_box.run(prog("reserve", 500), f"--cg-mem={32 * MIB}").outcome


def test_child_out_of_memory_is_marked_although_the_parent_ends_well(grouped_box: Box) -> None:
    """The mark is the only sign of it: no status, exit code 0."""
    ran = grouped_box.run(prog("touch-in-child", 200), f"--cg-mem={32 * MIB}", "--processes=2")

    assert (ENDED_WELL, "1", ["9"]) == (ran.outcome, ran.meta.get("cg-oom-killed"), ran.lines)


def test_processes_share_the_memory_of_their_group(grouped_box: Box) -> None:
    """Four times 12 MiB do not fit into 32 MiB, although each of them would."""
    ran = grouped_box.run(
        prog("touch-together", 4, 12), f"--cg-mem={32 * MIB}", "--processes=5", "--wall-time=10"
    )

    assert "1" == ran.meta.get("cg-oom-killed")


def test_files_in_memory_count_for_the_group(grouped_box: Box) -> None:
    """Files in shared memory are memory, and not a way around its limit."""
    ran = grouped_box.run(prog("shm", 64), f"--cg-mem={32 * MIB}", "--wall-time=10")

    assert (1, "1") == (ran.outcome.exit_code, ran.meta.get("cg-oom-killed"))


def test_address_space_is_limited_in_a_group_too(grouped_box: Box) -> None:
    """
    Where both limits are given the nearer one is met first: here the allocation fails, and nobody is killed.
    """
    ran = grouped_box.run(prog("touch", 200), f"--cg-mem={128 * MIB}", f"--mem={32 * MIB}")

    assert (failed(1), None) == (ran.outcome, ran.meta.get("cg-oom-killed"))


def test_reset_box_has_forgotten_its_memory(grouped_box: Box) -> None:
    """Peak and mark of a group last from run to run, and no longer than to the next `--init`."""
    grouped_box.run(["/bin/sh", "-c", "exec /box/prog touch 200"], f"--cg-mem={32 * MIB}")
    grouped_box.call("--init")
    ran = grouped_box.run(["/bin/true"])

    assert (ENDED_WELL, None) == (ran.outcome, ran.meta.get("cg-oom-killed"))
    assert ran.cg_mem_kib < 8 * MIB


def test_group_is_not_left_by_a_run_without_it(grouped_box: Box) -> None:
    """A box made with `--cg` refuses a run without: its limits would be lost."""
    refused = grouped_box.executable.call(f"--box-id={grouped_box.number}", "--run", "--", "/bin/true")

    assert 2 == refused.returncode


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ([f"--stack={8 * MIB}"], signalled(signal.SIGSEGV)),
        ([f"--stack={128 * MIB}"], ENDED_WELL),
        ([], ENDED_WELL),
    ],
    ids=["below", "above", "none"],
)
def test_deep_stack_is_sg_where_it_is_limited(box: Box, limit: list[str], expected: object) -> None:
    """64 MiB of stack need a limit above that, or none: it is unlimited unless told otherwise."""
    assert expected == box.run(prog("stack", 64), *limit).outcome
