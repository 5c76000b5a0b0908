"""Run one test: as often as asked for, until a run fails."""

from functools import partial

from verdictd.concurrency import offload
from verdictd.contract.result import Status
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.execution import Artifact, memory_floor_kib, run_artifact, run_command
from verdictd.judging.scoring import TestOutcome
from verdictd.judging.verdicts import Verdict, verdict
from verdictd.sandbox.box import Box
from verdictd.sandbox.model import Report


async def run_test(
    box: Box, artifact: Artifact, admitted: Admitted, test: AdmittedTest, *, open_files: int
) -> TestOutcome:
    """Run a test in a box, which needs a reset afterwards. Raises SandboxBroken."""
    command = run_command(admitted, test, artifact, open_files=open_files)
    floor_kib = memory_floor_kib(command, box.sandbox)
    reports: list[Report] = []
    while True:
        if reports:  # the output of many runs would fill the daemon's memory
            reports[-1] = reports[-1].without_streams()
        reports.append(await run_artifact(box, artifact, command))
        decided = await _verdict(reports[-1], admitted, test, floor_kib)
        accepted = decided.status is Status.ACCEPTED
        if not accepted or len(reports) == test.limits.number_of_runs:
            return TestOutcome(decided, reports, fraction=float(accepted))


async def _verdict(report: Report, admitted: Admitted, test: AdmittedTest, floor_kib: int) -> Verdict:
    decide = partial(
        verdict,
        report,
        test.limits,
        test.expected_output,
        memory_floor_kib=floor_kib,
        out_of_memory=admitted.language.out_of_memory,
    )
    return await offload(decide, len(report.stdout.data) + len(test.expected_output or b""))
