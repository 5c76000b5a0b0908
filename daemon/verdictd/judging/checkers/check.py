"""Ask the checker of a submission about an output: one of the built-in rules, or a program."""

from io import BytesIO

from verdictd.concurrency import offload
from verdictd.contract.checker import Comparison, ProgramChecker
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.authored import Compile
from verdictd.judging.checkers.comparison import compare
from verdictd.judging.checkers.difference import Difference
from verdictd.judging.checkers.judgement import Judgement, accepted, wrong
from verdictd.judging.checkers.passes import Pass
from verdictd.judging.checkers.program import Case, CheckerProgram
from verdictd.sandbox.box import Box
from verdictd.sandbox.companion import companion


class OutputChecker:
    """The checker of one submission, for all its outputs."""

    def __init__(self, admitted: Admitted, *, compile_program: Compile, open_files: int) -> None:
        checker = admitted.submission.checker
        self._rule: Comparison | CheckerProgram
        if isinstance(checker, ProgramChecker):
            if admitted.checker is None:
                raise ValueError("the checker program was not admitted")
            self._rule = CheckerProgram(
                checker, admitted.checker, compile_program=compile_program, open_files=open_files
            )
        else:
            self._rule = checker

    async def check(self, box: Box, case: Case) -> Judgement:
        """Return the judgement on the output of a program that ended well in this box, which is leased.

        Raises SandboxBroken if the sandbox failed with a checker program.
        """
        if isinstance(self._rule, CheckerProgram):
            return await self._rule.check(await companion(box), case)
        if case.expected is None:
            return accepted("Exited normally; there was no expected output to compare with.")
        rule, expected = self._rule, case.expected

        def work() -> Difference | None:
            with expected.open() as stream:
                return compare(rule, BytesIO(case.output), stream)

        difference = await offload(work, len(case.output) + expected.size_bytes)
        if difference is None:
            return accepted("The output matches the expected output.")
        return wrong(str(difference))

    async def following(self, box: Box, done: int) -> Pass | Judgement | None:
        """Return the pass that a checker program asks for after it has accepted an output of this box.

        `done`: the passes so far. A judgement says that the checker failed. Raises SandboxBroken.
        """
        if isinstance(self._rule, CheckerProgram):
            return await self._rule.following(await companion(box), done)
        return None

    @property
    def is_comparison(self) -> bool:
        """True if nothing is checked without an expected output."""
        return not isinstance(self._rule, CheckerProgram)
