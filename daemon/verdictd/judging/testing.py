"""Run one test: as often as asked for, until a run fails."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from verdictd.contract.result import Status
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.checkers.check import OutputChecker
from verdictd.judging.checkers.interactor import Interaction, InteractorProgram
from verdictd.judging.checkers.judgement import Judgement, Run, wrong
from verdictd.judging.checkers.passes import Pass, run_in_passes
from verdictd.judging.checkers.program import Case
from verdictd.judging.execution import Artifact, memory_floor_kib, run_artifact, run_command
from verdictd.judging.near_limit import Timed, best_run
from verdictd.judging.scoring import TestOutcome
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Command, Report


@dataclass(slots=True)
class Runs:
    """The runs of a test that are done, in whatever box; only the last one has its streams.

    `near_limit_s`: CPU times of runs that do not count.
    """

    reports: list[Report] = field(default_factory=list)
    near_limit_s: list[float] = field(default_factory=list)

    def add(self, timed: Timed) -> None:
        """Add a run; the output of many would fill the daemon's memory."""
        if self.reports:
            self.reports[-1] = self.reports[-1].without_streams()
        self.reports.append(timed.run.report)
        self.near_limit_s += timed.others_s


async def run_test(
    box: Box,
    artifact: Artifact,
    admitted: Admitted,
    test: AdmittedTest,
    *,
    runs: Runs,
    stdin: OpenData,
    expected: OpenData | None,
    checker: OutputChecker,
    interactor: InteractorProgram | None,
    open_files: int,
    time_retries: int,
    repeat_before_s: float,
) -> TestOutcome:
    """Do the runs of a test that are left in a box, which needs a reset afterwards. Raises SandboxBroken."""
    command = run_command(admitted, test, artifact, stdin.source, open_files=open_files)
    checking = _Checking(box, command, artifact, admitted, test, checker, expected)
    run: Callable[[], Awaitable[Run]] = checking.run
    if interactor is not None:
        beside = await interactor.compiled(box)
        if isinstance(beside, Judgement):
            return TestOutcome(beside.verdict, checker_message=beside.checker_message)
        interaction = Interaction(interactor, box, command, artifact, beside, admitted, test, expected)
        run = partial(run_in_passes, interaction, stdin)
    elif admitted.passes > 1:
        run = partial(run_in_passes, checking, stdin)
    while True:
        timed = await best_run(
            run,
            limit_s=test.limits.cpu_time_limit,
            retries=time_retries,
            begin_before_s=repeat_before_s,
        )
        judged = timed.run.judged
        if judged is None:
            judged = await checking.judgement(timed.run.report, Pass(stdin))
        runs.add(timed)
        failed = judged.verdict.status is not Status.ACCEPTED
        if failed or len(runs.reports) == test.limits.number_of_runs:
            return TestOutcome(
                judged.verdict,
                runs.reports,
                judged.fraction,
                runs.near_limit_s,
                judged.checker_message,
                judged.team_message,
            )


@dataclass(frozen=True, slots=True)
class _Checking:
    """One test of a program whose output is checked after it has ended."""

    box: Box
    command: Command
    artifact: Artifact
    admitted: Admitted
    test: AdmittedTest
    checker: OutputChecker
    expected: OpenData | None

    async def run(self) -> Run:
        """Run the program; its output is checked if this run counts. Raises SandboxBroken."""
        return Run(await run_artifact(self.box, self.artifact, self.command))

    async def one_pass(self, this: Pass) -> tuple[Report, Judgement]:
        """Run the program with the input of a pass, and check its output. Raises SandboxBroken."""
        command = replace(self.command, stdin=this.given.source)
        report = await run_artifact(self.box, self.artifact, command)
        return report, await self.judgement(report, this)

    async def following(self, done: int) -> Pass | Judgement | None:
        """Return the pass that the checker program asks for; see `OutputChecker.following`."""
        return await self.checker.following(self.box, done)

    async def judgement(self, report: Report, this: Pass) -> Judgement:
        """Return the verdict on a run; the checker is asked about the output of a program that ended well."""
        decided = verdict(
            report,
            self.test.limits,
            memory_floor_kib=memory_floor_kib(self.command, self.box.sandbox),
            out_of_memory=self.admitted.language.out_of_memory,
        )
        if decided.status is not Status.ACCEPTED:
            return Judgement(decided)
        output, file = report.stdout.data, report.output_file
        if file is not None:
            if file.problem is not None and not (self.expected is None and self.checker.is_comparison):
                return wrong(f"The output file {file.name!r} {file.problem}.")
            output = file.content
        case = Case(this.given, output, self.expected, self.test.points, this.feedback)
        return await self.checker.check(self.box, case)
