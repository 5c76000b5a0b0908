"""Which addresses a callback may reach: seen in its URL, and checked again on the address connected to."""

import asyncio
import re
import socket
from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Network = IPv4Network | IPv6Network

# IANA's registries of special addresses; `is_global` knows a part of them, which depends on Python's version.
# IPv6 is given out from 2000::/3: loopback, private, link-local, multicast, mapped and NAT64 lie outside.
_IPV6_IN_USE = IPv6Network("2000::/3")
_SPECIAL: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where clouds answer questions about the machine
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
    """A callback may not go there: it ends, and is not tried again."""


class Egress:
    """What callbacks may reach: public addresses, allowed networks, and allowed hosts at any address."""

    def __init__(self, *, networks: Iterable[Network], hosts: Iterable[str], ports: Iterable[int]) -> None:
        self._networks = tuple(networks)
        self._hosts = frozenset(hosts)
        self._ports = frozenset(ports)

    def target(self, url: str) -> URL:
        """Return the URL as it is connected to; raise EgressDenied for what needs no look-up of its name."""
        if not url.isascii():
            raise EgressDenied("a URL has ASCII characters only; others are percent-encoded")
        try:
            target = URL(url)
            host = target.raw_host or ""
        except ValueError as error:
            raise EgressDenied(f"not a URL: {error}") from None
        if target.scheme not in {"http", "https"}:
            raise EgressDenied("must be an http or https URL")
        if target.raw_user is not None or target.raw_password is not None:
            raise EgressDenied("a URL with a user or a password is not taken")
        if target.port not in self._ports:
            ports = ", ".join(map(str, sorted(self._ports)))
            raise EgressDenied(f"port {target.port} is not allowed; these are: {ports}")
        if host not in self._hosts:
            self._check_host(host)
        return target

    def check(self, host: str, address: str) -> None:
        """Refuse an address that a host was found at; to be asked before a socket is opened for it."""
        # The words are the same for every address: of several that failed alike, aiohttp raises one as it is.
        if host not in self._hosts and not self._reaches(address):
            raise EgressDenied("the host has an address that callbacks may not reach")

    def _check_host(self, host: str) -> None:
        if ":" in host:
            if not self._reaches(host):
                raise EgressDenied(f"[{host}] is an address that callbacks may not reach")
        elif not _NAME.fullmatch(host):
            raise EgressDenied(f"{host[:100]!r} is not the name of a host")
        elif _NUMBER.fullmatch(host.rpartition(".")[2]) and not self._reaches(host):
            # Decimal, octal, hexadecimal and short forms are addresses to the system, but not to ipaddress.
            raise EgressDenied(f"{host[:100]} is not an address that callbacks may reach")

    def _reaches(self, text: str) -> bool:
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


class Resolver(AbstractResolver):
    """Looks names up in threads of its own, so that a name server that hangs keeps nobody else waiting."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a name."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Leave the threads to their owner."""
