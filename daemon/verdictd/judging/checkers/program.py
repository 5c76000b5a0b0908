"""Ask a checker program: compiled once for a submission, run in a box that the tested program never had."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from verdictd import metrics
from verdictd.contract.checker import ProgramChecker
from verdictd.contract.result import Status
from verdictd.errors import SandboxBroken
from verdictd.files import File
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.judgement import Judgement, fault
from verdictd.judging.checkers.protocols import FEEDBACK, Answer, judged_by_kattis, judged_by_testlib
from verdictd.judging.compile import Compilation
from verdictd.judging.execution import Artifact, memory_floor_kib, repeat_if_disturbed, run_command
from verdictd.judging.sources import Program
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.files import UnusableFile
from verdictd.sandbox.model import Command, Report

Compile = Callable[[Box, Program], Awaitable[Compilation]]
_FEEDBACK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One output of the tested program for a checker to judge, and the points of the test."""

    stdin: OpenData
    output: bytes = field(repr=False)
    expected: OpenData | None
    points: float | None = None
    """Those of the test, of which a checker program gives some; None: it gives a part of 1."""


class CheckerProgram:
    """The checker program of one submission. State: its compilation, once it was needed."""

    def __init__(
        self, checker: ProgramChecker, admitted: Admitted, *, compile_program: Compile, open_files: int
    ) -> None:
        self._checker = checker
        self._admitted = admitted
        self._compile = compile_program
        self._open_files = open_files
        self._compilation: Compilation | None = None
        self._compiling = asyncio.Lock()

    async def check(self, box: Box, case: Case) -> Judgement:
        """Return the judgement on an output. Raises SandboxBroken, marked as the checker's.

        `box` is not that of the tested program, and needs a reset afterwards.
        """
        try:
            async with self._compiling:
                if self._compilation is None:
                    self._compilation = await self._compile(box, self._admitted.program)
            if self._compilation.artifact is None:
                failure = self._compilation.failure.replace("compile_output", "checker_message")
                message = f"The checker does not compile: {failure}"
                return fault(message, self._compilation.output.data)
            return await self._ask(box, self._compilation.artifact, case)
        except SandboxBroken as error:
            error.with_checker = True
            raise

    async def _ask(self, box: Box, artifact: Artifact, case: Case) -> Judgement:
        folder = _free_name([*artifact.files, *artifact.executables])
        command = self._command(artifact, folder, case)
        data = {
            "input": case.stdin.source,
            "output": case.output,
            "answer": b"" if case.expected is None else case.expected.source,
        }

        async def run_once() -> Report:
            await box.ready(control_groups=command.control_groups)
            with metrics.STAGES.labels(metrics.Stage.CHECK).time():
                await box.place(artifact.files)
                await box.place(artifact.executables, mode=0o755)
                for name, content in data.items():
                    await box.place_input(f"{folder}/{name}", content)
                await box.place([File(f"{folder}/feedback/.keep", b"")])
                return await box.run(command)

        report = await repeat_if_disturbed(run_once)
        try:
            feedback = await self._feedback(box, folder)
        except UnusableFile as error:
            return fault(f"The checker failed: its feedback cannot be read: {error}.", report.stderr.data)
        return self._judgement(report, feedback, memory_floor_kib(command, box.sandbox), case.points)

    def _command(self, artifact: Artifact, folder: str, case: Case) -> Command:
        given, output, answer, feedback = (
            f"/box/{folder}/{name}" for name in ("input", "output", "answer", "feedback/")
        )
        match self._checker.protocol:
            case "testlib":
                arguments, stdin = (given, output, answer), b""
            case "kattis":
                arguments, stdin = (given, answer, feedback), case.output
            case _ as unreachable:
                assert_never(unreachable)
        test = replace(self._admitted.tests[0], arguments=(*arguments, *self._checker.arguments))
        return run_command(self._admitted, test, artifact, stdin, open_files=self._open_files)

    async def _feedback(self, box: Box, folder: str) -> dict[str, bytes]:
        if self._checker.protocol != "kattis":
            return {}
        files = await box.take([f"{folder}/feedback/{name}" for name in FEEDBACK], _FEEDBACK_BYTES)
        return {file.name.rpartition("/")[2]: file.content for file in files}

    def _judgement(
        self, report: Report, feedback: dict[str, bytes], floor_kib: int, points: float | None
    ) -> Judgement:
        exit_code = -1 if report.exit_code is None else report.exit_code
        answer = Answer(exit_code, report.stdout.data, report.stderr.data, feedback)
        decided = verdict(
            report,
            self._admitted.limits,
            memory_floor_kib=floor_kib,
            out_of_memory=self._admitted.language.out_of_memory,
        )
        if decided.status not in {Status.ACCEPTED, Status.RUNTIME_ERROR_NZEC}:
            return fault(f"The checker failed: {decided.message}", answer.written)
        match self._checker.protocol:
            case "testlib":
                return judged_by_testlib(answer, points)
            case "kattis":
                return judged_by_kattis(answer, points)
            case _ as unreachable:
                assert_never(unreachable)


def _free_name(files: Sequence[File]) -> str:
    """Return a name for the folder of the data that no file of the checker has."""
    taken = {file.name.partition("/")[0] for file in files}
    name = "data"
    while name in taken:
        name += "_"
    return name
