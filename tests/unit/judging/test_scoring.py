"""Which tests run, and what their outcomes come to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.submissions import MODEL
from verdictd.contract.result import STATUS_IDS, Status
from verdictd.contract.submission import Submission
from verdictd.contract.tests import problems
from verdictd.errors import Problem
from verdictd.judging.admission import Admitted, admitted_tests
from verdictd.judging.languages import Language
from verdictd.judging.scoring import Plan, TestOutcome
from verdictd.judging.verdicts import Verdict

LANGUAGE = Language(name="script", source_file="main.sh", run_cmd=("/bin/sh", "main.sh"))
LETTERS = {
    "A": (Status.ACCEPTED, 1.0),
    "W": (Status.WRONG_ANSWER, 0.0),
    "T": (Status.TIME_LIMIT_EXCEEDED, 0.0),
    "H": (Status.WRONG_ANSWER, 0.5),
    "F": (Status.INTERNAL_ERROR, 0.0),
}
"""Outcomes of a test; H: a checker gives half of the points. F: a fault of the problem."""


def submission(tests: list[dict[str, Any]], **fields: Any) -> Submission:
    return MODEL.model_validate({"language": "script", "source_code": "", "tests": tests, **fields})


def plan(tests: list[dict[str, Any]], **fields: Any) -> Plan:
    given = submission(tests, **fields)
    limits = given.effective_limits()
    return Plan(Admitted(given, LANGUAGE, limits, admitted_tests(given, LANGUAGE, limits), timeout_s=60))


def played(plan: Plan, letters: str) -> str:
    """Run the plan with these outcomes; return what each test came to, `-` if it was skipped."""
    while (index := plan.ready()) is not None:
        assert index == plan.begin()
        status, fraction = LETTERS[letters[index]]
        plan.record(index, TestOutcome(Verdict(status, None, ""), fraction=fraction))
    assert plan.finished
    done = [outcome for outcome in plan.outcomes if outcome is not None]
    return "".join(
        "-" if one.verdict.status is Status.SKIPPED else letters[index] for index, one in enumerate(done)
    )


P1 = {"points": 1}
A, B = {"group": "a"}, {"group": "b"}
A1, B1 = A | P1, B | P1


def groups(**more: Any) -> dict[str, Any]:
    """Return two groups, of 40 and 60 points; `more` is about the second one."""
    return {"groups": [{"name": "a", "points": 40}, {"name": "b", "points": 60, **more}]}


OPENED = {"groups": [{"name": "a"}, {"name": "b", "points": 5, "requires": ["a"]}]}


@pytest.mark.parametrize(
    ("tests", "fields", "outcomes", "run", "points"),
    [
        ([{}] * 4, {}, "AAAA", "AAAA", None),
        ([{}] * 4, {}, "AWTA", "AW--", None),
        ([{}] * 4, {"stop_on_failure": False}, "AWTA", "AWTA", None),
        ([P1] * 4, {}, "AWTA", "AWTA", 2),
        ([P1] * 4, {"stop_on_failure": True}, "AWTA", "AW--", 1),
        ([P1, {}, P1, {"points": 0}], {}, "WAAA", "W-A-", 1),
        ([P1] * 3, {}, "AHA", "AHA", 2.5),
        ([P1] * 4, {}, "AFAA", "AF--", 1),
        ([A1, A1, B1, B1], {}, "AWAA", "AWAA", 3),
        ([A, A, B, B], groups(), "AWHA", "AWHA", 20 + 45),
        ([A, A, B, B], groups(scoring="min"), "AAHA", "AAHA", 40 + 30),
        ([A, A, B, B], groups(scoring="min"), "AAWA", "AAW-", 40),
        ([A, A, B, B], groups(scoring="all_or_nothing"), "AAHA", "AAH-", 40),
        ([A, A, B, B], groups(scoring="all_or_nothing"), "AAAA", "AAAA", 100),
        ([A, A, B, B], groups(requires=["a"]), "WAAA", "WA--", 20),
        ([A, A, B, B], groups(requires=["a"], scoring="min"), "AAAH", "AAAH", 70),
        ([B, B, A, A], groups(requires=["a"]), "AAWA", "--WA", 20),
        ([B, B, A, A], groups(requires=["a"]), "WAAA", "WAAA", 70),
        ([A, A, B], OPENED, "AAA", "AAA", 5),
        ([A, A, B], OPENED, "WAA", "W--", 0),
        ([A, A, B1], {"groups": [{"name": "a", "requires": ["b"]}, {"name": "b"}]}, "AAW", "--W", 0),
        ([{}, A], {"groups": [{"name": "a"}], "stop_on_failure": False}, "WA", "WA", None),
    ],
)  # fmt: skip
def test_tests_are_skipped_that_change_nothing(
    tests: list[dict[str, Any]], fields: dict[str, Any], outcomes: str, run: str, points: float | None
) -> None:
    """Status and points are those of the tests that run; `-`: skipped."""
    asked = plan(tests, **fields)

    assert run == played(asked, outcomes)
    assert points == asked.points()


@given(data=st.data())
def test_skipping_changes_neither_status_nor_points(data: st.DataObject) -> None:
    """With `stop_on_failure` null the outcome is that of running all tests."""
    count = data.draw(st.integers(1, 8))
    names = ["a", "b", "c"]
    scorings = st.sampled_from(["sum", "min", "all_or_nothing"])
    tests: list[dict[str, Any]] = [
        {"group": data.draw(st.sampled_from([*names, None]))} for _ in range(count)
    ]
    used = [name for name in names if any(name == test["group"] for test in tests)]
    listed = []
    for rank, name in enumerate(used):
        requires = data.draw(st.sets(st.sampled_from(used[:rank]))) if rank else set()
        listed.append({"name": name, "scoring": data.draw(scorings), "requires": sorted(requires)})
        if data.draw(st.booleans()):
            listed[-1]["points"] = data.draw(st.sampled_from([0, 10]))
        else:
            for test in tests:
                if test["group"] == name:
                    test["points"] = data.draw(st.sampled_from([None, 0, 3]))
    outcomes = data.draw(st.text(alphabet="AWTH", min_size=count, max_size=count))
    order = data.draw(st.permutations(listed))
    some, whole = (plan(tests, groups=order, stop_on_failure=stop) for stop in (None, False))
    played(some, outcomes)
    played(whole, outcomes)

    assert whole.points() == some.points()
    assert whole.deciding().verdict == some.deciding().verdict


def test_group_tells_its_first_failure_and_its_points() -> None:
    """A group of which only skipped tests are missing is skipped."""
    asked = plan([A, A, B, B, {"group": "c"}], groups=[{"name": name, "points": 10} for name in "abc"],
                 stop_on_failure=True)  # fmt: skip
    played(asked, "AATAA")

    told = [(group.name, group.status, group.points, group.max_points) for group in asked.groups()]
    assert [
        ("a", Status.ACCEPTED, 10, 10),
        ("b", Status.TIME_LIMIT_EXCEEDED, 0, 10),
        ("c", Status.SKIPPED, 0, 10),
    ] == told
    assert 30 == asked.max_points()


def test_test_that_was_given_back_runs_again_in_its_place() -> None:
    """A box that broke costs that test another one."""
    asked = plan([{}] * 3)
    first, second = asked.begin(), asked.begin()
    asked.give_back(first)

    assert (0, 1, 0) == (first, second, asked.begin())


def test_points_do_not_show_binary_fractions() -> None:
    """Three times 0.1 is 0.3."""
    asked = plan([{"points": 0.1}] * 3)
    played(asked, "AAA")

    assert (0.3, 0.3) == (asked.points(), asked.max_points())


def test_status_of_a_skipped_test_has_a_number() -> None:
    """Above Judge0's."""
    assert 104 == STATUS_IDS[Status.SKIPPED]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tests": [{"name": "x"}, {"name": "x"}]}, "/tests/1/name"),
        ({"tests": [{"name": "2"}, {}]}, "/tests/1/name"),
        ({"groups": [{"name": "a"}]}, "/groups"),
        ({"tests": [A, {"group": "c"}], "groups": [{"name": "a"}]}, "/tests/1/group"),
        ({"tests": [A], "groups": [{"name": "a"}, {"name": "a"}]}, "/groups/1/name"),
        ({"tests": [A], "groups": [{"name": "a"}, {"name": "b"}]}, "/groups/1"),
        ({"tests": [A], "groups": [{"name": "a", "requires": ["b"]}]}, "/groups/0/requires/0"),
        ({"tests": [A1], "groups": [{"name": "a", "points": 3}]}, "/groups/0/points"),
        ({"tests": [A], "groups": [{"name": "a", "requires": ["a"]}]}, "/groups"),
        (
            {
                "tests": [A, B],
                "groups": [{"name": "a", "requires": ["b"]}, {"name": "b", "requires": ["a"]}],
            },
            "/groups",
        ),
    ],
)
def test_tests_and_groups_that_do_not_fit_are_named(fields: dict[str, Any], path: str) -> None:
    """Each with the path of what is wrong."""
    given = MODEL.model_validate({"language": "c", "source_code": "", **fields})
    found: list[Problem] = list(problems(given.tests, given.groups, ()))

    assert [path] == [problem.path for problem in found]
