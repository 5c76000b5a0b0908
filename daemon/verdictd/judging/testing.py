"""Run one test: as often as asked for, until a run fails."""

from functools import partial

from verdictd.contract.result import Cause, Status
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.checkers.check import Judgement, check
from verdictd.judging.execution import Artifact, memory_floor_kib, run_artifact, run_command
from verdictd.judging.near_limit import best_run
from verdictd.judging.scoring import TestOutcome
from verdictd.judging.test_data import OpenData
from verdictd.judging.verdicts import Verdict, verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Report


async def run_test(
    box: Box,
    artifact: Artifact,
    admitted: Admitted,
    test: AdmittedTest,
    *,
    stdin: OpenData,
    expected: OpenData | None,
    open_files: int,
    time_retries: int,
    repeat_before_s: float,
) -> TestOutcome:
    """Run a test in a box, which needs a reset afterwards. Raises SandboxBroken."""
    command = run_command(admitted, test, artifact, stdin.source, open_files=open_files)
    floor_kib = memory_floor_kib(command, box.sandbox)
    reports: list[Report] = []
    near_limit_s: list[float] = []
    while True:
        if reports:  # the output of many runs would fill the daemon's memory
            reports[-1] = reports[-1].without_streams()
        timed = await best_run(
            partial(run_artifact, box, artifact, command),
            limit_s=test.limits.cpu_time_limit,
            retries=time_retries,
            begin_before_s=repeat_before_s,
        )
        reports.append(timed.report)
        near_limit_s += timed.others_s
        judged = await _judgement(reports[-1], admitted, test, expected, floor_kib)
        failed = judged.verdict.status is not Status.ACCEPTED
        if failed or len(reports) == test.limits.number_of_runs:
            return TestOutcome(judged.verdict, reports, judged.fraction, near_limit_s)


async def _judgement(
    report: Report, admitted: Admitted, test: AdmittedTest, expected: OpenData | None, floor_kib: int
) -> Judgement:
    decided = verdict(
        report, test.limits, memory_floor_kib=floor_kib, out_of_memory=admitted.language.out_of_memory
    )
    if decided.status is not Status.ACCEPTED:
        return Judgement(decided, fraction=0)
    output, file = report.stdout.data, report.output_file
    if expected is None:
        return Judgement(decided, fraction=1)
    if file is not None:
        if file.problem is not None:
            message = f"The output file {file.name!r} {file.problem}."
            return Judgement(Verdict(Status.WRONG_ANSWER, Cause.OUTPUT, message), fraction=0)
        output = file.content
    return await check(admitted.submission.checker, output, expected)
