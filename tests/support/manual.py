"""Commands and examples that the documents print, and a RabbitMQ with the plugins that operators use."""

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


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of one language, in order."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return found


def section(heading: str) -> str:
    """The text under a heading of systemd/README.md."""
    (found,) = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def commands(heading: str) -> list[list[str]]:
    """The commands under a heading, each as its words."""
    found: list[list[str]] = []
    begun = ""
    for line in "".join(blocks("sh", section(heading))).splitlines():
        begun += line.removesuffix("\\") + ("" if line.endswith("\\") else "\n")
        if begun.endswith("\n") and is_whole(begun):
            found.append(shlex.split(begun, comments=True))
            begun = ""
    return found


def is_whole(command: str) -> bool:
    """Return True if every quotation in it is closed."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


class Operator:
    """Operator of a private broker, whose plugins listen on the loopback address."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.broker = broker
        self.management_port, self.prometheus_port = free_ports(2)
        (broker.folder / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        with (broker.folder / "rabbitmq.conf").open("a") as settings:
            for plugin in ("management", "prometheus"):
                port = getattr(self, f"{plugin}_port")
                settings.write(f"{plugin}.tcp.ip = {HOST}\n{plugin}.tcp.port = {port}\n")

    def url(self, user: str) -> str:
        """Return the URL for a user that was added."""
        return self.broker.url.replace("guest:guest", f"{user}:{PASSWORD}")

    def run(self, words: list[str]) -> str:
        """Run a command and return its output; answer with a password if it asks for one."""
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
        """Return the command line of the plugin's `rabbitmqadmin` for this broker."""
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
    """Yield an operator at a new broker, which ends with the block."""
    broker = PrivateBroker()
    try:
        operator = Operator(broker)
        with broker:
            yield operator
    finally:
        broker.close()
