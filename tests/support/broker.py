"""A running RabbitMQ of our own, as tests and harnesses talk to it."""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

HOST: Final = "127.0.0.1"
ANSWER_LIMIT_S: Final = 120
NODE: Final = "verdictd@localhost"
# Debian's commands in /usr/sbin insist on the user rabbitmq and its folders; the scripts behind them do not.
SCRIPTS: Final = Path("/usr/lib/rabbitmq/bin")
# Erlang's own channel between nodes stays on loopback too, and no machine-wide port mapper is started.
ERLANG_FLAGS: Final = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
MEMORY_BYTES: Final = 4_000_000_000


class BrokerFailed(Exception):
    """The broker cannot be started, stopped or told something; the message says why."""


class Broker:
    """A node that runs, whoever started it; its data, logs and settings are in its folder.

    State: how many names were given away, and the virtual hosts that `delete_vhosts` deletes.
    """

    def __init__(self, folder: Path, *, port: int, epmd_port: int) -> None:
        self.folder = folder
        """In the environment of each of its processes."""
        self.port, self.epmd_port = port, epmd_port
        self._numbers = itertools.count()
        self._vhosts: list[str] = []

    @property
    def url(self) -> str:
        """The URL of its default virtual host."""
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    def fresh_vhost(self) -> str:
        """Make a virtual host whose name was never used before, by any process; return its URL."""
        name = f"test-{os.getpid()}-{next(self._numbers)}"
        self.add_vhost(name)
        self._vhosts.append(name)
        return self.url + name

    def delete_vhosts(self) -> None:
        """Delete the virtual hosts that were made so."""
        while self._vhosts:
            self.delete_vhost(self._vhosts.pop())

    def add_vhost(self, name: str) -> None:
        """Make a virtual host in which guest may do everything."""
        self.evaluate(f'ok = rabbit_vhost:add(<<"{name}">>, <<"tests">>)')
        self.permit_guest(name, ".*")

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host: each quorum queue costs RabbitMQ time as long as there is one."""
        self.evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>)')

    def permit_guest(self, name: str, pattern: str) -> None:
        """Let guest configure, write and read what matches, in one virtual host."""
        words = ", ".join(f'<<"{word}">>' for word in ("guest", name, *[pattern] * 3, "tests"))
        self.evaluate(f"rabbit_auth_backend_internal:set_permissions({words})")

    def close_connections(self, name: str, client: str | None = None) -> None:
        """End all connections of a virtual host with the reason `test`, or those with one client's name."""
        named = f'lists:member({{<<"connection_name">>, longstr, <<"{client}">>}}, Properties)'
        self.evaluate(
            f'[rabbit_networking:close_connection(Pid, "test") || [{{pid, Pid}}, {{vhost, <<"{name}">>}},'
            " {client_properties, Properties}] <- rabbit_networking:connection_info_all("
            f"[pid, vhost, client_properties]), {named if client else 'true'}]"
        )

    @asynccontextmanager
    async def memory_alarm(self) -> AsyncIterator[None]:
        """Short of memory, by its own account: it blocks whoever publishes until the block ends."""
        await asyncio.to_thread(self._set_memory, 1_000_000)
        try:
            yield
        finally:
            await asyncio.to_thread(self._set_memory, MEMORY_BYTES)

    def _set_memory(self, size_bytes: int) -> None:
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({{absolute, {size_bytes}}})")

    def counted(self, queue: str) -> int:
        """Return how many messages a quorum queue of the default virtual host had at the last count.

        `rabbitmqctl list_queues` shows that number; RabbitMQ counts every few seconds.
        """
        counts = f'ets:lookup(queue_coarse_metrics, rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))'
        return int(self.evaluate(f"lists:sum([element(4, Counts) || Counts <- {counts}])"))

    def evaluate(self, expression: str) -> str:
        """Return what an Erlang expression is in the node, for a hundredth of what `rabbitmqctl` costs."""
        cookie = (self.folder / "home" / ".erlang.cookie").read_text()
        caller = f"test-{os.getpid()}-{next(self._numbers)}"  # two of one name keep each other out
        done = subprocess.run(
            [script("erl_call"), "-sname", NODE, "-h", caller, "-c", cookie, "-e"],
            env=self.environment(),
            input=f"{expression}.\n",
            capture_output=True,
            text=True,
            timeout=ANSWER_LIMIT_S,
            check=False,
        )
        answer = done.stdout.removeprefix("{ok, ").removesuffix("}")
        if done.returncode != 0 or answer == done.stdout or answer.startswith("{error"):
            raise BrokerFailed(f"{expression}: {done.stderr.strip() or done.stdout.strip()}")
        return answer

    def evaluate_json(self, expression: str) -> Any:
        """Return what an Erlang expression is in the node, of maps, lists, strings and numbers."""
        return json.loads(self.evaluate(f"binary_to_list(rabbit_json:encode({expression}))")[1:-1])

    def ctl(self, *arguments: str) -> str:
        """Return what `rabbitmqctl` prints; costs a second of a processor."""
        done = subprocess.run(
            [script("rabbitmqctl"), "--quiet", *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerFailed(
                f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Return all that a command for it reads, and nothing of the machine's own broker."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),  # where Erlang makes and finds the cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any free port, where a fixed range could be taken
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_CTL_ERL_ARGS": f"+S 1:1 {ERLANG_FLAGS}",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
        }


def vhost(url: str) -> str:
    """Return the name of the virtual host of a URL."""
    return urlsplit(url).path.removeprefix("/") or "/"


def script(name: str) -> str:
    """Return a command of RabbitMQ or Erlang that runs as any user."""
    found = shutil.which(name, path=SCRIPTS) or shutil.which(name)
    if found is None:
        raise BrokerFailed(
            f"{name} is not installed: `.ci/setup` installs it (Debian package rabbitmq-server)"
        )
    return found
