"""`verdictd check` reports how callbacks are signed."""

import pytest

from support.receiver import OTHER_SECRET, SECRET
from verdictd.cli.check import check_callbacks
from verdictd.settings import CallbackSettings


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
