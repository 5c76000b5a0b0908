"""The wheel has everything that the command needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` makes and installs."""
    folder = tmp_path_factory.mktemp("wheel")
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(hatchling, cwd=ROOT, capture_output=True, check=True, timeout=120)
    (built,) = folder.glob("verdictd-*.whl")
    return built


def test_wheel_has_languages_schemas_units_and_the_sandbox(wheel: Path) -> None:
    """Data files are installed beside the code."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"verdictd/judging/languages.toml", "verdictd/py.typed", "verdictd/sandbox/embedded/__main__.py"}
    for folder in ("schemas", "systemd"):
        files = (file for file in (ROOT / folder).rglob("*") if file.is_file())
        wanted |= {f"verdictd/data/{file.relative_to(ROOT)}" for file in files}

    assert set() == wanted - names
    assert "verdictd/data/systemd/verdictd.service" in wanted


def test_installed_package_works_without_its_source(wheel: Path, tmp_path: Path) -> None:
    """What was installed finds its data by itself."""
    target = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    script = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import verdictd.cli.commands; "
        "sys.argv = ['verdictd', 'languages']; verdictd.cli.commands.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "python" in ended.stdout
