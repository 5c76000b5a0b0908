"""Hosts: names that a daemon answers to."""

import pytest

from verdictd.settings import HttpSettings
from verdictd.web.hosts import allowed_hosts, host_of


@pytest.mark.parametrize(
    ("bound", "allowed", "refused"),
    [
        ("127.0.0.1", "127.0.0.1 localhost [::1]", "10.0.0.1 evil.example"),
        ("127.0.0.2", "127.0.0.2 localhost:80", "127.0.0.3"),
        ("localhost", "127.0.0.1 [::1]:8080 localhost", "evil.example"),
        ("10.0.0.1", "10.0.0.1:8080", "localhost 127.0.0.1 10.0.0.2"),
        ("0.0.0.0", "10.0.0.1 [2001:db8::1]:80 localhost", "evil.example 10.0.0.1.evil.example"),  # noqa: S104 - not bound
        ("::", "10.0.0.1 [2001:DB8:0::1] localhost", "evil.example"),
        ("judge-1", "JUDGE-1. 10.0.0.1", "localhost judge-1.evil.example"),
    ],
)
def test_hosts_that_are_allowed_by_default(bound: str, allowed: str, refused: str) -> None:
    """The address bound to; on all addresses, every address, as no name can stand for it."""
    is_allowed = allowed_hosts(HttpSettings(host=bound))

    assert all(is_allowed(host_of(host)) for host in allowed.split())
    assert not any(is_allowed(host_of(host)) for host in refused.split())
