"""The field `checker`: its kinds, their defaults, and what is wrong with others."""

from typing import Any

import pytest

from support.submissions import body, problem, take
from verdictd.contract.checker import FloatsChecker, LinesChecker, ProgramChecker, TokensChecker
from verdictd.contract.codec import decode
from verdictd.contract.limits import Bound, Limits
from verdictd.contract.submission import submission_model
from verdictd.errors import Problem

PROGRAM = {"type": "program", "language": "cpp", "source_code": "x", "protocol": "testlib"}


def test_limits_of_a_program_are_within_the_bounds_of_the_operator() -> None:
    """Those that are not given, too."""
    small = Limits(cpu_time_limit=Bound[float](default=1, min=1, max=3))
    checker = decode(body(checker=PROGRAM), submission_model(small)).checker

    assert isinstance(checker, ProgramChecker)
    assert (3, None, 1_048_576) == (
        checker.limits.cpu_time_limit,
        checker.limits.wall_time_limit,
        checker.limits.memory_limit,
    )


def test_lines_are_compared_unless_another_checker_is_named() -> None:
    """Null is the default too, in the field and in a checker."""
    assert LinesChecker(type="lines") == take().checker == take(checker=None).checker
    floats = take(checker={"type": "floats", "absolute": 0, "relative": None}).checker
    assert FloatsChecker(type="floats", absolute=0, relative=1e-6, case_sensitive=True) == floats
    assert TokensChecker(type="tokens", case_sensitive=True) == take(checker={"type": "tokens"}).checker


@pytest.mark.parametrize(
    ("checker", "path", "message"),
    [
        ("lines", "/checker", "must be an object"),
        ([], "/checker", "must be an object"),
        ({}, "/checker/type", "must be given"),
        (
            {"type": "diff"},
            "/checker/type",
            "must be 'lines', 'exact', 'tokens', 'floats', 'unordered_lines' or 'program'",
        ),
        ({"type": "lines", "absolute": 1}, "/checker/absolute", "unknown field"),
        ({"type": "floats", "absolute": -1}, "/checker/absolute", "must be greater than or equal to 0"),
        (
            {"type": "floats", "relative": 2e9},
            "/checker/relative",
            "must be less than or equal to 1000000000",
        ),
        ({"type": "floats", "relative": True}, "/checker/relative", "must be a number"),
        (PROGRAM | {"protocol": "other"}, "/checker/protocol", "must be 'testlib' or 'kattis'"),
        (PROGRAM | {"source_code": None}, "/checker/source_code", 'must be a string or {"base64": "..."}'),
        (PROGRAM | {"arguments": "'a"}, "/checker/arguments", "No closing quotation"),
        (PROGRAM | {"limits": {"number_of_runs": 2}}, "/checker/limits/number_of_runs", "unknown field"),
        (
            PROGRAM | {"limits": {"memory_limit": 1}},
            "/checker/limits/memory_limit",
            "must be greater than or equal to 2048",
        ),
        (
            PROGRAM | {"source_code": "x" * 1_048_577},
            "/checker/source_code",
            "1048577 bytes; at most 1048576 are allowed",
        ),
        (
            PROGRAM | {"additional_files": [{"name": "/a", "content": ""}]},
            "/checker/additional_files/0/name",
            'a file name must be a relative path without empty parts, "." or ".."',
        ),
        ({"type": "tokens", "case_sensitive": 0}, "/checker/case_sensitive", "must be true or false"),
    ],
)
def test_problem_names_the_field_in_the_checker(checker: Any, path: str, message: str) -> None:
    """As elsewhere: without the kind, which is not a part of the path."""
    assert Problem(path, message) == problem(body(checker=checker))
