"""Places for connections: bounded in all and for each client, and taken from those that send no request."""

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Protocol

_PAGES = 8  # of each client, beside its submissions: probes, status, documents


class Connection(Protocol):
    """A connection as its places see it."""

    @property
    def is_waiting(self) -> bool:
        """No request is in progress: the client has not sent a whole head, or not yet the next one."""

    @property
    def is_sending(self) -> bool:
        """A response is on its way to a client that does not read it fast enough."""

    def give_way(self) -> None:
        """Close the connection at once."""


class Places:
    """Places of all connections. State: the connections of each client, the oldest first, and their number.

    Clients that send half a request, or do not read a response, cannot keep others out: in a full house the
    oldest such connection of the client with the most of them makes room for a new one.
    """

    def __init__(self, max_requests: int) -> None:
        self._per_client = max_requests + _PAGES
        self._total = 2 * self._per_client
        self._held: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._count = 0

    def take(self, connection: Connection, address: str) -> bool:
        """Give this connection a place, if there is one or room can be made."""
        client = client_of(address)
        if len(self._held[client]) >= self._per_client:
            has_room = self._make_room([client])
        else:
            has_room = self._count < self._total or self._make_room(self._largest_first())
        if has_room:
            self._held[client][connection] = None
            self._count += 1
        return has_room

    def leave(self, connection: Connection, address: str) -> None:
        """Free the place of a connection, if it still has one."""
        client = client_of(address)
        held = self._held[client]
        if connection in held:
            del held[connection]
            self._count -= 1
        if not held:
            del self._held[client]

    def _largest_first(self) -> list[str]:
        return sorted(self._held, key=lambda client: len(self._held[client]), reverse=True)

    def _make_room(self, clients: Iterable[str]) -> bool:
        for client in clients:
            held = self._held[client]
            waiting = (connection for connection in held if connection.is_waiting)
            sending = (connection for connection in held if connection.is_sending)
            oldest = next(waiting, None) or next(sending, None)
            if oldest is not None:
                del held[oldest]
                self._count -= 1
                oldest.give_way()
                return True
        return False


def client_of(address: str) -> str:
    """Return the client that an address belongs to: with IPv6, whoever has its network of 64 bits."""
    parsed = ip_address(address)
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
