"""A real RabbitMQ of our own, for tests and the demo: loopback only, nothing of it is left when it ends."""

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
START_LIMIT_S: Final = 60
STOP_LIMIT_S: Final = 30
NAMES_SAVED_S: Final = 1
# Debian's commands in /usr/sbin insist on the user rabbitmq and its folders; the scripts behind them do not.
SCRIPTS: Final = Path("/usr/lib/rabbitmq/bin")
# Below the kernel's range for outgoing connections, so that no client takes a port while the broker is down.
PORTS: Final = range(20_000, 32_000)
VHOST_BATCH: Final = 16
SHOWN_LINES: Final = 60
# Erlang's own channel between nodes stays on loopback too, and no machine-wide port mapper is started.
ERLANG_FLAGS: Final = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"


class BrokerFailed(Exception):
    """The private broker cannot be started, stopped or told something; the message says why."""


class PrivateBroker:
    """One RabbitMQ node with its own ports, data, cookie and port mapper; leaving the block removes all."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="verdictd-broker-"))
        (self._folder / "home").mkdir()
        (self._folder / "plugins").write_text("[].\n")
        # Alarms stop publishers; a small or a full test machine is no reason for one.
        (self._folder / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.absolute = 4GB\ndisk_free_limit.absolute = 1MB\n"
        )
        self._log = self._folder / "log"
        self._port, self._dist_port, self._epmd_port = free_ports(3)
        # Children die with the thread that starts them (see `_spawn`), so one thread of ours starts them all.
        self._parent = ThreadPoolExecutor(max_workers=1, thread_name_prefix="private-broker")
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._making_vhosts = threading.Lock()
        self._vhosts_made = 0
        self._vhosts_free: list[str] = []

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<PrivateBroker {HOST}:{self._port} {state} in {self._folder}>"

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
    def folder(self) -> Path:
        """Where its data, logs and settings are; in the environment of each of its processes."""
        return self._folder

    @property
    def running(self) -> bool:
        return self._node is not None and self._node.poll() is None

    @property
    def url(self) -> str:
        """The URL of its default virtual host."""
        return f"amqp://guest:guest@{HOST}:{self._port}/"

    def fresh_vhost(self) -> str:
        """The URL of a virtual host never used before; made in batches, as a command costs half a second."""
        with self._making_vhosts:
            if not self._vhosts_free:
                self._vhosts_free = self._make_vhosts()
            return self.url + self._vhosts_free.pop(0)

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

    @asynccontextmanager
    async def memory_alarm(self) -> AsyncIterator[None]:
        """Short of memory, by its own account: it blocks whoever publishes until the block ends."""
        await asyncio.to_thread(self.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            yield
        finally:
            await asyncio.to_thread(self.ctl, "set_vm_memory_high_watermark", "absolute", "4GB")

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints; costs about half a second."""
        done = subprocess.run(
            [script("rabbitmqctl"), "--quiet", *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerFailed(
                f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def close(self) -> None:
        """End every process of it and remove its folder."""
        self._end_node()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        self._parent.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_port_mapper(self) -> None:
        """Start Erlang's port mapper, which outlives restarts of the node."""
        if self._epmd is None:
            self._epmd = self._spawn(["epmd", "-port", str(self._epmd_port), "-address", HOST])
            self._wait_until(lambda: connects(self._epmd_port), STOP_LIMIT_S)

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
                    env=self._environment(),
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                ).result()
            except FileNotFoundError as error:
                raise BrokerFailed("setpriv (Debian package util-linux) is not installed") from error

    def _environment(self) -> dict[str, str]:
        """All that the scripts of RabbitMQ and Erlang read, and nothing of the machine's own broker."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self._folder / "home"),  # where Erlang makes and finds the cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": "verdictd@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any free port, where a fixed range could be taken
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_LOGS": "-",  # to standard output, where the scripts and Erlang write too
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 2:2 {ERLANG_FLAGS}",
            "RABBITMQ_CTL_ERL_ARGS": ERLANG_FLAGS,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, and does not watch over it
        }

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
            with socket.create_connection((HOST, self._port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # the type of the frame that carries connection.start
        except OSError:
            return False

    def _end_node(self) -> None:
        if self._node is not None:
            self._node.kill()
            self._node.wait()
            self._node = None

    def _make_vhosts(self) -> list[str]:
        first = self._vhosts_made
        names = [f"test-{number}" for number in range(first, first + VHOST_BATCH)]
        everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = self._folder / "definitions.json"
        definitions.write_text(
            json.dumps(
                {
                    "vhosts": [{"name": name} for name in names],
                    "permissions": [{"vhost": name, **everything} for name in names],
                }
            )
        )
        self.ctl("import_definitions", str(definitions))
        self._vhosts_made += VHOST_BATCH
        return names

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


def script(name: str) -> str:
    """The script of RabbitMQ that runs as any user."""
    found = shutil.which(name, path=SCRIPTS) or shutil.which(name)
    if found is None:
        raise BrokerFailed(
            f"{name} is not installed: `.ci/setup` installs it (Debian package rabbitmq-server)"
        )
    return found


def connects(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
