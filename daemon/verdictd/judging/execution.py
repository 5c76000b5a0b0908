"""Run an artifact once in a clean box, within the limits of the submission."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from verdictd import metrics
from verdictd.contract.submission import EffectiveLimits
from verdictd.files import File
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.commands import run_argv, run_environment, run_values
from verdictd.judging.languages import Language
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Command, Constraints, Descriptor, Ending, Report, Sandbox, Wanted
from verdictd.sandbox.pressure import pressure

_LONGEST_REPEATED_S = 60  # of a run: to repeat a longer one could take more time than a submission has
_LITTLE_CPU = 0.5  # of the wall time
_PRESSURE = 0.25

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Artifact:
    """The files that the program needs at run time, and the names that its command needs."""

    files: Sequence[File]
    executables: Sequence[File] = ()
    source: str = ""
    main_class: str = ""


def run_command(
    admitted: Admitted, test: AdmittedTest, artifact: Artifact, stdin: bytes | Descriptor, *, open_files: int
) -> Command:
    """Return the command that runs the program within the limits of a test."""
    submission, language, limits = admitted.submission, admitted.language, test.limits
    per_process = _per_process_memory(limits, language)
    values = run_values(
        language,
        memory_kib=limits.memory_limit,
        stack_kib=limits.stack_limit,
        source=artifact.source,
        main_class=artifact.main_class,
    )
    return Command(
        argv=tuple(run_argv(language, test.arguments, values)),
        constraints=Constraints(
            cpu_time_s=limits.cpu_time_limit,
            cpu_extra_time_s=limits.cpu_extra_time,
            wall_time_s=limits.wall_time_limit,
            memory_kib=None if per_process else limits.memory_limit,
            address_space_kib=limits.memory_limit if per_process else None,
            stack_kib=limits.stack_limit,
            file_size_kib=limits.max_file_size,
            processes=limits.max_processes_and_or_threads + language.extra_processes,
            open_files=open_files,
            output_bytes=limits.max_output_size * 1024,
            disk_kib=limits.max_disk_usage,
        ),
        environment=run_environment(language, values),
        directories=language.directories,
        stdin=stdin,
        input_file=submission.input_file,
        wanted=Wanted(
            file=submission.output_file,
            file_bytes=limits.max_output_size * 1024,
            patterns=submission.output_files,
            max_files=submission.limits.output_files,
            max_bytes=submission.limits.output_files_bytes,
        ),
        stderr_to_stdout=submission.redirect_stderr_to_stdout,
        network=limits.enable_network,
        control_groups=not (per_process and limits.enable_per_process_and_thread_time_limit),
    )


async def run_artifact(box: Box, artifact: Artifact, command: Command) -> Report:
    """Run the artifact in a clean box, and once more if others disturbed it. Raises SandboxBroken."""

    async def run_once() -> Report:
        await box.ready(control_groups=command.control_groups)
        with metrics.STAGES.labels(metrics.Stage.RUN).time():
            await place_artifact(box, artifact)
            return await box.run(command)

    return await repeat_if_disturbed(run_once)


async def place_artifact(box: Box, artifact: Artifact) -> None:
    """Write the artifact into a clean box."""
    await box.place(artifact.files)
    await box.place(artifact.executables, mode=0o755)


async def repeat_if_disturbed(run: Callable[[], Awaitable[Report]]) -> Report:
    """Repeat once a run that others may have ended or held up; the second one counts."""
    report = await run()
    if was_disturbed(report):
        log.warning(
            "run.repeated", ending=report.ending, signal=report.signal, pressure=pressure(report.noise)
        )
        report = await run()
    return report


def was_disturbed(report: Report) -> bool:
    """Return True for a run that others may have ended or held up."""
    return _was_killed(report) or _was_held_up(report)


def _was_killed(report: Report) -> bool:
    """Return True after SIGTERM or SIGKILL: a program that killed itself does so again.

    A service manager that stops a unit sends SIGTERM to every process in its control groups, and the kernel
    sends SIGKILL when the host runs out of memory. The sandbox cannot tell either from what the program did.
    """
    return report.ending is Ending.SIGNALLED and report.signal in {signal.SIGTERM, signal.SIGKILL}


def _was_held_up(report: Report) -> bool:
    """Return True if the wall time passed while the program ran little, and the host was under pressure."""
    return (
        report.ending is Ending.WALL_TIME
        and report.wall_time_s < _LONGEST_REPEATED_S
        and report.cpu_time_s < _LITTLE_CPU * report.wall_time_s
        and pressure(report.noise) > _PRESSURE
    )


def memory_floor_kib(command: Command, sandbox: Sandbox) -> int:
    """Return the peak of memory up to which a measurement says nothing about the program."""
    in_group = sandbox.control_groups and command.constraints.memory_kib is not None
    return 0 if in_group else sandbox.resident_floor_kib


def _per_process_memory(limits: EffectiveLimits, language: Language) -> bool:
    # A runtime that reserves more than it uses cannot run under such a limit: it keeps its control group.
    return limits.enable_per_process_and_thread_memory_limit and language.address_space
