"""The field `checker`: its kinds, their defaults, and what is wrong with others."""

from typing import Any

import pytest

from support.submissions import body, problem, take
from verdictd.contract.checker import FloatsChecker, LinesChecker, TokensChecker
from verdictd.errors import Problem


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
            "must be 'lines', 'exact', 'tokens', 'floats' or 'unordered_lines'",
        ),
        ({"type": "lines", "absolute": 1}, "/checker/absolute", "unknown field"),
        ({"type": "floats", "absolute": -1}, "/checker/absolute", "must be greater than or equal to 0"),
        (
            {"type": "floats", "relative": 2e9},
            "/checker/relative",
            "must be less than or equal to 1000000000",
        ),
        ({"type": "floats", "relative": True}, "/checker/relative", "must be a number"),
        ({"type": "tokens", "case_sensitive": 0}, "/checker/case_sensitive", "must be true or false"),
    ],
)
def test_problem_names_the_field_in_the_checker(checker: Any, path: str, message: str) -> None:
    """As elsewhere: without the kind, which is not a part of the path."""
    assert Problem(path, message) == problem(body(checker=checker))
