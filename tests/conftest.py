"""What all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# How fast an example is says more about the machine than about what is tested.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aio-pika and the daemon are written for asyncio."""
    return "asyncio"
