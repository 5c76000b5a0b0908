"""What is published of a judged submission, and of one that is not judged."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from verdictd.contract.codec import text_fields
from verdictd.contract.result import (
    STATUS_IDS,
    ErrorDetail,
    LanguageUsed,
    Result,
    Runs,
    Spread,
    Status,
    WorkerIdentity,
)
from verdictd.contract.submission import Submission
from verdictd.errors import Problem
from verdictd.judging.compile import Compilation
from verdictd.judging.verdicts import Verdict
from verdictd.sandbox.model import Report


@dataclass(frozen=True, slots=True)
class Judged:
    """Every run of one submission, and the verdict of the deciding one."""

    verdict: Verdict
    build: Compilation
    reports: Sequence[Report]


def judged_result(
    submission: Submission,
    judged: Judged,
    *,
    language: LanguageUsed,
    worker: WorkerIdentity,
    started_at: datetime,
) -> Result:
    """The result of a submission that was judged."""
    return Result(
        **_outcome(submission.id, judged.verdict),
        **_streams(judged),
        **_figures(judged),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        language=language,
        limits=submission.effective_limits(),
        worker=worker,
        metadata=submission.metadata,
    )


def unjudged_result(
    submission_id: str,
    verdict: Verdict,
    worker: WorkerIdentity,
    problems: Sequence[Problem],
    metadata: dict[str, Any] | None,
) -> Result:
    """The result of a message that no program was run for."""
    now = datetime.now(UTC)
    return Result(
        **_outcome(submission_id, verdict),
        started_at=now,
        finished_at=now,
        worker=worker,
        metadata=metadata,
        errors=tuple(ErrorDetail(path=problem.path, message=problem.message) for problem in problems),
    )


def _outcome(submission_id: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": submission_id,
        "status": verdict.status,
        "status_id": STATUS_IDS[verdict.status],
        "cause": verdict.cause,
        "message": verdict.message,
    }


def _streams(judged: Judged) -> dict[str, Any]:
    output = judged.build.compile_output
    fields = text_fields("compile_output", output.data, truncated=output.truncated)
    if judged.reports:
        last = judged.reports[-1]
        fields |= text_fields("stdout", last.stdout.data, truncated=last.stdout.truncated)
        fields |= text_fields("stderr", last.stderr.data, truncated=last.stderr.truncated)
    return fields


def _figures(judged: Judged) -> dict[str, Any]:
    """Of the run that failed, or the means over the runs that all ended well."""
    reports = judged.reports
    if not reports:
        return {}
    if judged.verdict.status is not Status.ACCEPTED:
        reports = reports[-1:]
    figures: dict[str, Any] = {
        "exit_code": reports[-1].exit_code,
        "exit_signal": reports[-1].signal,
        "time": round(statistics.fmean(report.cpu_time_s for report in reports), 6),
        "wall_time": round(statistics.fmean(report.wall_time_s for report in reports), 6),
        "memory": round(statistics.fmean(report.memory_kib for report in reports)),
    }
    if len(reports) > 1:
        figures["runs"] = Runs(
            count=len(reports),
            time=_spread([report.cpu_time_s for report in reports]),
            wall_time=_spread([report.wall_time_s for report in reports]),
            memory=_spread([report.memory_kib for report in reports]),
        )
    return figures


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        min=min(values),
        max=max(values),
        mean=round(statistics.fmean(values), 6),
        standard_deviation=round(statistics.pstdev(values), 6),
    )
