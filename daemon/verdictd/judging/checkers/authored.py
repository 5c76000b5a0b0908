"""Programs of the problem's author, compiled once, which run in boxes that no tested program ever has."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import assert_never

from verdictd.contract.checker import AuthorProgram
from verdictd.contract.result import Status
from verdictd.contract.submission import EffectiveLimits
from verdictd.errors import SandboxBroken
from verdictd.files import File
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.judgement import Judgement, fault
from verdictd.judging.checkers.passes import Pass
from verdictd.judging.checkers.protocols import (
    FEEDBACK,
    KATTIS_ACCEPTED,
    Answer,
    By,
    judged_by_kattis,
    judged_by_testlib,
    may_accept_by_testlib,
)
from verdictd.judging.compile import Compilation
from verdictd.judging.execution import Artifact, memory_floor_kib, place_artifact, run_command
from verdictd.judging.sources import Program
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.files import UnusableFile
from verdictd.sandbox.model import Command, Descriptor, Ending, Report

Compile = Callable[[Box, Program], Awaitable[Compilation]]
_FOLLOWING = "nextpass.in"
_FEEDBACK_BYTES = 16 * 1024 * 1024


@contextmanager
def faults_of_author() -> Iterator[None]:
    """Mark a fault of the sandbox as one in the box of the author's program."""
    try:
        yield
    except SandboxBroken as error:
        error.with_checker = True
        raise


class AuthoredProgram:
    """The checker program, or the interactor, of one submission. State: its compilation, once it was needed.

    `admitted`: the program as a submission of its own.
    """

    def __init__(
        self,
        by: By,
        program: AuthorProgram,
        admitted: Admitted,
        *,
        compile_program: Compile,
        open_files: int,
    ) -> None:
        self._by = by
        self._program = program
        self._admitted = admitted
        self._compile = compile_program
        self._open_files = open_files
        self._compilation: Compilation | None = None
        self._compiling = asyncio.Lock()

    async def compiled(self, box: Box) -> Artifact | Judgement:
        """Return what is to be run, or the judgement that there is nothing. Raises SandboxBroken.

        `box` needs a reset afterwards (`box.used`).
        """
        async with self._compiling:
            if self._compilation is None:
                self._compilation = await self._compile(box, self._admitted.program)
        if self._compilation.artifact is not None:
            return self._compilation.artifact
        failure = self._compilation.failure.replace("compile_output", "checker_message")
        return fault(f"The {self._by} does not compile: {failure}", self._compilation.output.data)

    def command(
        self,
        artifact: Artifact,
        arguments: Sequence[str],
        stdin: bytes = b"",
        *,
        limits: EffectiveLimits | None = None,
    ) -> Command:
        """Return the command with the arguments of its protocol, before its own."""
        alone = self._admitted.tests[0]
        test = replace(alone, arguments=(*arguments, *self._program.arguments), limits=limits or alone.limits)
        return run_command(self._admitted, test, artifact, stdin, open_files=self._open_files)

    async def place(
        self,
        box: Box,
        artifact: Artifact,
        folder: str,
        data: Mapping[str, bytes | Descriptor],
        feedback: Sequence[File] = (),
    ) -> None:
        """Write the program into a clean box, and what it reads, and may write to, into a folder there."""
        await place_artifact(box, artifact)
        for name, content in data.items():
            await box.place_input(f"{folder}/{name}", content)
        await box.place(feedback or [File(f"{folder}/feedback/.keep", b"")])

    async def judgement(
        self,
        box: Box,
        folder: str,
        command: Command,
        report: Report,
        points: float | None,
        *,
        limits: EffectiveLimits | None = None,
    ) -> Judgement:
        """Return what the program has decided. Raises SandboxBroken."""
        try:
            feedback = await self._feedback(box, folder)
        except UnusableFile as error:
            return self._unreadable(error, report.stderr.data)
        exit_code = -1 if report.exit_code is None else report.exit_code
        answer = Answer(exit_code, report.stdout.data, report.stderr.data, feedback, self._by)
        decided = verdict(
            report,
            limits or self._admitted.limits,
            memory_floor_kib=memory_floor_kib(command, box.sandbox),
            out_of_memory=self._admitted.language.out_of_memory,
        )
        if decided.status not in {Status.ACCEPTED, Status.RUNTIME_ERROR_NZEC}:
            return fault(f"The {self._by} failed: {decided.message}", answer.written)
        match self._program.protocol:
            case "testlib":
                return judged_by_testlib(answer, points)
            case "kattis":
                return judged_by_kattis(answer, points)
            case _ as unreachable:
                assert_never(unreachable)

    def is_against(self, report: Report) -> bool:
        """Return True if it has decided against the tested program, or crashed; not if it met a limit."""
        match report.ending, self._program.protocol:
            case Ending.SIGNALLED | Ending.NOT_EXECUTED, _:
                return True
            case Ending.EXITED, "testlib":
                return not may_accept_by_testlib(report.exit_code, report.stderr.data)
            case Ending.EXITED, "kattis":
                return report.exit_code != KATTIS_ACCEPTED
        return False

    async def following(self, box: Box, folder: str, done: int) -> Pass | Judgement | None:
        """Return the pass that it asks for after one that it accepted, or the judgement that it failed.

        `done`: the passes so far. Raises SandboxBroken.
        """
        if self._program.passes == 1:
            return None
        try:
            left = await box.take([f"{folder}/feedback/**"], _FEEDBACK_BYTES)
        except UnusableFile as error:
            return self._unreadable(error)
        name = f"{folder}/feedback/{_FOLLOWING}"
        asked = next((file.content for file in left if file.name == name), None)
        if asked is None:
            return None
        if done == self._program.passes:
            return fault(f"The {self._by} failed: it asks for more than {done} passes.")
        return Pass(OpenData(asked), tuple(file for file in left if file.name != name))

    def _unreadable(self, error: UnusableFile, said: bytes = b"") -> Judgement:
        return fault(f"The {self._by} failed: its feedback cannot be read: {error}.", said)

    async def _feedback(self, box: Box, folder: str) -> dict[str, bytes]:
        if self._program.protocol != "kattis":
            return {}
        files = await box.take([f"{folder}/feedback/{name}" for name in FEEDBACK], _FEEDBACK_BYTES)
        return {file.name.rpartition("/")[2]: file.content for file in files}


def free_name(artifact: Artifact) -> str:
    """Return a name for the folder of the data that no file of the program has."""
    taken = {file.name.partition("/")[0] for file in (*artifact.files, *artifact.executables)}
    name = "data"
    while name in taken:
        name += "_"
    return name
