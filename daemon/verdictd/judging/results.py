"""Make the result of a submission that was judged, and of a message that was not."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict, TypeVar

from verdictd.contract.codec import Text, to_text
from verdictd.contract.result import (
    STATUS_IDS,
    Cause,
    Encoding,
    LanguageUsed,
    Noise,
    Result,
    ReturnedFile,
    Runs,
    Spread,
    Status,
    TestResult,
    Utterance,
    WorkerIdentity,
)
from verdictd.errors import Problem
from verdictd.judging.admission import Admitted
from verdictd.judging.compile import Compilation
from verdictd.judging.scoring import Plan, TestOutcome
from verdictd.judging.verdicts import Verdict
from verdictd.sandbox import model
from verdictd.sandbox.model import Captured, Report, TakenFile

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Judged:
    """The compilation, the outcome that decides the submission, and what its tests came to."""

    compilation: Compilation
    deciding: TestOutcome
    plan: Plan


class _Outcome(TypedDict):
    """The fields that the result of a submission and those of its tests have in common."""

    status: Status
    status_id: int
    message: str
    cause: Cause | None
    stdout: str
    stdout_encoding: Encoding
    stdout_truncated: bool
    stderr: str
    stderr_encoding: Encoding
    stderr_truncated: bool
    checker_message: str
    team_message: str
    transcript: tuple[Utterance, ...]
    transcript_truncated: bool
    files: tuple[ReturnedFile, ...]
    exit_code: int | None
    exit_signal: int | None
    time: float | None
    wall_time: float | None
    memory: int | None
    runs: Runs | None
    noise: Noise | None


def judged_result(
    admitted: Admitted,
    judged: Judged,
    *,
    language: LanguageUsed,
    worker: WorkerIdentity,
    started_at: datetime,
) -> Result:
    """Return the result of a submission that was judged."""
    compile_output, plan = _text(judged.compilation.output), judged.plan
    outcome = _outcome(judged.deciding)
    tests: tuple[TestResult, ...] = ()
    if admitted.submission.tests is not None:
        tests = tuple(_test_result(plan, index) for index in range(len(plan.tests)))
        outcome["time"] = _greatest([test.time for test in tests])
        outcome["wall_time"] = _greatest([test.wall_time for test in tests])
        outcome["memory"] = _greatest([test.memory for test in tests])
        outcome["noise"] = _noise([report for one in plan.outcomes if one for report in one.reports])
    return Result(
        id=admitted.submission.id,
        **outcome,
        compile_output=compile_output.text,
        compile_output_encoding=compile_output.encoding,
        compile_output_truncated=compile_output.truncated,
        compile_cached=judged.compilation.cached,
        tests=tests,
        groups=tuple(plan.groups()) if tests else (),
        points=plan.points(),
        max_points=plan.max_points(),
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


def _test_result(plan: Plan, index: int) -> TestResult:
    outcome = plan.outcomes[index]
    if outcome is None:
        raise RuntimeError(f"test {index} has no outcome")
    return TestResult(**_outcome(outcome), name=plan.tests[index].name, points=plan.test_points(index))


def _outcome(outcome: TestOutcome) -> _Outcome:
    """Return the figures of the run that failed, or the means over the runs that were all accepted."""
    decided, reports = outcome.verdict, outcome.reports
    last = reports[-1] if reports else None
    counted = reports if decided.status is Status.ACCEPTED else reports[-1:]
    stdout, stderr = (_text(last.stdout), _text(last.stderr)) if last else (Text(), Text())
    return _Outcome(
        status=decided.status,
        status_id=STATUS_IDS[decided.status],
        message=decided.message,
        cause=decided.cause,
        stdout=stdout.text,
        stdout_encoding=stdout.encoding,
        stdout_truncated=stdout.truncated,
        stderr=stderr.text,
        stderr_encoding=stderr.encoding,
        stderr_truncated=stderr.truncated,
        checker_message=outcome.checker_message,
        team_message=outcome.team_message,
        transcript=tuple(map(_utterance, last.transcript.said)) if last else (),
        transcript_truncated=last is not None and last.transcript.truncated,
        files=tuple(_returned(file) for file in last.files) if last else (),
        exit_code=last.exit_code if last else None,
        exit_signal=last.signal if last else None,
        time=_mean([report.cpu_time_s for report in counted]),
        wall_time=_mean([report.wall_time_s for report in counted]),
        memory=round(statistics.fmean(report.memory_kib for report in counted)) if counted else None,
        runs=_runs(counted, outcome.near_limit_s) if len(counted) > 1 or outcome.near_limit_s else None,
        noise=_noise(counted),
    )


def _mean(values: Sequence[float]) -> float | None:
    return round(statistics.fmean(values), 6) if values else None


def _greatest(values: Sequence[T | None]) -> T | None:
    return max((value for value in values if value is not None), default=None)


def _text(captured: Captured) -> Text:
    return to_text(captured.data, truncated=captured.truncated)


def _utterance(said: model.Utterance) -> Utterance:
    text = to_text(said.text, truncated=False)
    speaker: Literal["program", "interactor"] = "program" if said.by_program else "interactor"
    return Utterance(speaker=speaker, text=text.text, encoding=text.encoding)


def _returned(file: TakenFile) -> ReturnedFile:
    text = to_text(file.content, truncated=file.truncated)
    # A program chooses the names that match a pattern, and they need not be UTF-8.
    name = os.fsencode(file.name).decode(errors="backslashreplace")
    return ReturnedFile(
        name=name,
        content=text.text,
        encoding=text.encoding,
        truncated=text.truncated,
        problem=file.problem,
    )


def _noise(reports: Sequence[Report]) -> Noise | None:
    """Return the worst of these runs."""
    worst = model.Noise.worst([report.noise for report in reports])
    if worst == model.Noise():
        return None
    return Noise(
        cpu_pressure=_rounded(worst.cpu_pressure),
        throttled=_rounded(worst.throttled),
        steal=_rounded(worst.steal),
    )


def _rounded(part: float | None) -> float | None:
    return None if part is None else round(part, 4)


def _runs(reports: Sequence[Report], near_limit_s: Sequence[float]) -> Runs:
    return Runs(
        count=len(reports),
        time=_spread([report.cpu_time_s for report in reports]),
        wall_time=_spread([report.wall_time_s for report in reports]),
        memory=_spread([report.memory_kib for report in reports]),
        near_limit=tuple(near_limit_s),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        min=min(values),
        max=max(values),
        mean=round(statistics.fmean(values), 6),
        standard_deviation=round(statistics.pstdev(values), 6),
    )
