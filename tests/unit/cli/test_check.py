"""`verdictd check` reports how callbacks are signed."""

import pytest

from support.receiver import OTHER_SECRET, SECRET
from verdictd.cli.check import check
from verdictd.settings import CallbackSettings, Settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("secrets", "said"),
    [
        ("", "NOT signed: callbacks.secrets is empty"),
        (SECRET, "signed, with 1 secret"),
        (f"{SECRET} {OTHER_SECRET}", "signed, with 2 secrets"),
    ],
)
async def test_check_says_whether_callbacks_are_signed(secrets: str, said: str) -> None:
    """A missing secret is not a failure, but the operator is told."""
    callbacks = CallbackSettings.model_validate({"enabled": True, "secrets": secrets})
    checks = check(Settings(callbacks=callbacks), broker=False)
    _, found = await anext(checks), await anext(checks)

    assert ("callbacks", said, True) == (found.name, found.found, found.passed)
