"""The other end of sd_notify(3): what a service tells its manager."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Manager:
    """A socket like systemd's. `told` grows: the moment on the monotonic clock, and the state."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.told: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def states(self, name: str = "") -> list[str]:
        """What was told so far under names that begin so: `STATUS`."""
        return [state for _, state in list(self.told) if state.startswith(name)]

    def close(self) -> None:
        """Listen no longer."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(10)
        self._socket.close()

    def _read(self) -> None:
        while message := self._socket.recv(65_536):
            self.told += [(time.monotonic(), state) for state in message.decode().split("\n")]


@contextmanager
def manager(folder: Path) -> Iterator[Manager]:
    """A manager that listens for as long as the block lasts."""
    listening = Manager(str(folder / "notify"))
    try:
        yield listening
    finally:
        listening.close()
