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


@pytest.fixture
def own_broker() -> Iterator[PrivateBroker]:
    """A broker for this test alone, which may stop, kill and start it."""
    with PrivateBroker() as broker:
        yield broker


@pytest.fixture(scope="module")
def module_broker() -> Iterator[PrivateBroker]:
    """A broker for the tests of one module; see `rabbitmq`."""
    with PrivateBroker() as broker:
        yield broker


@pytest.fixture
def rabbitmq(module_broker: PrivateBroker) -> PrivateBroker:
    """The broker of this module, which tests may stop and freeze; it is running when a test begins."""
    if not module_broker.running:
        module_broker.start()
    return module_broker
