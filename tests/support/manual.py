"""Commands and examples that the documents print, and a RabbitMQ with the plugins that operators use."""

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from support.broker import HOST, SCRIPTS, Broker
from support.rabbitmq import PrivateBroker, free_ports

TEXT = (Path(__file__).parents[2] / "systemd" / "README.md").read_text()
PASSWORD = "as-it-was-typed"
GUEST: Final = "Basic " + b64encode(b"guest:guest").decode()
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
    """Operator of a broker, whose plugins listen on the loopback address."""

    def __init__(self, broker: Broker, *, management_port: int, prometheus_port: int) -> None:
        self.broker = broker
        self.management_port, self.prometheus_port = management_port, prometheus_port

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

    @property
    def policies(self) -> list[dict[str, Any]]:
        """The policies of the default virtual host."""
        found: list[dict[str, Any]] = self._api("GET", "policies/%2F")
        return found

    def policies_by_queue(self) -> dict[str, str | None]:
        """Return the name of the policy that holds for each queue."""
        columns = "queues/%2F?disable_stats=true&columns=name,policy"
        return {queue["name"]: queue.get("policy") for queue in self._api("GET", columns)}

    def set_policy(self, name: str, pattern: str, definition: dict[str, Any]) -> None:
        """Set a policy for queues; faster than the printed command."""
        body = {"pattern": pattern, "definition": definition, "apply-to": "queues"}
        self._api("PUT", f"policies/%2F/{name}", body)

    def set_shovel(self, name: str, definition: dict[str, Any]) -> None:
        """Start a shovel; faster than the printed command."""
        self._api("PUT", f"parameters/shovel/%2F/{name}", {"value": definition})

    def begin_anew(self) -> None:
        """Remove all users but guest, and the queues and policies of the default virtual host."""
        # Not the virtual host itself: shovels of the one made in its place do not start.
        for kind in ("users", "queues/%2F", "policies/%2F"):
            for thing in self._api("GET", kind):
                if thing["name"] != "guest":
                    self._api("DELETE", f"{kind}/{thing['name']}")

    def permit(self, user: str, configure: str, write: str, read: str) -> None:
        """Make a user, if there is none of this name, with these rights; faster than the printed commands."""
        self._api("PUT", f"users/{user}", {"password": PASSWORD, "tags": ""})
        self._api("PUT", f"permissions/%2F/{user}", {"configure": configure, "write": write, "read": read})

    @property
    def shovels(self) -> list[str]:
        """The names of the shovels that run."""
        return [shovel["name"] for shovel in self._api("GET", "parameters/shovel")]

    def _api(self, method: str, path: str, body: object = None) -> Any:
        """Call the management plugin, and return what it answers."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": GUEST, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.loads(response.read() or b"null")

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
    ports = dict(zip(("management", "prometheus"), free_ports(2), strict=True))
    broker = PrivateBroker()
    (broker.folder / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
    with (broker.folder / "rabbitmq.conf").open("a") as settings:
        for plugin, port in ports.items():
            settings.write(f"{plugin}.tcp.ip = {HOST}\n{plugin}.tcp.port = {port}\n")
    with broker:
        yield Operator(broker, management_port=ports["management"], prometheus_port=ports["prometheus"])
