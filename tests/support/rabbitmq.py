"""A RabbitMQ that is started, stopped and killed: loopback only, nothing of it is left when it ends."""

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support.broker import ERLANG_FLAGS, HOST, MEMORY_BYTES, Broker, BrokerFailed, script

START_LIMIT_S: Final = 120
STOP_LIMIT_S: Final = 30
NAMES_SAVED_S: Final = 1
# Below the kernel's range for outgoing connections, so that no client takes a port while the broker is down.
PORTS: Final = range(20_000, 32_000)
SHOWN_LINES: Final = 60
PRELOAD: Final = Path(__file__).parent / "preload.erl"


class PrivateBroker(Broker):
    """One RabbitMQ node with its own ports, data, cookie and port mapper; leaving the block removes all."""

    def __init__(self, *, feature_flags: str | None = None) -> None:
        """`feature_flags`: those that are enabled, separated by commas; None: all."""
        self._feature_flags = {} if feature_flags is None else {"RABBITMQ_FEATURE_FLAGS": feature_flags}
        port, self._dist_port, epmd_port = free_ports(3)
        super().__init__(Path(tempfile.mkdtemp(prefix="verdictd-broker-")), port=port, epmd_port=epmd_port)
        (self.folder / "home").mkdir()
        (self.folder / "plugins").write_text("[].\n")
        # Alarms stop publishers; a small or a full test machine is no reason for one.
        (self.folder / "rabbitmq.conf").write_text(
            f"vm_memory_high_watermark.absolute = {MEMORY_BYTES}\ndisk_free_limit.absolute = 1MB\n"
        )
        shutil.copy(PRELOAD, self.folder)
        self._log = self.folder / "log"
        # Children die with the thread that starts them (see `_spawn`), so one thread of ours starts them all.
        self._parent = ThreadPoolExecutor(max_workers=1, thread_name_prefix="private-broker")
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<PrivateBroker {HOST}:{self.port} {state} in {self.folder}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        return self._node is not None and self._node.poll() is None

    @property
    def pid(self) -> int:
        """The process of the node, which is running."""
        assert self._node is not None
        return self._node.pid

    def start(self) -> None:
        """Start the node, with the data it had if it ran before, and wait until it takes connections."""
        self._start_port_mapper()
        self._node = self._spawn([script("rabbitmq-server")])
        self._wait_until(self._greets, START_LIMIT_S)

    def stop(self) -> None:
        """End the node in good order, as an operator would; its data stay."""
        if self._node is None:
            return
        self._node.terminate()
        try:
            self._node.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._end_node()
            raise BrokerFailed(self._described(f"did not stop within {STOP_LIMIT_S} s")) from None
        self._node = None

    def kill(self) -> None:
        """End the node at once, as a power cut would; its data stay."""
        # RabbitMQ 3.10 writes the names of new quorum queues to disk half a second late. A kill before then
        # loses queues that were confirmed, which is not what our tests are about.
        time.sleep(NAMES_SAVED_S)
        self._end_node()

    def close(self) -> None:
        """End every process of it and remove its folder."""
        self._end_node()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        self._parent.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_port_mapper(self) -> None:
        """Start Erlang's port mapper, which outlives restarts of the node."""
        if self._epmd is None:
            self._epmd = self._spawn(["epmd", "-port", str(self.epmd_port), "-address", HOST])
            self._wait_until(lambda: connects(self.epmd_port), STOP_LIMIT_S)

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        """Start a child that the kernel kills when we end, even if we are killed ourselves."""
        # The mark lives through every exec, from setpriv by way of the scripts to the Erlang machine, whose
        # pid is thus the child's own. It is bound to the thread that forks, not to its process: started from
        # a passing thread, as `asyncio.to_thread` uses, the broker would end with that thread.
        with self._log.open("ab") as log:
            try:
                return self._parent.submit(
                    subprocess.Popen,
                    ["setpriv", "--pdeathsig", "KILL", *argv],
                    env=self.environment(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                ).result()
            except FileNotFoundError as error:
                raise BrokerFailed("setpriv (Debian package util-linux) is not installed") from error

    def environment(self) -> dict[str, str]:
        """Return all that the scripts of RabbitMQ and Erlang read."""
        # The script does not start RabbitMQ itself then, but leaves that to the arguments.
        preloaded = f'-eval file:script("{self.folder / PRELOAD.name}") -s rabbit boot'
        return (
            super().environment()
            | self._feature_flags
            | {
                "RABBITMQ_NODE_IP_ADDRESS": HOST,
                "RABBITMQ_NODE_PORT": str(self.port),
                "RABBITMQ_DIST_PORT": str(self._dist_port),
                "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
                "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
                "RABBITMQ_LOG_BASE": str(self.folder),
                "RABBITMQ_LOGS": "-",  # to standard output, where the scripts and Erlang write too
                "RABBITMQ_NODE_ONLY": "true",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 2:2 {ERLANG_FLAGS} {preloaded}",
                "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, and does not watch over it
            }
        )

    def _wait_until(self, ready: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not ready():
            for child in (self._epmd, self._node):
                if child is not None and child.poll() is not None:
                    raise BrokerFailed(self._described(f"ended with {child.returncode} while it started"))
            if time.monotonic() > deadline:
                raise BrokerFailed(self._described(f"did not start within {limit_s} s"))
            time.sleep(0.05)

    def _greets(self) -> bool:
        """Whether the broker answers a client: opening its port is the last step of its start."""
        try:
            with socket.create_connection((HOST, self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # the type of the frame that carries connection.start
        except OSError:
            return False

    def _end_node(self) -> None:
        if self._node is not None:
            self._node.kill()
            self._node.wait()
            self._node = None

    def _described(self, what: str) -> str:
        log = self._log.read_text(errors="replace").splitlines()
        return "\n".join([f"the private broker {what}; the end of its log:", *log[-SHOWN_LINES:]])


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
        if len(free) == count:
            return free
    raise BrokerFailed("no free port on the loopback address")


def connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
