"""`verdictd systemd` writes a service that systemd understands, and keeps the operator's settings."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from verdictd.cli.install import Change, files

UNITS = "usr/local/lib/systemd/system"
SETTINGS = "etc/verdictd/verdictd.toml"
SOURCE = Path(__file__).parents[3] / "systemd"


def write(root: Path, *, as_root: bool = False) -> dict[str, Change]:
    """Write everything, and return the change of each file."""
    found = {}
    for file in list(files(root, as_root=as_root)):
        found[str(file.path.relative_to(root))] = file.change
        file.write()
    return found


def test_everything_is_written_once(tmp_path: Path) -> None:
    """A second run changes nothing."""
    first, second = write(tmp_path), write(tmp_path)

    assert {Change.WRITTEN} == set(first.values())
    assert {Change.UNCHANGED} == {change for path, change in second.items() if path != SETTINGS}
    assert {f"{UNITS}/verdictd.service", f"{UNITS}/verdictd@.service", SETTINGS} < set(first)
    assert not (tmp_path / f"{UNITS}/verdictd.service.d").exists()


def test_settings_of_the_operator_are_kept(tmp_path: Path) -> None:
    """An upgrade does not even touch them; units it writes anew."""
    write(tmp_path)
    (tmp_path / SETTINGS).write_text("[sandbox]\nboxes = 3\n")
    (tmp_path / f"{UNITS}/verdictd.service").write_text("old")
    changes = write(tmp_path)

    assert (Change.KEPT, Change.WRITTEN) == (changes[SETTINGS], changes[f"{UNITS}/verdictd.service"])
    assert "[sandbox]\nboxes = 3\n" == (tmp_path / SETTINGS).read_text()
    assert "old" != (tmp_path / f"{UNITS}/verdictd.service").read_text()


def test_only_root_and_its_group_read_the_settings(tmp_path: Path) -> None:
    """systemd must be able to read the units under any umask, and nobody else the settings."""
    write(tmp_path)
    modes = [
        oct((tmp_path / path).stat().st_mode & 0o777) for path in (SETTINGS, f"{UNITS}/verdictd.service")
    ]

    assert ["0o640", "0o644"] == modes


def test_variant_for_root_stays_until_it_is_removed(tmp_path: Path) -> None:
    """An upgrade keeps the choice, and writes the drop-in anew."""
    write(tmp_path, as_root=True)
    drop_in = tmp_path / f"{UNITS}/verdictd.service.d/root.conf"
    drop_in.write_text("old")
    changes = write(tmp_path)

    assert Change.WRITTEN == changes[f"{UNITS}/verdictd.service.d/root.conf"]
    assert (SOURCE / "root.conf").read_text() == drop_in.read_text()


def test_unit_starts_the_command_that_wrote_it(tmp_path: Path) -> None:
    """The path is that of the installed package."""
    write(tmp_path)
    command = f"{sysconfig.get_path('scripts')}/verdictd"

    for unit in ("verdictd.service", "verdictd@.service"):
        text = (tmp_path / UNITS / unit).read_text()
        assert f"ExecStart={command} serve --config /etc/verdictd/%N.toml\n" in text


@pytest.mark.parametrize("as_root", [False, True])
def test_systemd_has_nothing_to_complain_about(tmp_path: Path, as_root: bool) -> None:
    """systemd ignores a misspelt directive, with a warning in a log that nobody reads."""
    write(tmp_path, as_root=as_root)

    assert [] == verify(tmp_path)


def test_misspelt_directive_is_found(tmp_path: Path) -> None:
    """The check of the units works, for the drop-in too."""
    write(tmp_path, as_root=True)
    drop_in = tmp_path / f"{UNITS}/verdictd.service.d/root.conf"
    drop_in.write_text(drop_in.read_text().replace("ProtectClock=", "ProtectClocks="))

    assert any("ProtectClocks" in line for line in verify(tmp_path))


def verify(root: Path) -> list[str]:
    """Return the complaints of systemd about the units below this root, without those about the host's."""
    units = [root / UNITS / name for name in ("verdictd.service", "verdictd@two.service")]
    units[1].symlink_to("verdictd@.service")
    said = analyze("verify", "--man=no", *map(str, units))
    return [line for line in said.splitlines() if str(root) in line or "verdictd" in line]


@pytest.mark.parametrize("variant", ["user", "root"])
def test_exposure_is_that_of_the_readme(tmp_path: Path, variant: str) -> None:
    """The figures of `systemd-analyze security` differ between versions of systemd."""
    if not analyze("--version").startswith("systemd 252 "):
        pytest.skip("the figures are those of systemd 252")
    write(tmp_path, as_root=variant == "root")
    said = re.search(rf"^\| {variant} \| ([\d.]+) \|", (SOURCE / "README.md").read_text(), re.MULTILINE)
    found = analyze("security", "--offline=yes", "--no-pager", str(tmp_path / UNITS / "verdictd.service"))

    assert said is not None
    assert f"verdictd.service: {said[1]} " in found


def analyze(*arguments: str) -> str:
    """Return the output of `systemd-analyze`."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr
