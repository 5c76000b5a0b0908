"""What the libraries raise about a connection, in one word of ours."""

import pytest

from verdictd.amqp.connection import amqp_errors
from verdictd.errors import BrokerUnavailable


def test_channel_that_closed_without_a_reason_is_a_lost_connection() -> None:
    """aiormq has a bare Exception for it, which nobody else would catch."""
    with (
        pytest.raises(BrokerUnavailable, match="cannot settle: the connection was lost"),
        amqp_errors("cannot settle"),
    ):
        raise Exception


def test_fault_of_our_own_passes() -> None:
    """It is no trouble of the broker, and is not to be tried again for ever."""
    with pytest.raises(ValueError, match="ours"), amqp_errors("cannot settle"):
        raise ValueError("ours")
