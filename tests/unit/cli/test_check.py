"""`verdictd check` reports how callbacks are signed, and where test data comes from."""

from pathlib import Path
from typing import Any

import pytest

from support.receiver import OTHER_SECRET, SECRET
from verdictd.cli.check import Check, check_callbacks, check_data
from verdictd.settings import CallbackSettings, DataSettings


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ("", "NOT signed: callbacks.secrets is empty"),
        (SECRET, "signed, with 1 secret"),
        (f"{SECRET} {OTHER_SECRET}", "signed, with 2 secrets"),
    ],
)
def test_check_says_whether_callbacks_are_signed(secrets: str, said: str) -> None:
    """A missing secret is not a failure, but the operator is told."""
    callbacks = CallbackSettings.model_validate({"enabled": True, "secrets": secrets})
    found = check_callbacks(callbacks)

    assert ("callbacks", said, True) == (found.name, found.found, found.passed)


def data_check(**settings: Any) -> Check:
    return check_data(DataSettings.model_validate(settings))


def test_check_says_where_test_data_comes_from(tmp_path: Path) -> None:
    """And how full its cache is, which is made if it is missing."""
    found = data_check(directory=tmp_path, allow_urls=True, cache_directory=tmp_path / "a" / "cache")

    said = f"files below {tmp_path} and URLs of public addresses; 0 of 10240 MiB in {tmp_path}/a/cache"
    assert Check("test data", said) == found


@pytest.mark.parametrize("name", ["directory", "cache_directory"])
def test_check_fails_if_test_data_cannot_be_used(tmp_path: Path, name: str) -> None:
    """The message names the directory, the remedy names the settings."""
    (tmp_path / "file").touch()
    settings = {
        "directory": tmp_path,
        "cache_directory": tmp_path / "cache",
        name: tmp_path / "file" / "none",
    }
    found = data_check(**settings)

    assert (False, f"{tmp_path}/file/none: Not a directory") == (found.passed, found.found)
    assert name in (found.remedy or "")
