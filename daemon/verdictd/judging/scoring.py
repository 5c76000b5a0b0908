"""Decide which tests run, and what their outcomes come to: status, groups, points. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from verdictd.contract.result import GroupResult, Status
from verdictd.contract.tests import Group, Scoring
from verdictd.judging.admission import Admitted, AdmittedTest
from verdictd.judging.verdicts import Verdict
from verdictd.sandbox.model import Report

_DIGITS = 6  # of points
SKIPPED = Verdict(Status.SKIPPED, None, "Skipped: it could not change the outcome any more.")
NOT_OPEN = Verdict(Status.SKIPPED, None, "Skipped: a group that its group requires is not full.")
NOT_BUILT = Verdict(Status.SKIPPED, None, "Skipped: there is no program to run.")


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """The verdict of a test, the fraction of its points, and its runs: only the last one has its streams.

    `near_limit_s`: CPU times of runs that do not count.
    """

    __test__: ClassVar[bool] = False  # nothing that pytest could collect

    verdict: Verdict
    reports: Sequence[Report] = ()
    fraction: float = 0
    near_limit_s: Sequence[float] = ()
    checker_message: str = ""
    team_message: str = ""

    def without_streams(self) -> Self:
        """Return the figures alone."""
        return replace(self, reports=[report.without_streams() for report in self.reports])


class _Members:
    """The tests of a group. State: the least fraction so far, and the number of tests without an outcome."""

    def __init__(self, group: Group, tests: dict[int, AdmittedTest]) -> None:
        self.group = group
        self.indices = tuple(tests)
        self.least = 1.0
        self.undecided = len(tests)
        own = [test.points for test in tests.values() if test.points is not None]
        self.max_points = sum(own) if own else group.points
        share = (group.points or 0) / len(tests)
        self.weights = {index: (test.points or 0) if own else share for index, test in tests.items()}

    @property
    def is_full(self) -> bool:
        return not self.undecided and self.least == 1

    @property
    def may_be_full(self) -> bool:
        return self.least == 1


class Plan:
    """The order of the tests of one submission. State: what each test came to, and which ones run now."""

    def __init__(self, admitted: Admitted) -> None:
        submission = admitted.submission
        self.tests = admitted.tests
        self.outcomes: list[TestOutcome | None] = [None] * len(self.tests)
        self._stop = submission.stop_on_failure
        self._waiting = dict.fromkeys(range(len(self.tests)))
        self._first_failure = len(self.tests)
        self._stopped = False
        self._passes = admitted.passes
        self.left_s = sum(map(self._longest_s, self.tests))
        """Time that the runs of all tests without an outcome may take."""
        named = dict.fromkeys(test.group for test in self.tests if test.group is not None)
        groups = submission.groups or tuple(Group(name=name) for name in named)
        self._groups: dict[str | None, _Members] = {
            group.name: _Members(group, self._tests_of(group.name)) for group in groups
        }
        if alone := self._tests_of(None):
            self._groups[None] = _Members(Group(name="-"), alone)
        self._opens: dict[str | None, list[str]] = defaultdict(list)
        for group in groups:
            for required in group.requires:
                self._opens[required].append(group.name)

    def _longest_s(self, test: AdmittedTest) -> float:
        return test.limits.number_of_runs * self._passes * test.limits.wall_time_limit

    def _tests_of(self, name: str | None) -> dict[int, AdmittedTest]:
        return {index: test for index, test in enumerate(self.tests) if test.group == name}

    @property
    def finished(self) -> bool:
        """True once every test has an outcome."""
        return None not in self.outcomes

    @property
    def decided(self) -> int:
        """Number of tests that have an outcome."""
        return len(self.outcomes) - self.outcomes.count(None)

    def ready(self) -> int | None:
        """Return the index of the next test that can begin now, or None; skip those that need not."""
        skipped = True
        while skipped:
            skipped = False
            for index in tuple(self._waiting):
                reason = self._reason_to_skip(index)
                if reason is not None:
                    self.decide(index, TestOutcome(reason))
                    skipped = True
                elif all(self._groups[name].is_full for name in self._requires(index)):
                    return index
        return None

    def begin(self) -> int:
        """Return the index of a test that is begun now; one must be ready."""
        index = self.ready()
        if index is None:
            raise RuntimeError("no test can begin")
        del self._waiting[index]
        return index

    def give_back(self, index: int) -> None:
        """Let a test wait again that was begun, and did not end."""
        self._waiting = dict.fromkeys(sorted((*self._waiting, index)))

    @property
    def waiting(self) -> int:
        """Number of tests that have not begun."""
        return len(self._waiting)

    def decide(self, index: int, outcome: TestOutcome) -> None:
        """Note what a test came to that waits."""
        del self._waiting[index]
        self.record(index, outcome)

    def record(self, index: int, outcome: TestOutcome) -> None:
        """Note what a test came to that was begun."""
        self.outcomes[index] = outcome
        self.left_s -= self._longest_s(self.tests[index])
        status = outcome.verdict.status
        if status not in {Status.ACCEPTED, Status.SKIPPED}:
            self._first_failure = min(self._first_failure, index)
            # After a fault of the problem no points can be trusted.
            self._stopped |= self._stop is True or status is Status.INTERNAL_ERROR
        members = self._members(index)
        members.undecided -= 1
        members.least = min(members.least, outcome.fraction)

    def skip_all(self, reason: Verdict) -> None:
        """Skip every test that has not begun."""
        for index in tuple(self._waiting):
            self.decide(index, TestOutcome(reason))

    def _members(self, index: int) -> _Members:
        return self._groups[self.tests[index].group]

    def _requires(self, index: int) -> Sequence[str]:
        return self._members(index).group.requires

    def _reason_to_skip(self, index: int) -> Verdict | None:
        if not all(self._groups[name].may_be_full for name in self._requires(index)):
            return NOT_OPEN
        if self._stopped:
            return SKIPPED
        changes_status = index < self._first_failure
        if self._stop is None and not changes_status and not self._changes_points(index):
            return SKIPPED
        return None

    def _changes_points(self, index: int) -> bool:
        members = self._members(index)
        match members.group.scoring:
            case Scoring.SUM if members.weights[index]:
                return True
            case Scoring.MIN if members.max_points and members.least:
                return True
            case Scoring.ALL_OR_NOTHING if members.max_points and members.may_be_full:
                return True
        return members.may_be_full and self._opens_points(self.tests[index].group)

    def _opens_points(self, name: str | None) -> bool:
        """Return True if points can still be had in a group that requires this one."""
        return any(
            self._groups[other].max_points or self._opens_points(other)
            for other in self._opens[name]
            if all(self._groups[required].may_be_full for required in self._groups[other].group.requires)
        )

    def deciding(self) -> TestOutcome:
        """Return the outcome that is the submission's: the first failure, else that of the last test.

        A fault of the problem comes before any failure of the program.
        """
        outcomes = [outcome for outcome in self.outcomes if outcome is not None]
        failed = [one for one in outcomes if one.verdict.status not in {Status.ACCEPTED, Status.SKIPPED}]
        faults = [one for one in failed if one.verdict.status is Status.INTERNAL_ERROR]
        return (faults or failed or outcomes[-1:])[0]

    def points(self) -> float | None:
        """Return the points of the submission; None if nothing has any."""
        return _sum(self._points(members) for members in self._groups.values())

    def max_points(self) -> float | None:
        """Return the points that can be had; None if nothing has any."""
        return _sum(members.max_points for members in self._groups.values())

    def test_points(self, index: int) -> float | None:
        """Return the points of one test by itself; None if it has none."""
        points = self.tests[index].points
        return None if points is None else round(points * self._fraction(index), _DIGITS)

    def groups(self) -> Iterator[GroupResult]:
        """Yield what each group came to."""
        for members in self._groups.values():
            if members is self._groups.get(None):
                continue
            yield GroupResult(
                name=members.group.name,
                status=self._status(members),
                points=_sum([self._points(members)]),
                max_points=_sum([members.max_points]),
            )

    def _fraction(self, index: int) -> float:
        outcome = self.outcomes[index]
        return 0 if outcome is None else outcome.fraction

    def _points(self, members: _Members) -> float | None:
        if members.max_points is None:
            return None
        match members.group.scoring:
            case Scoring.SUM:
                return sum(weight * self._fraction(index) for index, weight in members.weights.items())
            case Scoring.MIN:
                return members.max_points * members.least
            case Scoring.ALL_OR_NOTHING:
                return members.max_points if members.is_full else 0.0

    def _status(self, members: _Members) -> Status:
        outcomes = [outcome for index in members.indices if (outcome := self.outcomes[index]) is not None]
        failed = [one.verdict.status for one in outcomes if one.verdict.status is not Status.ACCEPTED]
        return next(
            (status for status in failed if status is not Status.SKIPPED), (*failed, Status.ACCEPTED)[0]
        )


def _sum(points: Iterable[float | None]) -> float | None:
    known = [value for value in points if value is not None]
    return round(sum(known), _DIGITS) if known else None
