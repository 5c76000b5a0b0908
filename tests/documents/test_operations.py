"""systemd/README.md says what the files of the service and the settings make of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.manual import TEXT, blocks, commands, section
from verdictd.cli.configuration import SettingsError, load
from verdictd.cli.install import files
from verdictd.contract.limits import Bound

UNITS = "usr/local/lib/systemd/system"


def install(root: Path, *, as_root: bool = False) -> set[str]:
    """Write the files of the service; their paths."""
    written = list(files(root, as_root=as_root))
    for file in written:
        file.write()
    return {str(file.path.relative_to(root)) for file in written}


def test_way_back_from_root_leaves_what_an_installation_without_it_has(tmp_path: Path) -> None:
    """The next upgrade does not write the drop-ins again."""
    (command,) = re.findall(r"`rm /(\S+\.conf); systemctl daemon-reload; ", TEXT)
    expected = install(tmp_path / "user")
    root = tmp_path / "root"
    before = install(root, as_root=True)
    subprocess.run(["/bin/bash", "-c", f"rm {command}"], cwd=root, check=True, timeout=10)

    assert expected < before
    assert expected == install(root)


def test_instances_read_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed lines make settings whose boxes do not overlap, and the first daemon goes before."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    words = commands("Several daemons on one host")
    lines = [
        line for line in section("Several daemons on one host").splitlines() if line.startswith("printf")
    ]
    script = "\n".join(lines).replace("/etc/verdictd", str(tmp_path))
    subprocess.run(["/bin/bash", "-ec", script], check=True, timeout=10)
    sandboxes = [load(tmp_path / f"verdictd@{name}.toml").sandbox for name in ("one", "two")]
    boxes = [set(range(each.first_box, each.first_box + 2 * each.box_count)) for each in sandboxes]

    assert ["systemctl", "disable", "--now", "verdictd"] == words[0]
    assert ["systemctl", "enable", "--now", "verdictd@one", "verdictd@two"] == words[-1]
    assert not boxes[0] & boxes[1]


def test_systemd_takes_the_credentials_of_an_instance(tmp_path: Path) -> None:
    """As a drop-in that first forgets those of the unit."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    (text,) = re.findall(
        r"^```ini\n(.*?)^```$", section("Several daemons on one host"), re.MULTILINE | re.DOTALL
    )
    install(tmp_path)
    drop_in = tmp_path / UNITS / "verdictd@two.service.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(text)
    unit = tmp_path / UNITS / "verdictd@two.service"
    unit.symlink_to("verdictd@.service")
    said = subprocess.run(
        [analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )

    assert [
        "[Service]",
        "LoadCredential=",
        "LoadCredential=verdictd:/etc/verdictd/credentials-two",
    ] == text.splitlines()
    assert [] == [line for line in said.stderr.splitlines() if str(tmp_path) in line or "verdictd" in line]


def test_example_of_settings_is_right(tmp_path: Path) -> None:
    """The rest of a table keeps its default, and the message about a wrong setting is the printed one."""
    (example,) = blocks("toml", section("Settings"))
    (message,) = re.findall(r"`(sandbox.boxes: .*?)`", " ".join(section("Settings").split()))
    file = tmp_path / "verdictd.toml"
    file.write_text(example)
    settings = load(file)
    file.write_text("sandbox.boxes = 0")
    with pytest.raises(SettingsError) as refused:
        load(file)

    assert (8, Bound[float](default=2, min=0.01, max=20)) == (
        settings.sandbox.boxes,
        settings.limits.cpu_time_limit,
    )
    assert message == str(refused.value)


def test_upgrade_stops_every_daemon() -> None:
    """Instances run from the same environment, which is changed under them."""
    words = commands("Upgrade")

    assert ["systemctl", "stop", "verdictd", "verdictd@*"] == words[0]
    assert ["systemctl", "start", "verdictd"] == words[-1]
