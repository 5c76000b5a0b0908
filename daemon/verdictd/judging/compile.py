"""Compile a program: from source files to the artifact that is run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

from verdictd import metrics
from verdictd.concurrency import offload
from verdictd.files import File
from verdictd.judging.class_files import find_main_class, has_main_method
from verdictd.judging.commands import compile_argv, names_main_class
from verdictd.judging.execution import Artifact, repeat_if_disturbed
from verdictd.judging.languages import Language
from verdictd.judging.sources import Program, cleaned, entry_file, source_files, source_name, top_level
from verdictd.sandbox.box import Box
from verdictd.sandbox.executables import HEAD_BYTES, format_problem
from verdictd.sandbox.files import UnusableFile
from verdictd.sandbox.model import Captured, Command, Constraints, Ending, Report

# Messages are published up to the first bound; a compiler that writes more than both is stopped.
_KEPT_BYTES = 1024 * 1024
_DROPPED_BYTES = 256 * 1024 * 1024
_IN_BOX = ("./", "/box/")
_LAST_OWN_CODE = 128
_PART_KILLED = re.compile(rb"signal terminated program|\b(Killed|Terminated)\b")


@dataclass(frozen=True, slots=True)
class Compilation:
    """The artifact and the compiler's output; without an artifact, `failure` says why there is none."""

    artifact: Artifact | None
    output: Captured = field(default_factory=Captured)
    failure: str = ""
    repeatable: bool = False
    """True if compiling the same program again would end in the same way."""
    cached: bool = False
    """True if the compiler ran for another submission, at this moment or before."""


async def compile_program(
    box: Box, program: Program, *, artifact_bytes: int, output_bytes: int
) -> Compilation:
    """Compile in a clean box; a language without a compiler is run from its source files.

    The box needs a reset afterwards (`box.used`). Raises SandboxBroken.
    """
    language, content = program.language, program.source_code
    name = await offload(partial(source_name, language, content), len(content))
    files = cleaned(language, (File(name, content), *program.files))
    main = entry_file(program, name)
    if not language.compile_cmd:
        return Compilation(Artifact(files, source=main))
    size = sum(len(file.content) for file in files)
    sources = await offload(partial(source_files, language, files, main), size)
    command = _command(program, sources)

    async def compile_once() -> Report:
        await box.ready()
        with metrics.STAGES.labels(metrics.Stage.BUILD).time():
            await box.place(files)
            return await box.run(command)

    report = await repeat_if_disturbed(compile_once)
    output = _cut(report.stdout, output_bytes)
    failure = _failure(report, language)
    if failure is not None:
        return Compilation(None, output, failure, repeatable=_is_repeatable(report))
    try:
        executables = await box.take(language.artifacts or ("**",), artifact_bytes)
    except UnusableFile as error:
        return Compilation(None, output, f"The compiled program cannot be used: {error}.")
    artifact = Artifact(files_to_run(program, executables), executables, main)
    size = sum(len(file.content) for file in executables)
    return await offload(partial(_linked, program, artifact, output), size)


def _is_repeatable(report: Report) -> bool:
    """Return whether a compiler that failed did so by itself: no limit and no signal ended any part of it.

    Drivers tell of a part that was killed in a message, shells by an exit code above 128.
    """
    return (
        report.ending is Ending.EXITED
        and (report.exit_code or 0) <= _LAST_OWN_CODE
        and not _PART_KILLED.search(report.stdout.data)
    )


def _cut(output: Captured, max_bytes: int) -> Captured:
    return Captured(output.data[:max_bytes], output.truncated or len(output.data) > max_bytes)


def _linked(program: Program, artifact: Artifact, output: Captured) -> Compilation:
    """Find the program in the files that the compiler made."""
    language = program.language
    if not artifact.executables:
        return Compilation(None, output, "The compiler did not produce a program.", repeatable=True)
    problem = _unexecutable(language, artifact)
    if problem is not None:
        return Compilation(None, output, problem, repeatable=True)
    if not names_main_class(language):
        return Compilation(artifact, output, repeatable=True)
    main_class = _main_class(program, artifact)
    if main_class is None:
        where = "No class" if program.entry_point is None else f"No class {program.entry_point}"
        failure = f"{where} has a main method: public static void main(String[] args)."
        return Compilation(None, output, failure, repeatable=True)
    return Compilation(replace(artifact, main_class=main_class), output, repeatable=True)


def _main_class(program: Program, artifact: Artifact) -> str | None:
    name, made = program.entry_point, artifact.executables
    if name is not None:
        return name if has_main_method(made, name) else None
    declarations = top_level(program.source_code)
    return find_main_class(made, source=artifact.source, declarations=declarations)


def _unexecutable(language: Language, artifact: Artifact) -> str | None:
    """Return a message if the compiler's file cannot be executed; other commands run an interpreter."""
    program = language.run_cmd[0]
    if not program.startswith(_IN_BOX):
        return None
    name = program.removeprefix("./").removeprefix("/box/")
    made = {file.name: file.content for file in artifact.executables}
    if name not in made:
        return f"The compiler did not produce the program {name!r}."
    problem = format_problem(made[name][:HEAD_BYTES])
    return (
        None
        if problem is None
        else f"The compiler did not produce a program that can be executed: {problem}."
    )


def files_to_run(program: Program, executables: Sequence[File]) -> Sequence[File]:
    """Return the additional files, without those that the compiler's files take the place of."""
    replaced = {file.name for file in executables}
    return [file for file in program.files if file.name not in replaced]


def _command(program: Program, sources: Sequence[str]) -> Command:
    language, limits = program.language, program.language.compile_limits
    return Command(
        argv=tuple(compile_argv(language, program.options, sources)),
        constraints=Constraints(
            cpu_time_s=limits.cpu_time_s,
            cpu_extra_time_s=0.5,
            wall_time_s=limits.wall_time_s,
            memory_kib=limits.memory_kib,
            address_space_kib=None,
            stack_kib=limits.stack_kib,
            file_size_kib=limits.file_size_kib,
            processes=limits.processes,
            open_files=limits.open_files,
            output_bytes=_KEPT_BYTES,
            dropped_bytes=_DROPPED_BYTES,
            disk_kib=limits.disk_kib,
            disk_files=limits.disk_files,
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
            return f"The compiler wrote more than {_KEPT_BYTES + _DROPPED_BYTES} bytes of messages."
        case Ending.DISK:
            return (
                f"The compiler wrote more than {limits.disk_kib} KiB, or more than {limits.disk_files} files."
            )
        case Ending.NOT_EXECUTED | Ending.STOPPED:
            return "The compiler could not be executed."
        case _ as unreachable:
            assert_never(unreachable)
