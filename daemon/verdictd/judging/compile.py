"""Source to artifact: what lies in the box when the program runs."""

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import structlog

from verdictd import metrics
from verdictd.contract.submission import Submission
from verdictd.files import File
from verdictd.judging.languages import Language, compile_argv
from verdictd.sandbox.box import Box
from verdictd.sandbox.files import UnusableFile
from verdictd.sandbox.model import Captured, Command, Constraints, Ending, Report

log = structlog.get_logger()

_KEPT_BYTES = 4 * 1024 * 1024  # a compiler may say more than is published; beyond this it is stopped


@dataclass(frozen=True, slots=True)
class Compilation:
    """The files that a run needs, or why there are none."""

    files: Sequence[File]
    executables: Sequence[File]
    compile_output: Captured
    failure: str | None


async def compile_submission(
    box: Box, language: Language, submission: Submission, *, artifact_bytes: int, output_bytes: int
) -> Compilation:
    """Compile in a clean box, or hand the source on where nothing is compiled.

    The box needs a reset afterwards (`box.used`). Raises SandboxBroken.
    """
    sources = (File(language.source_file, submission.source_code.encode()), *submission.additional_files)
    if not language.compile_cmd:
        return Compilation(sources, (), Captured(), None)

    async def compile_once() -> Report:
        await box.ready()
        with metrics.STAGES.labels(metrics.Stage.BUILD).time():
            await box.place(sources)
            return await box.run(_command(box, language, submission))

    report = await retry_if_killed(compile_once)
    output = Captured(
        report.stdout.data[:output_bytes], report.stdout.truncated or len(report.stdout.data) > output_bytes
    )
    failure = _failure(report, language)
    if failure is None:
        try:
            taken = await box.take(language.artifacts or ("*",), artifact_bytes)
        except UnusableFile as error:
            failure = f"The compiler left nothing to run: {error}."
        else:
            placed = {file.name for file in taken}
            others = [file for file in submission.additional_files if file.name not in placed]
            if taken:
                return Compilation(others, taken, output, None)
            failure = "The compiler left nothing to run."
    return Compilation((), (), output, failure)


async def retry_if_killed(run: Callable[[], Awaitable[Report]]) -> Report:
    """Run it, and once more where it was killed as others kill: what it did to itself, it does again.

    A service that ends kills the programs in its control groups with SIGTERM, the kernel kills with SIGKILL
    when the host is out of memory, and nothing that a sandbox writes tells that from a program's own doing.
    """
    report = await run()
    if report.ending is Ending.SIGNALLED and report.signal in {signal.SIGTERM, signal.SIGKILL}:
        log.warning("run.repeated", signal=report.signal)
        report = await run()
    return report


def _command(box: Box, language: Language, submission: Submission) -> Command:
    limits = language.compile_limits
    in_groups = box.sandbox.control_groups
    return Command(
        argv=tuple(compile_argv(language, submission.compiler_options)),
        constraints=Constraints(
            cpu_time_s=limits.cpu_time_s,
            cpu_extra_time_s=0.5,
            wall_time_s=limits.wall_time_s,
            memory_kib=limits.memory_kib,
            address_space_kib=limits.memory_kib if language.address_space and not in_groups else None,
            stack_kib=limits.stack_kib,
            file_size_kib=limits.file_size_kib,
            processes=limits.processes,
            open_files=limits.open_files,
            output_bytes=_KEPT_BYTES,
        ),
        environment=language.environment,
        directories=language.directories,
        stderr_to_stdout=True,
    )


def _failure(report: Report, language: Language) -> str | None:
    limits = language.compile_limits
    match report.ending:
        case Ending.EXITED if report.exit_code == 0:
            return None
        case Ending.EXITED:
            return f"The compiler exited with code {report.exit_code}."
        case Ending.SIGNALLED:
            return f"The compiler was killed by signal {report.signal}."
        case Ending.CPU_TIME:
            return f"The compiler used more than {limits.cpu_time_s:g} s of CPU time."
        case Ending.WALL_TIME:
            return f"The compiler took longer than {limits.wall_time_s:g} s."
        case Ending.OUT_OF_MEMORY:
            return f"The compiler used more than {limits.memory_kib} KiB of memory."
        case Ending.OUTPUT:
            return f"The compiler wrote more than {_KEPT_BYTES} bytes."
        case Ending.NOT_EXECUTED:
            return "The compiler could not be executed."
    raise AssertionError(report.ending)


def clash(language: Language, files: Sequence[File]) -> str | None:
    """The name of an additional file that stands where the source or the artifact belongs."""
    for file in files:
        top = file.name.split("/")[0]
        if top == language.source_file or any(fnmatchcase(top, pattern) for pattern in language.artifacts):
            return file.name
    return None
