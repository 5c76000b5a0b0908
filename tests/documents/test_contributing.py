"""CONTRIBUTING.md and the hooks that it names."""

import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HOOKS = [
    hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
]


def test_hooks_run_tools_of_the_virtual_environment() -> None:
    """They download nothing."""
    programs = {hook["entry"].split()[0] for hook in HOOKS}

    assert {"system"} == {hook["language"] for hook in HOOKS}
    assert {f".venv/bin/{name}" for name in ("ruff", "mypy", "lint-imports", "codespell")} == programs
    assert all((Path(sys.executable).parent / Path(program).name).exists() for program in programs)


def test_tools_are_development_dependencies() -> None:
    """`make test-quick` installs them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">=")[0] for requirement in project["optional-dependencies"]["dev"]}

    assert {"codespell", "import-linter", "mypy", "pre-commit", "ruff"} <= names
