"""One RabbitMQ for all processes of a test run: it starts when the first needs it, and ends with the last."""

import fcntl
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

from support.broker import Broker, BrokerFailed
from support.manual import Operator, operated
from support.rabbitmq import START_LIMIT_S

LONGEST_ANSWER: Final = 1 << 16


@contextmanager
def shared_operator(folder: Path) -> Iterator[Operator]:
    """Yield the operator of the one broker of this folder, which lives until the last block has ended."""
    with (folder / "broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link, told = _joined(f"\0verdictd-tests-broker-{sha256(bytes(folder)).hexdigest()[:32]}")
    with link:
        broker = Broker(Path(told["folder"]), port=told["port"], epmd_port=told["epmd_port"])
        yield Operator(
            broker, management_port=told["management_port"], prometheus_port=told["prometheus_port"]
        )
        link.shutdown(socket.SHUT_WR)
        link.recv(1)  # the last waits until the broker has ended


def _joined(address: str) -> tuple[socket.socket, dict[str, Any]]:
    """Connect to the holder of the broker; start one where there is none, or one that is about to end."""
    deadline_s = time.monotonic() + 2 * START_LIMIT_S
    while time.monotonic() < deadline_s:
        link = socket.socket(socket.AF_UNIX)
        with suppress(ConnectionError):
            link.connect(address)
            if told := link.recv(LONGEST_ANSWER):
                return link, _checked(json.loads(told))
        link.close()
        _start_holder(address)
    raise BrokerFailed("the broker that the tests share can neither be reached nor started")


def _checked(told: dict[str, Any]) -> dict[str, Any]:
    if reason := told.get("failed"):
        raise BrokerFailed(reason)
    return told


def _start_holder(address: str) -> None:
    """Return when it listens, or cannot as there is another."""
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(address)
        except OSError:
            time.sleep(0.1)
            return
        listener.listen()
        subprocess.run(
            [sys.executable, "-m", "support.shared_broker", str(listener.fileno())],
            cwd=Path(__file__).parents[1],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
        )


def hold(listener: socket.socket) -> None:
    """Start the broker for the first client, and end it when the last is gone."""
    listener.settimeout(START_LIMIT_S)
    first, _ = listener.accept()
    try:
        with operated() as operator:
            last = serve(listener, first, describe(operator))
        last.close()
    except BrokerFailed as error:
        first.sendall(json.dumps({"failed": str(error)}).encode())


def describe(operator: Operator) -> bytes:
    """Return what a process has to know of the broker."""
    known = {
        "folder": str(operator.broker.folder),
        "port": operator.broker.port,
        "epmd_port": operator.broker.epmd_port,
        "management_port": operator.management_port,
        "prometheus_port": operator.prometheus_port,
    }
    return json.dumps(known).encode()


def serve(listener: socket.socket, first: socket.socket, told: bytes) -> socket.socket:
    """Tell all who connect where the broker is; return the connection of the last who needs it no more."""
    with selectors.DefaultSelector() as ready:

        def tell(link: socket.socket) -> None:
            with suppress(ConnectionError):
                link.sendall(told)
            ready.register(link, selectors.EVENT_READ)

        ready.register(listener, selectors.EVENT_READ)
        tell(first)
        while True:
            for key, _ in ready.select():
                link = cast(socket.socket, key.fileobj)
                if link is listener:
                    tell(listener.accept()[0])
                    continue
                ready.unregister(link)
                if len(ready.get_map()) == 1:
                    return link
                link.close()


if __name__ == "__main__":
    if os.fork() == 0:  # so that it belongs to none of the processes that use it
        with socket.socket(fileno=int(sys.argv[1])) as requests:
            hold(requests)
