"""Pydantic's errors in words."""

import pytest
from pydantic import ValidationError

from verdictd.contract.limits import Limits
from verdictd.contract.validation import explain


def test_every_error_names_its_place_and_its_reason() -> None:
    """An unknown key is named as the caller wants it; the error of a whole table has its path too."""
    tables = {"words": -1, "colour": 1, "cpu_time_limit": {"min": 3}}
    with pytest.raises(ValidationError) as caught:
        Limits.model_validate(tables)

    assert [
        "cpu_time_limit: must satisfy 0 <= min <= default <= max, got min = 3.0, default = 2.0, max = 60.0",
        "words: must be greater than or equal to 0",
        "colour: no such setting",
    ] == explain(caught.value, unknown="no such setting")


@pytest.mark.parametrize("value", [1.5, "x", 0])
def test_bound_of_an_integer_takes_integers_from_one_only(value: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({"number_of_runs": {"min": value}})
