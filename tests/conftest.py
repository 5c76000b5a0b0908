"""What all tests share."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """aio-pika and the daemon are written for asyncio."""
    return "asyncio"
