"""Ask a checker program: it runs in a box that the tested program never had."""

from dataclasses import dataclass, field
from typing import assert_never

from verdictd import metrics
from verdictd.contract.checker import ProgramChecker
from verdictd.files import File
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.authored import AuthoredProgram, Compile, faults_of_author, free_name
from verdictd.judging.checkers.judgement import Judgement
from verdictd.judging.checkers.passes import Pass
from verdictd.judging.execution import Artifact, repeat_if_disturbed
from verdictd.judging.test_data import OpenData
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Command, Report


@dataclass(frozen=True, slots=True)
class Case:
    """One output of the tested program for a checker to judge, and the points of the test."""

    stdin: OpenData
    output: bytes = field(repr=False)
    expected: OpenData | None
    points: float | None = None
    """Those of the test, of which a checker program gives some; None: it gives a part of 1."""
    feedback: tuple[File, ...] = field(default=(), repr=False)
    """Left by a checker program in the pass before."""


class CheckerProgram:
    """The checker program of one submission."""

    def __init__(
        self, checker: ProgramChecker, admitted: Admitted, *, compile_program: Compile, open_files: int
    ) -> None:
        self._protocol = checker.protocol
        self._program = AuthoredProgram(
            "checker", checker, admitted, compile_program=compile_program, open_files=open_files
        )

    async def check(self, box: Box, case: Case) -> Judgement:
        """Return the judgement on an output. Raises SandboxBroken, marked as the checker's.

        `box` is not that of the tested program, and needs a reset afterwards.
        """
        with faults_of_author():
            artifact = await self._program.compiled(box)
            return artifact if isinstance(artifact, Judgement) else await self._ask(box, artifact, case)

    async def following(self, box: Box, done: int) -> Pass | Judgement | None:
        """Return the pass that it asks for; see `AuthoredProgram.following`."""
        with faults_of_author():
            artifact = await self._program.compiled(box)
            if isinstance(artifact, Judgement):
                return artifact
            return await self._program.following(box, free_name(artifact), done)

    async def _ask(self, box: Box, artifact: Artifact, case: Case) -> Judgement:
        folder = free_name(artifact)
        command = self._command(artifact, folder, case)
        data = {
            "input": case.stdin.source,
            "output": case.output,
            "answer": b"" if case.expected is None else case.expected.source,
        }

        async def run_once() -> Report:
            await box.ready(control_groups=command.control_groups)
            with metrics.STAGES.labels(metrics.Stage.CHECK).time():
                await self._program.place(box, artifact, folder, data, case.feedback)
                return await box.run(command)

        report = await repeat_if_disturbed(run_once)
        return await self._program.judgement(box, folder, command, report, case.points)

    def _command(self, artifact: Artifact, folder: str, case: Case) -> Command:
        given, output, answer, feedback = (
            f"/box/{folder}/{name}" for name in ("input", "output", "answer", "feedback/")
        )
        match self._protocol:
            case "testlib":
                return self._program.command(artifact, (given, output, answer))
            case "kattis":
                return self._program.command(artifact, (given, answer, feedback), case.output)
            case _ as unreachable:
                assert_never(unreachable)
