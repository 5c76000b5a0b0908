"""Run an artifact once in a clean box, within the limits of the submission."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from verdictd import metrics
from verdictd.contract.submission import EffectiveLimits
from verdictd.files import File
from verdictd.judging.admission import Admitted
from verdictd.judging.languages import Language, run_argv, run_environment
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Command, Constraints, Ending, Report, Sandbox

# Address space of a program that runs without a control group, beyond twice its memory limit.
_UNTOUCHED_KIB = 131_072

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files that the program needs at run time."""

    files: Sequence[File]
    executables: Sequence[File] = ()


def run_command(admitted: Admitted, sandbox: Sandbox, *, open_files: int) -> Command:
    """Return the command that runs the program within the submission's limits."""
    submission, language, limits = admitted.submission, admitted.language, admitted.limits
    per_process = _per_process_memory(limits, language)
    return Command(
        argv=tuple(
            run_argv(
                language,
                submission.command_line_arguments,
                memory_kib=limits.memory_limit,
                stack_kib=limits.stack_limit,
            )
        ),
        constraints=Constraints(
            cpu_time_s=limits.cpu_time_limit,
            cpu_extra_time_s=limits.cpu_extra_time,
            wall_time_s=limits.wall_time_limit,
            memory_kib=None if per_process else limits.memory_limit,
            address_space_kib=_address_space_kib(limits, language, sandbox),
            stack_kib=limits.stack_limit,
            file_size_kib=limits.max_file_size,
            processes=limits.max_processes_and_or_threads + language.extra_processes,
            open_files=open_files,
            output_bytes=limits.max_output_size * 1024,
        ),
        environment=run_environment(language, memory_kib=limits.memory_limit, stack_kib=limits.stack_limit),
        directories=language.directories,
        stdin=submission.stdin,
        stderr_to_stdout=submission.redirect_stderr_to_stdout,
        network=limits.enable_network,
        control_groups=not (per_process and limits.enable_per_process_and_thread_time_limit),
    )


async def run_artifact(box: Box, artifact: Artifact, command: Command) -> Report:
    """Run the artifact in a clean box, and once more if it was killed from outside. Raises SandboxBroken."""

    async def run_once() -> Report:
        await box.ready(control_groups=command.control_groups)
        with metrics.STAGES.labels(metrics.Stage.RUN).time():
            await box.place(artifact.files)
            await box.place(artifact.executables, mode=0o755)
            return await box.run(command)

    return await retry_if_killed(run_once)


async def retry_if_killed(run: Callable[[], Awaitable[Report]]) -> Report:
    """Repeat a run that ended by SIGTERM or SIGKILL once: a program that killed itself does so again.

    A service manager that stops a unit sends SIGTERM to every process in its control groups, and the kernel
    sends SIGKILL when the host runs out of memory. The sandbox cannot tell either from what the program did.
    """
    report = await run()
    if report.ending is Ending.SIGNALLED and report.signal in {signal.SIGTERM, signal.SIGKILL}:
        log.warning("run.repeated", signal=report.signal)
        report = await run()
    return report


def memory_floor_kib(command: Command, sandbox: Sandbox) -> int:
    """Return the peak of memory up to which a measurement says nothing about the program."""
    in_group = sandbox.control_groups and command.constraints.memory_kib is not None
    return 0 if in_group else sandbox.resident_floor_kib


def _per_process_memory(limits: EffectiveLimits, language: Language) -> bool:
    # A runtime that reserves more than it uses cannot run under such a limit: it keeps its control group.
    return limits.enable_per_process_and_thread_memory_limit and language.address_space


def _address_space_kib(limits: EffectiveLimits, language: Language, sandbox: Sandbox) -> int | None:
    if _per_process_memory(limits, language):
        return limits.memory_limit
    if language.address_space and not sandbox.control_groups:
        # Without a control group the resident set decides, after the run. This bound only protects the host,
        # and leaves room for memory that a program maps and never touches.
        return 2 * limits.memory_limit + _UNTOUCHED_KIB
    return None
