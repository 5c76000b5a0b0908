"""The steps of one submission: what is done, what may begin, and what to do about faults of the sandbox."""

import asyncio
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from verdictd.contract.codec import fair_share
from verdictd.contract.events import EventKind, Observe, Step
from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import ReturnOutput
from verdictd.errors import FaultKind, SandboxBroken, SandboxUnusable, VerdictdError
from verdictd.judging.admission import Admitted
from verdictd.judging.checkers.check import OutputChecker
from verdictd.judging.checkers.interactor import InteractorProgram
from verdictd.judging.compile import Compilation
from verdictd.judging.execution import Artifact
from verdictd.judging.results import Judged
from verdictd.judging.scoring import NOT_BUILT, Plan, TestOutcome
from verdictd.judging.testing import Runs
from verdictd.judging.verdicts import Verdict, internal_error
from verdictd.sandbox.model import BoxId, Captured, Report

_BEGINNINGS = 3
"""Boxes in which a compilation or a test is begun, before the submission goes back to the queue."""
_BEGUN_AGAIN = frozenset(FaultKind) - {FaultKind.DEADLINE, FaultKind.FILES}
_COMPILING = -1  # in place of the index of a test

log = structlog.get_logger()


class Progress:
    """State of a submission that is judged, in whatever boxes.

    `started_at`: the time at which it had its first box; `until_s`: the end of its time, by the clock of the
    event loop. `box`: the last one that was its own. `spare_boxes`: how many may be lost once a test is
    decided. At most `kept_bytes` of output are kept: of many tests, the longest are cut. `observe` is told of
    each step.
    """

    def __init__(
        self,
        admitted: Admitted,
        *,
        checker: OutputChecker,
        interactor: InteractorProgram | None = None,
        spare_boxes: int = 0,
        kept_bytes: int,
        observe: Observe | None = None,
    ) -> None:
        self.checker = checker
        self.interactor = interactor
        self.plan = Plan(admitted)
        self.started_at = datetime.now(UTC)
        self.until_s = 0.0
        self.box: BoxId | None = None
        self.compilation: Compilation | None = None
        self._returned = admitted.submission.return_output or (
            ReturnOutput.ALL if len(admitted.tests) == 1 else ReturnOutput.FAILED
        )
        self._timeout_s = admitted.timeout_s
        self._spare_boxes = spare_boxes
        self._kept_bytes = kept_bytes
        self._output_bytes = 0
        self._observe = observe
        self.runs: dict[int, Runs] = defaultdict(Runs)
        self._faults: dict[int, list[SandboxBroken]] = defaultdict(list)
        self._done_at_fault: dict[int, int] = {}
        self._failed_to_compile: Verdict | None = None
        self._fatal: VerdictdError | None = None
        self._changed = asyncio.Event()

    @property
    def finished(self) -> bool:
        """True once all is decided."""
        return self.plan.finished

    @property
    def artifact(self) -> Artifact:
        """The compiled program."""
        if self.compilation is None or self.compilation.artifact is None:
            raise RuntimeError("there is no program to run")
        return self.compilation.artifact

    @property
    def begun(self) -> bool:
        """True once the submission has had a box."""
        return self.box is not None

    def enter(self, box: BoxId) -> None:
        """Note the box that the submission has now."""
        if self.box is None:
            self.started_at = datetime.now(UTC)
            self.until_s = asyncio.get_running_loop().time() + self._timeout_s
            self._tell(EventKind.STARTED, box=box)
        self.box = box

    @property
    def repeat_before_s(self) -> float:
        """The time until which there is time for more than the runs that are left."""
        return self.until_s - self.plan.left_s

    def compiled(self, compilation: Compilation) -> None:
        """Note the artifact, or that there is none."""
        self.compilation = compilation
        if compilation.artifact is None:
            verdict = Verdict(Status.COMPILATION_ERROR, Cause.COMPILE, compilation.failure)
            self._not_built(verdict, cached=compilation.cached)
        else:
            self._tell(EventKind.COMPILED, ok=True, cached=compilation.cached)

    def _not_built(self, verdict: Verdict, *, cached: bool = False) -> None:
        self._failed_to_compile = verdict
        self.plan.skip_all(NOT_BUILT)
        self._tell(EventKind.COMPILED, ok=False, cached=cached)

    async def more(self) -> bool:
        """Wait until a test can begin; return False once all are decided.

        Raises the error after which none can begin any more.
        """
        while not self.can_begin and not self.finished:  # in this order: what need not begin is skipped
            if self._fatal is not None:
                raise self._fatal
            self._changed.clear()
            await self._changed.wait()
        return not self.finished

    @property
    def can_begin(self) -> bool:
        """True if a test can begin now."""
        return self._fatal is None and self.plan.ready() is not None

    def record(self, index: int, outcome: TestOutcome) -> None:
        """Note what a test came to."""
        self.runs.pop(index, None)
        accepted = outcome.verdict.status is Status.ACCEPTED
        if self._returned is ReturnOutput.NONE or (accepted and self._returned is ReturnOutput.FAILED):
            outcome = outcome.without_streams()
        self.plan.record(index, outcome)
        self._output_bytes += sum(_output_bytes(last) for last in outcome.reports[-1:])
        self._cut_output()
        self._changed.set()
        self._tell_test(index, outcome)

    def _cut_output(self) -> None:
        """Cut the longest outputs while all together are more than a result can hold."""
        if self._output_bytes <= self._kept_bytes:
            return
        kept = [outcome for outcome in self.plan.outcomes if outcome is not None and outcome.reports]
        if len(kept) < 2:
            return
        lasts = [outcome.reports[-1] for outcome in kept]
        sizes = [len(stream.data) for last in lasts for stream in (last.stdout, last.stderr)]
        sizes += [last.transcript.size_bytes for last in lasts]
        share = fair_share(sizes, self._kept_bytes)
        for index, outcome in enumerate(self.plan.outcomes):
            if outcome is not None and outcome.reports:
                last = outcome.reports[-1]
                stdout, stderr = _cut(last.stdout, share), _cut(last.stderr, share)
                cut = replace(last, stdout=stdout, stderr=stderr, transcript=last.transcript.cut(share))
                self.plan.outcomes[index] = replace(outcome, reports=(*outcome.reports[:-1], cut))
        self._output_bytes = sum(min(size, share) for size in sizes)

    def broke_off(self, index: int, error: BaseException) -> None:
        """Note that a test has not come to its end."""
        self.plan.give_back(index)
        if isinstance(error, SandboxBroken):
            done = len(self.runs[index].reports)
            if self._done_at_fault.get(index) != done:  # those before were in another run
                self._faults[index].clear()
            self._done_at_fault[index] = done
            self._faults[index].append(error)
        self._changed.set()

    def compiling_broke_off(self, error: SandboxBroken) -> None:
        """Note that compiling has not come to its end."""
        self._faults[_COMPILING].append(error)

    def goes_on(self, error: VerdictdError) -> bool:
        """Return True if the step that the sandbox broke off is begun again, or is decided by that.

        A program, or a compiler, that makes one working box after the other fail gets a verdict for it.
        """
        step, faults = next(
            ((step, faults) for step, faults in self._faults.items() if error in faults), (_COMPILING, [])
        )
        if not faults or self._fatal is not None or not self._bears(error):
            self._fatal = error
            self._changed.set()
            return False
        if len(faults) < _BEGINNINGS:
            log.warning("run.begun_again", kind=faults[-1].kind, error=str(error))
        elif all(fault.kind is FaultKind.PROGRAM for fault in faults):
            self._blame(step, faults[-1])
        else:
            self._fatal = error
        self._changed.set()
        return self._fatal is None

    def _bears(self, error: VerdictdError) -> bool:
        """Return True for a fault that costs no box, or one that may be lost."""
        if not isinstance(error, SandboxBroken) or error.kind not in _BEGUN_AGAIN:
            return False
        if error.box_works:
            return True
        if isinstance(error, SandboxUnusable) or not (self._spare_boxes and self.plan.decided):
            return False
        self._spare_boxes -= 1
        return True

    def _blame(self, step: int, error: SandboxBroken) -> None:
        if error.with_checker:
            program = "checker" if self.interactor is None else "interactor"
            verdict = internal_error(f"The {program} breaks its sandbox: {error}.", Cause.CHECKER)
            self._decide(step, verdict)
        elif step == _COMPILING:
            message = f"The compiler breaks its sandbox: {error}."
            self._not_built(Verdict(Status.COMPILATION_ERROR, Cause.SANDBOX, message))
        else:
            message = f"The program breaks its sandbox: {error}."
            self._decide(step, Verdict(Status.RUNTIME_ERROR_OTHER, Cause.SANDBOX, message))

    def _decide(self, index: int, verdict: Verdict) -> None:
        outcome = TestOutcome(verdict)
        self.plan.decide(index, outcome)
        self._tell_test(index, outcome)

    def _tell_test(self, index: int, outcome: TestOutcome) -> None:
        self._tell(
            EventKind.TEST,
            name=self.plan.tests[index].name,
            number=index + 1,
            status=outcome.verdict.status,
            points=self.plan.test_points(index),
        )

    def _tell(self, kind: EventKind, **details: Any) -> None:
        if self._observe is not None:
            tests = len(self.plan.tests)
            self._observe(Step(kind=kind, tests=tests, done=self.plan.decided, **details))

    def judged(self) -> Judged:
        """Return what the submission came to."""
        failed = self._failed_to_compile
        deciding = self.plan.deciding() if failed is None else TestOutcome(failed)
        return Judged(self.compilation or Compilation(None), deciding, self.plan)


def _output_bytes(report: Report) -> int:
    return len(report.stdout.data) + len(report.stderr.data) + report.transcript.size_bytes


def _cut(stream: Captured, length: int) -> Captured:
    return stream if len(stream.data) <= length else Captured(stream.data[:length], truncated=True)
