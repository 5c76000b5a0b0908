"""Addresses that HTTP requests of the daemon may reach: checked in the URL, and when a socket is opened."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

Network = IPv4Network | IPv6Network

# IANA's registries of special-purpose addresses; `is_global` covers only some of them, depending on the
# version of Python. Public IPv6 addresses are allocated from 2000::/3; loopback, private, link-local,
# multicast, mapped and NAT64 addresses lie outside.
_IPV6_IN_USE = IPv6Network("2000::/3")
_SPECIAL: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone
        "3fff::/20",  # documentation
    )
)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class EgressDenied(OSError):
    """The rules do not allow this address: do not send the request, and do not retry it."""


class Egress:
    """Rules for requests: public addresses, allowed networks, and allowed hosts at any address."""

    def __init__(self, *, networks: Iterable[Network], hosts: Iterable[str], ports: Iterable[int]) -> None:
        self._networks = tuple(networks)
        self._hosts = frozenset(hosts)
        self._ports = frozenset(ports)

    def target(self, url: str) -> URL:
        """Parse the URL and check all that does not need a DNS look-up; raises EgressDenied."""
        if not url.isascii():
            raise EgressDenied("a URL must be ASCII; percent-encode other characters")
        try:
            target = URL(url)
            host = target.raw_host or ""
        except ValueError as error:
            raise EgressDenied(f"is not a URL: {error}") from None
        if target.scheme not in {"http", "https"}:
            raise EgressDenied("must be an http or https URL")
        if target.raw_user is not None or target.raw_password is not None:
            raise EgressDenied("a URL with a user name or a password is not accepted")
        if target.port not in self._ports:
            ports = ", ".join(map(str, sorted(self._ports)))
            raise EgressDenied(f"port {target.port} is not allowed; allowed: {ports}")
        if host not in self._hosts:
            self._check_host(host)
        return target

    def check(self, host: str, address: str) -> None:
        """Check an address that a host resolved to, before a socket is opened; raises EgressDenied."""
        # The text must be the same for every address: if all attempts to connect fail with the same text,
        # aiohttp raises that exception itself, and only then its type is seen.
        if host not in self._hosts and not self._is_allowed(address):
            raise EgressDenied("the host has an address that may not be reached")

    def _check_host(self, host: str) -> None:
        if ":" in host:
            if not self._is_allowed(host):
                raise EgressDenied(f"[{host}] is an address that may not be reached")
        elif not _NAME.fullmatch(host):
            raise EgressDenied(f"{host[:100]!r} is not a valid host name")
        elif _NUMBER.fullmatch(host.rpartition(".")[2]) and not self._is_allowed(host):
            # The system reads decimal, octal, hexadecimal and short forms as addresses; ipaddress does not.
            raise EgressDenied(f"{host[:100]} is not an address that may be reached")

    def _is_allowed(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if any(address in network for network in self._networks):
            return True
        return _is_public(address)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _IPV6_IN_USE or address.scope_id is not None):
        return False
    return not any(address in network for network in _SPECIAL)
