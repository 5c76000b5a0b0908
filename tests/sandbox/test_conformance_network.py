"""Ways out of a box other than files: networks, and resources that the kernel shares between processes."""

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.conformance import Box, Executable, answers, embedded_only, fresh_box, prog
from sandbox.host import wait_until
from support.processes import alive

CLOSED = {"EPERM", "ENOSYS", "EAFNOSUPPORT"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on a free port of the host's loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def test_only_network_interface_is_its_own_loopback(box: Box) -> None:
    """There is nothing else to send through."""
    assert ["lo"] == box.run(prog("interfaces")).lines


def test_server_of_the_host_is_not_reached(box: Box, listener: socket.socket) -> None:
    """127.0.0.1 inside is not that of the host."""
    ran = box.run(prog("connect", listener.getsockname()[1], "hello"))
    listener.setblocking(False)

    assert ran.lines[0] in {"ECONNREFUSED", "ENETUNREACH"}
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_server_of_the_host_is_reached_where_the_network_is_shared(box: Box, listener: socket.socket) -> None:
    """`--share-net` gives the network of the host."""
    ran = box.run(prog("connect", listener.getsockname()[1], "hello"), "--share-net")
    connection, _ = listener.accept()
    with connection:
        received = connection.recv(100)

    assert (["ok"], b"hello") == (ran.lines, received)


def test_abstract_socket_of_the_host_is_not_reached(box: Box) -> None:
    """Unix sockets without a file belong to the network as well."""
    name = f"verdictd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()

        assert ["ECONNREFUSED"] == box.run(prog("connect-abstract", name)).lines


def test_shared_memory_of_another_box_is_not_found(executable: Executable, program: Path, box: Box) -> None:
    """System V shared memory, although everybody may use it by its key, belongs to one run."""
    key = 0x56455244
    ready = prog("sleep", 20, uuid.uuid4().hex)
    script = f"/box/prog make-shared-memory {key}; exec {' '.join(map(str, ready))}"
    with (
        fresh_box(executable, program=program) as other,
        other.started(["/bin/sh", "-c", script], "--processes=2"),
    ):
        wait_until(lambda: alive(ready))

        assert ["ENOENT"] == box.run(prog("shmget", key)).lines


def test_ways_from_box_to_box_are_closed(box: Box) -> None:
    """What the kernel keeps for all boxes together would carry messages between them."""
    answered = answers(box, ["keyctl", "vsock", "flock", "lock", "io_uring"])

    assert {} == {way: answer for way, answer in answered.items() if answer not in CLOSED | {"EACCES"}}


@embedded_only
def test_ways_that_isolate_leaves_open_are_closed(box: Box) -> None:
    """What carries messages between boxes is refused, and what is too new to be known."""
    answered = answers(box, ["lock-by-high-bits", "add_key", "inotify", "fanotify", "crypto", "newest"])

    assert {} == {way: answer for way, answer in answered.items() if answer not in CLOSED}
