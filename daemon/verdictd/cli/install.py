"""The files that make a service of the daemon, and where systemd looks for them."""

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


class Change(StrEnum):
    """What became, or would become, of a file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    KEPT = "kept, it is yours"


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A file of the service: where, and what is in it."""

    path: Path
    text: str
    mode: int = 0o644
    operators: bool = False
    """Whether it belongs to the operator as soon as it is there."""

    @property
    def change(self) -> Change:
        """What writing does to it."""
        if self.operators and self.path.exists():
            return Change.KEPT
        if self.path.is_file() and self.path.read_text() == self.text:
            return Change.UNCHANGED
        return Change.WRITTEN

    def write(self) -> None:
        """Make it what it should be."""
        if self.change is not Change.KEPT:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self.path.write_text(self.text)
            self.path.chmod(self.mode)


def files(root: Path, *, as_root: bool) -> Iterator[ServiceFile]:
    """The files below a root directory, with the command of this installation in the unit.

    The drop-in for root belongs to them where it is asked for, or is there already.
    """
    command = str(Path(sysconfig.get_path("scripts"), "verdictd"))
    for name, places in _FILES.items():
        text = _text(name).replace(_COMMAND, command)
        yield from (ServiceFile(root / place, text) for place in places)
    if as_root or any((root / place).exists() for place in _AS_ROOT):
        yield from (ServiceFile(root / place, _text("root.conf")) for place in _AS_ROOT)
    yield ServiceFile(root / _SETTINGS, _text("verdictd.toml"), mode=0o640, operators=True)


def _text(name: str) -> str:
    """A file of the folder `systemd`: in a wheel it is among the data, in a checkout at the top."""
    package = Path(__file__).parent.parent
    folder = package / "data" / "systemd"
    if not folder.is_dir():
        folder = package.parent.parent / "systemd"
    return (folder / name).read_text()
