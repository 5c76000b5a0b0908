"""The machine as a judge box: its service, its journal, submissions and their results."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.vm.machine import Machine, MachineFailed

README = Path(__file__).parents[3] / "systemd" / "README.md"
START_LIMIT_S = 180
_WHEELS = "/root/wheels"
_CLIENT = "/root/client.py"
_PYTHON = "/opt/verdictd/bin/python"
_DROP_INS = "/etc/systemd/system"

Result = dict[str, Any]


class Skipped(Exception):
    """This cannot be tried here; the message says why."""


class CheckFailed(Exception):
    """What was found is not what should be."""


def require(condition: object, found: object) -> None:
    """Fail the check with what was found, unless the condition holds."""
    if not condition:
        raise CheckFailed(str(found))


def brief(result: Result) -> str:
    """What matters of a result that is not as it should be."""
    return ", ".join(f"{key} {result[key]}" for key in ("id", "status", "cause", "memory", "message"))


def readme_commands(heading: str) -> list[str]:
    """The commands of the first block under a heading of systemd/README.md."""
    found = re.search(rf"^## {heading}$.*?^```sh$(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    require(found, f"no commands under {heading!r} in {README}")
    assert found is not None
    return [line for line in found[1].splitlines() if line]


class JudgeBox:
    """A machine with the service in it. State: how many submissions were made, for their ids."""

    def __init__(self, machine: Machine, *, has_isolate: bool) -> None:
        self.machine = machine
        self.has_isolate = has_isolate
        self._count = 0

    def install(self, wheels: Path) -> list[str]:
        """Install the service with the commands of the README; only the package comes from the wheels."""
        self.machine.put(wheels, _WHEELS)
        self.machine.write(_CLIENT, (Path(__file__).parent / "client.py").read_text())
        commands = readme_commands("Install")
        for command in commands:
            offline = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={_WHEELS}; "
            here = command.replace("pip install .", f"pip install --quiet {_WHEELS}/verdictd-*.whl")
            self.machine.run(offline + here, 600)
        return commands

    def show(self, name: str, unit: str = "verdictd") -> str:
        """A property of the service."""
        return self.machine.run(f"systemctl show --property={name} --value {unit}")

    def start(self, unit: str = "verdictd") -> None:
        """Start the service; it is ready when this returns."""
        self.machine.run(f"systemctl start {unit}", START_LIMIT_S)

    def restart(self, unit: str = "verdictd") -> None:
        """Stop and start the service; it is ready when this returns."""
        self.machine.run(f"systemctl restart {unit}", START_LIMIT_S)

    def wait_for(self, state: str, unit: str = "verdictd", within_s: float = START_LIMIT_S) -> float:
        """Wait until the service is in this state: `active`, `failed`."""
        return self.machine.wait_until(
            f"{unit} {state}", lambda: self.show("ActiveState", unit) == state, within_s
        )

    @contextmanager
    def drop_in(self, *lines: str, unit: str = "verdictd") -> Iterator[None]:
        """Run the service with these lines in its [Service] for the block; it is stopped before and after."""
        path = f"{_DROP_INS}/{unit}.service.d/test.conf"
        self.machine.run(f"systemctl stop {unit}", START_LIMIT_S)
        self.machine.write(path, "\n".join(("[Service]", *lines, "")))
        self.machine.run("systemctl daemon-reload")
        try:
            yield
        finally:
            self.machine.run(f"systemctl stop {unit}; rm -f {path}; systemctl daemon-reload", START_LIMIT_S)

    def cursor(self) -> str:
        """Where the journal ends now."""
        return self.machine.run(
            "journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/-- cursor: //p'"
        )

    def journal(self, cursor: str, unit: str = "verdictd") -> list[dict[str, Any]]:
        """What the service and systemd wrote about it since then."""
        # Not with `-u`, which leaves the first entry out where that at the cursor is of another unit.
        out = self.machine.run(f"journalctl --sync; journalctl -o json --after-cursor={shlex.quote(cursor)}")
        entries = (json.loads(line) for line in out.splitlines() if line.startswith("{"))
        of_unit = f"{unit}.service"
        return [entry for entry in entries if of_unit in {entry.get("_SYSTEMD_UNIT"), entry.get("UNIT")}]

    def events(self, cursor: str, event: str, unit: str = "verdictd") -> list[dict[str, Any]]:
        """The log lines of an event since then."""
        messages = (str(entry.get("MESSAGE", "")) for entry in self.journal(cursor, unit))
        parsed = (json.loads(message) for message in messages if message.startswith("{"))
        return [line for line in parsed if line.get("event") == event]

    def publish(self, submission: Result, count: int = 1, url: str | None = None) -> list[str]:
        """Publish a submission so many times, each with an id of its own; RabbitMQ has them then."""
        ids = []
        for _ in range(count):
            self._count += 1
            ids.append(f"submission-{self._count}")
        bodies = "\n".join(json.dumps(submission | {"id": each}) for each in ids)
        prefix = "" if url is None else f"URL={shlex.quote(url)} "
        ended = self.machine.try_(f"{prefix}{_PYTHON} {_CLIENT} publish", stdin=bodies.encode())
        if ended.code != 0:
            raise MachineFailed(f"cannot publish: {ended.out[-500:]}")
        return ids

    def collect(self, ids: list[str], within_s: float = 120, url: str | None = None) -> list[Result]:
        """The results of these submissions, duplicates included; fails where one is missing."""
        prefix = "" if url is None else f"URL={shlex.quote(url)} "
        command = f"{prefix}{_PYTHON} {_CLIENT} collect {within_s:g} {' '.join(ids)}"
        ended = self.machine.try_(command, within_s + 60)
        lines = (json.loads(line) for line in ended.out.splitlines() if line.startswith("{"))
        results = [line for line in lines if line["id"] in ids]
        missing = set(ids) - {result["id"] for result in results}
        require(not missing, f"{len(missing)} of {len(ids)} have no result within {within_s:g} s")
        return results

    def judge(self, submission: Result, within_s: float = 120) -> Result:
        """The result of one submission."""
        return self.collect(self.publish(submission), within_s)[0]
