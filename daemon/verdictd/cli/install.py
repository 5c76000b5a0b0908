"""Files of the systemd service: where they belong, and writing them there."""

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_UNITS = "usr/local/lib/systemd/system"
_COMMAND = "/opt/verdictd/bin/verdictd"
_SETTINGS = "etc/verdictd/verdictd.toml"
_FILES = {
    "verdictd.service": (f"{_UNITS}/verdictd.service", f"{_UNITS}/verdictd@.service"),
    "isolate.conf": (f"{_UNITS}/isolate.service.d/verdictd.conf",),
    "sysusers.conf": ("usr/local/lib/sysusers.d/verdictd.conf",),
    "tmpfiles.conf": ("usr/local/lib/tmpfiles.d/verdictd.conf",),
}
_AS_ROOT = (f"{_UNITS}/verdictd.service.d/root.conf", f"{_UNITS}/verdictd@.service.d/root.conf")


NEXT_STEPS = """
Next, as root:
    systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
    systemctl restart isolate           # where isolate is used
    install -m 600 /dev/stdin /etc/verdictd/credentials/broker__url <<< 'amqp://user:password@host'
    systemctl enable --now verdictd     # after an upgrade: systemctl start verdictd
Settings are in /etc/verdictd/verdictd.toml."""


class Change(StrEnum):
    """Change that writing makes to a file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    KEPT = "kept, it is yours"


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file of the service: its place and its text."""

    path: Path
    text: str
    mode: int = 0o644
    operators: bool = False
    """True for settings: a file that exists belongs to the operator and is not overwritten."""

    @property
    def change(self) -> Change:
        """Return the change that writing makes."""
        if self.operators and self.path.exists():
            return Change.KEPT
        if self.path.is_file() and self.path.read_text() == self.text:
            return Change.UNCHANGED
        return Change.WRITTEN

    def write(self) -> None:
        """Write it, unless it is kept."""
        if self.change is not Change.KEPT:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self.path.write_text(self.text)
            self.path.chmod(self.mode)


def files(root: Path, *, as_root: bool) -> Iterator[ServiceFile]:
    """Yield the files below a root directory, with the command of this installation in the unit.

    The drop-in for root is one of them if it is asked for, or exists already.
    """
    command = str(Path(sysconfig.get_path("scripts"), "verdictd"))
    for name, places in _FILES.items():
        text = _text(name).replace(_COMMAND, command)
        yield from (ServiceFile(root / place, text) for place in places)
    if as_root or any((root / place).exists() for place in _AS_ROOT):
        yield from (ServiceFile(root / place, _text("root.conf")) for place in _AS_ROOT)
    yield ServiceFile(root / _SETTINGS, _text("verdictd.toml"), mode=0o640, operators=True)


def _text(name: str) -> str:
    """Return a file of the folder `systemd`: package data in a wheel, at the top of a checkout."""
    package = Path(__file__).parent.parent
    folder = package / "data" / "systemd"
    if not folder.is_dir():
        folder = package.parent.parent / "systemd"
    return (folder / name).read_text()
