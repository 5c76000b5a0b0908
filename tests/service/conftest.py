"""A real RabbitMQ for the tests of the service."""

from collections.abc import Iterator

import pytest

from support.rabbitmq import PrivateBroker


@pytest.fixture(scope="session")
def broker() -> Iterator[PrivateBroker]:
    """One broker that all tests share: leave it running; `amqp_url` is a virtual host of your own."""
    with PrivateBroker() as broker:
        yield broker


@pytest.fixture
def amqp_url(broker: PrivateBroker) -> str:
    """The URL of an empty virtual host, for this test alone."""
    return broker.fresh_vhost()


@pytest.fixture(scope="session")
def frail_broker() -> Iterator[PrivateBroker]:
    """The other broker that tests share; see `rabbitmq`."""
    with PrivateBroker() as broker:
        yield broker


@pytest.fixture
def rabbitmq(frail_broker: PrivateBroker) -> PrivateBroker:
    """A broker that tests may stop, kill and freeze; it is running when a test begins.

    Each works on a virtual host of its own, and leaves all else as it was.
    """
    if not frail_broker.running:
        frail_broker.start()
    return frail_broker
