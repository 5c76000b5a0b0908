"""Run one test: as often as asked for, until a run fails."""

from dataclasses import dataclass, field
from functools import partial

from verdictd.contract.result import Status
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.checkers.check import OutputChecker
from verdictd.judging.checkers.interactor import Interaction, InteractorProgram
from verdictd.judging.checkers.judgement import Judgement, wrong
from verdictd.judging.checkers.program import Case
from verdictd.judging.execution import Artifact, memory_floor_kib, run_artifact, run_command
from verdictd.judging.near_limit import Timed, best_run
from verdictd.judging.scoring import TestOutcome
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Report


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
        self.reports.append(timed.report)
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
    floor_kib = memory_floor_kib(command, box.sandbox)
    interaction = None
    run = partial(run_artifact, box, artifact, command)
    if interactor is not None:
        beside = await interactor.compiled(box)
        if isinstance(beside, Judgement):
            return TestOutcome(beside.verdict, checker_message=beside.checker_message)
        interaction = Interaction(interactor, box, command, artifact, beside, admitted, test, stdin, expected)
    while True:
        timed = await best_run(
            run if interaction is None else interaction.run,
            limit_s=test.limits.cpu_time_limit,
            retries=time_retries,
            begin_before_s=repeat_before_s,
        )
        if interaction is not None:
            judged = interaction.judgement(timed.report)
        else:
            judged = await _judgement(
                box,
                timed.report,
                admitted,
                test,
                checker,
                stdin=stdin,
                expected=expected,
                floor_kib=floor_kib,
            )
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


async def _judgement(
    box: Box,
    report: Report,
    admitted: Admitted,
    test: AdmittedTest,
    checker: OutputChecker,
    *,
    stdin: OpenData,
    expected: OpenData | None,
    floor_kib: int,
) -> Judgement:
    """Return the verdict on a run; the checker is asked about the output of a program that ended well."""
    decided = verdict(
        report, test.limits, memory_floor_kib=floor_kib, out_of_memory=admitted.language.out_of_memory
    )
    if decided.status is not Status.ACCEPTED:
        return Judgement(decided)
    output, file = report.stdout.data, report.output_file
    if file is not None:
        if file.problem is not None and not (expected is None and checker.is_comparison):
            return wrong(f"The output file {file.name!r} {file.problem}.")
        output = file.content
    return await checker.check(box, Case(stdin, output, expected, test.points))
