"""Places for connections: which of them give way to a new one."""

import pytest

from verdictd.web.connections import Places, client_of

PER_CLIENT = 9


class Held:
    """A connection in one state."""

    def __init__(self, *, is_waiting: bool = False, is_sending: bool = False) -> None:
        self.is_waiting = is_waiting
        self.is_sending = is_sending
        self.gave_way = False

    def give_way(self) -> None:
        self.gave_way = True


def full(places: Places, client: str, **state: bool) -> list[Held]:
    """All places of one client, taken."""
    held = [Held(**state) for _ in range(PER_CLIENT)]
    assert all(places.take(connection, client) for connection in held)
    return held


@pytest.mark.parametrize("state", [{"is_waiting": True}, {"is_sending": True}])
def test_oldest_of_the_client_with_the_most_gives_way(state: dict[str, bool]) -> None:
    """Whoever comes: the client itself, or another one when no place is left."""
    places = Places(max_requests=1)
    most = full(places, "10.0.0.1", **state)
    few = [Held(**state) for _ in range(PER_CLIENT)]
    taken = [places.take(connection, f"10.0.1.{number}") for number, connection in enumerate(few)]
    own, other = places.take(Held(), "10.0.0.1"), places.take(Held(), "10.0.0.2")

    assert all((*taken, own, other))
    assert [True, True, *[False] * (PER_CLIENT - 2)] == [connection.gave_way for connection in most]
    assert not any(connection.gave_way for connection in few)


def test_requests_in_progress_keep_their_places() -> None:
    """A client has no more than its own, and others theirs; a place that is left can be taken."""
    places = Places(max_requests=1)
    first, second = full(places, "10.0.0.1"), full(places, "10.0.0.2")
    refused = [places.take(Held(), client) for client in ("10.0.0.1", "10.0.0.3")]
    places.leave(first[0], "10.0.0.1")
    places.leave(first[0], "10.0.0.1")
    again = [places.take(Held(), "10.0.0.3") for _ in range(2)]

    assert [False, False] == refused
    assert [True, False] == again
    assert not any(connection.gave_way for connection in first + second)


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_client_of_an_address(address: str, client: str) -> None:
    """With IPv6 a client chooses among the addresses of its network."""
    assert client == client_of(address)
