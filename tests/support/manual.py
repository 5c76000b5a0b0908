"""What systemd/README.md tells operators to type, and a RabbitMQ with the plugins that it names."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.rabbitmq import HOST, SCRIPTS, PrivateBroker, free_ports

TEXT = (Path(__file__).parents[2] / "systemd" / "README.md").read_text()
PASSWORD = "as-it-was-typed"
PLUGINS = ("rabbitmq_management", "rabbitmq_prometheus", "rabbitmq_shovel")


def section(heading: str) -> str:
    """The text under a heading."""
    (found,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def commands(heading: str) -> list[list[str]]:
    """The commands under a heading, each as its words."""
    found: list[list[str]] = []
    begun = ""
    for line in "".join(
        re.findall(r"^```sh\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    ).splitlines():
        begun += line.removesuffix("\\") + ("" if line.endswith("\\") else "\n")
        if begun.endswith("\n") and is_whole(begun):
            found.append(shlex.split(begun, comments=True))
            begun = ""
    return found


def is_whole(command: str) -> bool:
    """Whether every quotation in it has its end."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


class Operator:
    """Types commands at a broker of their own, whose plugins listen on the loopback address."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.broker = broker
        self.management_port, self.prometheus_port = free_ports(2)
        (broker.folder / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        with (broker.folder / "rabbitmq.conf").open("a") as settings:
            for plugin in ("management", "prometheus"):
                port = getattr(self, f"{plugin}_port")
                settings.write(f"{plugin}.tcp.ip = {HOST}\n{plugin}.tcp.port = {port}\n")

    def url(self, user: str) -> str:
        """The URL for a user that was added."""
        return self.broker.url.replace("guest:guest", f"{user}:{PASSWORD}")

    def run(self, words: list[str]) -> str:
        """What a command prints; a password that it asks for is given."""
        program, *arguments = words
        match program:
            case "rabbitmqctl":
                asked = [PASSWORD] if arguments[0] == "add_user" else []
                return self.broker.ctl(*arguments, *asked)
            case "rabbitmqadmin":
                return self._admin(arguments)
            case _:
                raise AssertionError(f"not a command for RabbitMQ: {words}")

    def admin_argv(self) -> list[str]:
        """The `rabbitmqadmin` that comes with the plugin, for this broker."""
        (path,) = SCRIPTS.parent.glob("lib/*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin")
        return [sys.executable, str(path), f"--port={self.management_port}"]

    def _admin(self, arguments: list[str]) -> str:
        done = subprocess.run(
            [*self.admin_argv(), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def operated() -> Iterator[Operator]:
    """An operator at a new broker, which ends with the block."""
    broker = PrivateBroker()
    try:
        operator = Operator(broker)
        with broker:
            yield operator
    finally:
        broker.close()
