"""The machine as a judge box: its service, its journal, submissions and their results."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.vm.machine import LIMIT_S, Machine, MachineFailed

README = Path(__file__).parents[3] / "systemd" / "README.md"
_WHEELS = "/root/wheels"
_CLIENT = "/root/client.py"
_PYTHON = "/opt/verdictd/bin/python"
_DROP_INS = "/etc/systemd/system"
EMBEDDED = "Environment=VERDICTD_SANDBOX__ISOLATE=embedded"
"""A line for `drop_in`: the service uses the sandbox that comes with it."""

Result = dict[str, Any]


class Skipped(Exception):
    """This cannot be tried here; the message says why."""


class CheckFailed(Exception):
    """What was found is not what should be."""


def require(condition: object, found: object) -> None:
    """Fail the check with what was found, unless the condition holds."""
    if not condition:
        raise CheckFailed(str(found))


def require_isolate(box: "JudgeBox") -> None:
    """Skip the check if the machine has no isolate."""
    if not box.has_isolate:
        raise Skipped("no isolate was given: make systemd-test ISOLATE_DIR=...")


def brief(result: Result) -> str:
    """What matters of a result that is not as it should be."""
    return ", ".join(f"{key} {result[key]}" for key in ("id", "status", "cause", "memory", "message"))


def readme_commands(heading: str) -> list[str]:
    """The commands of the first block under a heading of systemd/README.md."""
    found = re.search(rf"^## {heading}$.*?^```sh$(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    require(found, f"no commands under {heading!r} in {README}")
    assert found is not None
    return [line for line in found[1].replace("\\\n", "").splitlines() if line]


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
        if not self.has_isolate:
            commands = [command for command in commands if "systemctl restart isolate" not in command]
        for command in commands:
            offline = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={_WHEELS}; "
            here = command.replace("pip install .", f"pip install --quiet {_WHEELS}/verdictd-*.whl")
            self.machine.run(offline + here)
        return commands

    def show(self, name: str, unit: str = "verdictd") -> str:
        """A property of the service."""
        return self.machine.run(f"systemctl show --property={name} --value {unit}")

    def start(self, unit: str = "verdictd") -> None:
        """Start the service; it is ready when this returns."""
        self.machine.run(f"systemctl start {unit}")

    def restart(self, unit: str = "verdictd") -> None:
        """Stop and start the service; it is ready when this returns."""
        self.machine.run(f"systemctl restart {unit}")

    def wait_for(self, state: str, unit: str = "verdictd", within_s: float = LIMIT_S) -> float:
        """Wait until the service is in this state: `active`, `failed`."""
        return self.machine.wait_until(
            f"{unit} {state}", lambda: self.show("ActiveState", unit) == state, within_s
        )

    @contextmanager
    def drop_in(self, *lines: str, unit: str = "verdictd") -> Iterator[None]:
        """Run the service with these lines in its [Service] for the block; it is stopped before and after."""
        path = f"{_DROP_INS}/{unit}.service.d/test.conf"
        self.machine.run(f"systemctl stop {unit}")
        self.machine.write(path, "\n".join(("[Service]", *lines, "")))
        self.machine.run("systemctl daemon-reload")
        try:
            yield
        finally:
            self.machine.run(f"systemctl stop {unit}; rm -f {path}; systemctl daemon-reload")

    @contextmanager
    def instances(self, first_boxes: Mapping[str, int], *lines: str) -> Iterator[None]:
        """Replace the service for the block by units of two boxes each, with these lines in their [sandbox].

        None of them is started.
        """
        self.machine.run("systemctl stop verdictd")
        for unit, first in first_boxes.items():
            text = "\n".join(("[sandbox]", "boxes = 2", f"first_box = {first}", *lines, ""))
            self.machine.write(f"/etc/verdictd/{unit}.toml", text)
        self.machine.run("systemd-tmpfiles --create")
        try:
            yield
        finally:
            self.machine.try_("systemctl stop 'verdictd@*'; rm -f /etc/verdictd/verdictd@*.toml")
        self.start()

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
        return self.publish_all([submission] * count, url)

    def publish_all(self, submissions: Sequence[Result], url: str | None = None) -> list[str]:
        """Publish submissions, each with an id of its own; RabbitMQ has them in this order then."""
        ids = [f"submission-{self._count + number + 1}" for number in range(len(submissions))]
        self._count += len(ids)
        bodies = "\n".join(
            json.dumps(submission | {"id": each}) for each, submission in zip(ids, submissions, strict=True)
        )
        prefix = "" if url is None else f"URL={shlex.quote(url)} "
        ended = self.machine.try_(f"{prefix}{_PYTHON} {_CLIENT} publish", stdin=bodies.encode())
        if ended.code != 0:
            raise MachineFailed(f"cannot publish: {ended.out[-500:]}")
        return ids

    def collect(self, ids: list[str], within_s: float = LIMIT_S, url: str | None = None) -> list[Result]:
        """The results of these submissions, duplicates included; fails where one is missing."""
        prefix = "" if url is None else f"URL={shlex.quote(url)} "
        command = f"{prefix}{_PYTHON} {_CLIENT} collect {within_s:g} {' '.join(ids)}"
        ended = self.machine.try_(command, within_s + 60)
        lines = (json.loads(line) for line in ended.out.splitlines() if line.startswith("{"))
        results = [line for line in lines if line["id"] in ids]
        missing = set(ids) - {result["id"] for result in results}
        require(not missing, f"{len(missing)} of {len(ids)} have no result within {within_s:g} s")
        return results

    def judge(self, submission: Result, within_s: float = LIMIT_S) -> Result:
        """The result of one submission."""
        return self.collect(self.publish(submission), within_s)[0]
