"""What the libraries raise about a connection, in one word of ours."""

import pytest

from verdictd.connections import translated
from verdictd.errors import BrokerUnavailable


def test_channel_that_closed_without_a_reason_is_a_lost_connection() -> None:
    """aiormq has a bare Exception for it, which nobody else would catch."""
    with (
        pytest.raises(BrokerUnavailable, match="cannot settle: the connection was lost"),
        translated("cannot settle"),
    ):
        raise Exception


def test_fault_of_our_own_passes() -> None:
    """It is no trouble of the broker, and is not to be tried again for ever."""
    with pytest.raises(ValueError, match="ours"), translated("cannot settle"):
        raise ValueError("ours")
