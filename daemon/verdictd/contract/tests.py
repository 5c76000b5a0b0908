"""Tests of a submission, the groups in which they are scored, and what is wrong between them."""

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, create_model, field_validator

from verdictd.contract.content import Data, Reference
from verdictd.contract.fields import check_bytes, decode_words
from verdictd.contract.limits import Limits, bounded_fields
from verdictd.contract.validation import Received
from verdictd.errors import Problem

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ._-]{1,64}$")]
Points = Annotated[float, Field(ge=0, le=1_000_000)]


class RunLimits(Received):
    """Limits of one test, in the units of the submission; those that are null are the submission's."""

    cpu_time_limit: float | None = None
    cpu_extra_time: float | None = None
    wall_time_limit: float | None = None
    memory_limit: int | None = None
    stack_limit: int | None = None
    max_processes_and_or_threads: int | None = None
    max_file_size: int | None = None
    max_disk_usage: int | None = None
    max_output_size: int | None = None


class Test(Received):
    """One run of the program, with an input and a verdict of its own."""

    __test__: ClassVar[bool] = False  # nothing that pytest could collect
    bounds: ClassVar[Limits] = Limits()

    name: Name | None = Field(
        default=None, description="Unique in the submission. Default: its number, from 1."
    )
    stdin: Data = Field(default=b"", description="Standard input of the program.")
    expected_output: Data | None = Field(
        default=None,
        description="Output to compare with. Null: nothing is compared, and a normal exit is accepted.",
    )
    command_line_arguments: tuple[str, ...] | None = Field(
        default=None, description="Arguments of the program. Default: those of the submission."
    )
    limits: RunLimits | None = Field(default=None, description="Limits in place of the submission's.")
    group: Name | None = Field(default=None, description="Name of the group to which it belongs.")
    points: Points | None = Field(default=None, description="Points for an accepted answer.")

    @field_validator("stdin", "expected_output")
    @classmethod
    def _content(cls, content: bytes | Reference | None, info: ValidationInfo) -> bytes | Reference | None:
        if isinstance(content, bytes):
            check_bytes(len(content), getattr(cls.bounds, f"{info.field_name}_bytes"))
        return content

    @field_validator("command_line_arguments", mode="plain")
    @classmethod
    def _words(cls, value: object) -> tuple[str, ...]:
        return decode_words(value, cls.bounds)


def test_model(limits: Limits) -> type[Test]:
    """Return `Test` with these bounds."""
    run_limits = create_model(
        "RunLimits", __base__=RunLimits, __doc__=RunLimits.__doc__, **bounded_fields(RunLimits, limits)
    )
    described = Test.model_fields["limits"].description
    fields: dict[str, Any] = {"limits": (run_limits | None, Field(default=None, description=described))}
    model = create_model("Test", __base__=Test, __doc__=Test.__doc__, **fields)
    model.bounds = limits
    return model


class Scoring(StrEnum):
    """Way in which the points of a group come from its tests."""

    SUM = "sum"
    MIN = "min"
    ALL_OR_NOTHING = "all_or_nothing"


class Group(Received):
    """Tests that are scored together."""

    name: Name = Field(description="Unique in the submission.")
    points: Points | None = Field(
        default=None, description="Points of the whole group. Default: the sum of those of its tests."
    )
    scoring: Scoring = Field(
        default=Scoring.SUM,
        strict=False,
        description="sum: each test gives its share. min: the worst test decides for all. "
        "all_or_nothing: all tests must be accepted.",
    )
    requires: tuple[Name, ...] = Field(
        default=(),
        strict=False,
        max_length=100,
        description="Groups that must be full, or this one is skipped.",
    )


def test_name(test: Test, index: int) -> str:
    """Return the name of the test at this index, from 0."""
    return test.name or str(index + 1)


def problems(
    tests: Sequence[Test] | None, groups: Sequence[Group], given: Collection[str]
) -> Iterator[Problem]:
    """Yield what is wrong between the tests, the groups, and the `given` fields for a single run."""
    if tests is None:
        if groups:
            yield Problem("/groups", "needs tests")
        return
    for name in given:
        yield Problem(f"/{name}", "each of the tests has its own; give one or the other")
    yield from _taken((test_name(test, index) for index, test in enumerate(tests)), "/tests/{}/name")
    yield from _taken((group.name for group in groups), "/groups/{}/name")
    if groups:
        yield from _unknown(tests, groups)
        yield from _without_sense(tests, groups)


def _taken(names: Iterator[str], path: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            yield Problem(path.format(index), f"{name!r} is the name of {path[:-5].format(first[name])} too")


def _unknown(tests: Sequence[Test], groups: Sequence[Group]) -> Iterator[Problem]:
    known = {None, *(group.name for group in groups)}
    for index, test in enumerate(tests):
        if test.group not in known:
            yield Problem(f"/tests/{index}/group", f"there is no group {test.group!r} in groups")
    for index, group in enumerate(groups):
        for place, name in enumerate(group.requires):
            if name not in known:
                yield Problem(f"/groups/{index}/requires/{place}", f"there is no group {name!r} in groups")


def _without_sense(tests: Sequence[Test], groups: Sequence[Group]) -> Iterator[Problem]:
    used = {test.group for test in tests}
    with_points = {test.group for test in tests if test.points is not None}
    for index, group in enumerate(groups):
        if group.name not in used:
            yield Problem(f"/groups/{index}", "no test belongs to this group")
        if group.points is not None and group.name in with_points:
            yield Problem(f"/groups/{index}/points", "its tests have points too; give one or the other")
    try:
        TopologicalSorter({group.name: group.requires for group in groups}).prepare()
    except CycleError as error:
        yield Problem("/groups", f"requires form a circle: {' -> '.join(error.args[1])}")
