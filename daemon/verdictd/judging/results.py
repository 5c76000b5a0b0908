"""Make the result of a submission that was judged, and of a message that was not."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from verdictd.contract.codec import Text, to_text
from verdictd.contract.result import (
    STATUS_IDS,
    LanguageUsed,
    Result,
    Runs,
    Spread,
    Status,
    WorkerIdentity,
)
from verdictd.errors import Problem
from verdictd.judging.admission import Admitted
from verdictd.judging.verdicts import Verdict
from verdictd.sandbox.model import Captured, Report


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict, the compiler's output, and every run that was made; only the last one has its streams."""

    verdict: Verdict
    compile_output: Captured
    reports: Sequence[Report]
    checker_message: str = ""
    team_message: str = ""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The part of a result that comes from running the program; the defaults are those of no run at all."""

    stdout: Text = field(default_factory=Text)
    stderr: Text = field(default_factory=Text)
    exit_code: int | None = None
    exit_signal: int | None = None
    time_s: float | None = None
    wall_time_s: float | None = None
    memory_kib: int | None = None
    runs: Runs | None = None


def judged_result(
    admitted: Admitted,
    judged: Judged,
    *,
    language: LanguageUsed,
    worker: WorkerIdentity,
    started_at: datetime,
) -> Result:
    """Return the result of a submission that was judged."""
    compile_output = _text(judged.compile_output)
    run = _run_outcome(judged)
    return Result(
        id=admitted.submission.id,
        status=judged.verdict.status,
        status_id=STATUS_IDS[judged.verdict.status],
        message=judged.verdict.message,
        cause=judged.verdict.cause,
        stdout=run.stdout.text,
        stdout_encoding=run.stdout.encoding,
        stdout_truncated=run.stdout.truncated,
        stderr=run.stderr.text,
        stderr_encoding=run.stderr.encoding,
        stderr_truncated=run.stderr.truncated,
        compile_output=compile_output.text,
        compile_output_encoding=compile_output.encoding,
        compile_output_truncated=compile_output.truncated,
        checker_message=judged.checker_message,
        team_message=judged.team_message,
        exit_code=run.exit_code,
        exit_signal=run.exit_signal,
        time=run.time_s,
        wall_time=run.wall_time_s,
        memory=run.memory_kib,
        runs=run.runs,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        language=language,
        limits=admitted.limits,
        worker=worker,
        metadata=admitted.submission.metadata,
    )


def unjudged_result(
    submission_id: str,
    verdict: Verdict,
    worker: WorkerIdentity,
    problems: Sequence[Problem],
    metadata: dict[str, Any] | None,
) -> Result:
    """Return the result of a message for which no program was run."""
    now = datetime.now(UTC)
    return Result(
        id=submission_id,
        status=verdict.status,
        status_id=STATUS_IDS[verdict.status],
        message=verdict.message,
        cause=verdict.cause,
        started_at=now,
        finished_at=now,
        worker=worker,
        metadata=metadata,
        errors=tuple(problems),
    )


def _run_outcome(judged: Judged) -> RunOutcome:
    """Return the figures of the run that failed, or the means over the runs that were all accepted."""
    if not judged.reports:
        return RunOutcome()
    last = judged.reports[-1]
    counted = judged.reports if judged.verdict.status is Status.ACCEPTED else [last]
    return RunOutcome(
        stdout=_text(last.stdout),
        stderr=_text(last.stderr),
        exit_code=last.exit_code,
        exit_signal=last.signal,
        time_s=round(statistics.fmean(report.cpu_time_s for report in counted), 6),
        wall_time_s=round(statistics.fmean(report.wall_time_s for report in counted), 6),
        memory_kib=round(statistics.fmean(report.memory_kib for report in counted)),
        runs=_runs(counted) if len(counted) > 1 else None,
    )


def _text(captured: Captured) -> Text:
    return to_text(captured.data, truncated=captured.truncated)


def _runs(reports: Sequence[Report]) -> Runs:
    return Runs(
        count=len(reports),
        time=_spread([report.cpu_time_s for report in reports]),
        wall_time=_spread([report.wall_time_s for report in reports]),
        memory=_spread([report.memory_kib for report in reports]),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        min=min(values),
        max=max(values),
        mean=round(statistics.fmean(values), 6),
        standard_deviation=round(statistics.pstdev(values), 6),
    )
