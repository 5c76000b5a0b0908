"""Compile a submission: from source files to the artifact that is run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from verdictd import metrics
from verdictd.contract.submission import Submission
from verdictd.files import File
from verdictd.judging.admission import Admitted
from verdictd.judging.execution import Artifact, retry_if_killed
from verdictd.judging.languages import Language, compile_argv, run_environment
from verdictd.judging.sources import source_files
from verdictd.sandbox.box import Box
from verdictd.sandbox.files import UnusableFile
from verdictd.sandbox.model import Captured, Command, Constraints, Ending, Report

_KEPT_BYTES = 4 * 1024 * 1024  # more than is published; a compiler that writes more than this is stopped


@dataclass(frozen=True, slots=True)
class Compilation:
    """The artifact and the compiler's output; without an artifact, `failure` says why there is none."""

    artifact: Artifact | None
    output: Captured = field(default_factory=Captured)
    failure: str = ""


async def compile_submission(
    box: Box, admitted: Admitted, *, artifact_bytes: int, output_bytes: int
) -> Compilation:
    """Compile in a clean box; a language without a compiler is run from its source files.

    The box needs a reset afterwards (`box.used`). Raises SandboxBroken.
    """
    submission, language = admitted.submission, admitted.language
    sources = source_files(language, submission.source_code.encode(), submission.additional_files)
    if not language.compile_cmd:
        return Compilation(Artifact(sources))

    async def compile_once() -> Report:
        await box.ready()
        with metrics.STAGES.labels(metrics.Stage.BUILD).time():
            await box.place(sources)
            return await box.run(_command(box, admitted))

    report = await retry_if_killed(compile_once)
    output = _cut(report.stdout, output_bytes)
    failure = _failure(report, language)
    if failure is not None:
        return Compilation(None, output, failure)
    try:
        executables = await box.take(language.artifacts or ("*",), artifact_bytes)
    except UnusableFile as error:
        return Compilation(None, output, f"The compiled program cannot be used: {error}.")
    if not executables:
        return Compilation(None, output, "The compiler did not produce a program.")
    return Compilation(Artifact(_not_replaced(submission, executables), executables), output)


def _cut(output: Captured, max_bytes: int) -> Captured:
    return Captured(output.data[:max_bytes], output.truncated or len(output.data) > max_bytes)


def _not_replaced(submission: Submission, executables: Sequence[File]) -> Sequence[File]:
    """Return the additional files, without those that the compiler's files take the place of."""
    replaced = {file.name for file in executables}
    return [file for file in submission.additional_files if file.name not in replaced]


def _command(box: Box, admitted: Admitted) -> Command:
    language = admitted.language
    limits = language.compile_limits
    in_groups = box.sandbox.control_groups
    return Command(
        argv=tuple(compile_argv(language, admitted.submission.compiler_options)),
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
        environment=run_environment(language, memory_kib=limits.memory_kib, stack_kib=limits.stack_kib),
        directories=language.directories,
        stderr_to_stdout=True,
    )


def _failure(report: Report, language: Language) -> str | None:
    limits = language.compile_limits
    match report.ending:
        case Ending.EXITED if report.exit_code == 0:
            return None
        case Ending.EXITED:
            return f"The compiler exited with code {report.exit_code}; see compile_output."
        case Ending.SIGNALLED:
            return f"The compiler was killed by signal {report.signal}."
        case Ending.CPU_TIME:
            return f"The compiler used more than {limits.cpu_time_s:g} s of CPU time."
        case Ending.WALL_TIME:
            return f"The compiler took longer than {limits.wall_time_s:g} s."
        case Ending.OUT_OF_MEMORY:
            return f"The compiler used more than {limits.memory_kib} KiB of memory."
        case Ending.OUTPUT:
            return f"The compiler wrote more than {_KEPT_BYTES} bytes of messages."
        case Ending.NOT_EXECUTED:
            return "The compiler could not be executed."
        case _ as unreachable:
            assert_never(unreachable)
