"""The command line starts quickly: it loads what a command needs, when that command runs."""

import subprocess
import sys

import pytest

SLOW = {"aio_pika", "aiohttp", "asyncio", "prometheus_client", "pydantic", "rich", "structlog", "yarl"}
SCRIPT = """
import sys
from verdictd.cli.commands import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded(*arguments: str) -> set[str]:
    """Return the top-level packages that a command has loaded when it ends."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    modules = ended.stderr.splitlines()[-1].split()
    assert "verdictd.cli.commands" in modules
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("line", ["", "--help", "--version"])
def test_first_look_loads_nothing_slow(line: str) -> None:
    """Neither a person nor a script waits for libraries that the answer does not need."""
    assert set() == loaded(*line.split()) & SLOW


@pytest.mark.parametrize(
    "line",
    [
        "run --help",
        "verify --help",
        "verify /missing",
        "top --help",
        "judge",
        "run",
        "run /missing.c",
        "submit --timeout 0 /missing.c",
        "languages",
        "systemd --root /missing",
    ],
)
def test_commands_that_neither_judge_nor_connect_load_only_what_validates(line: str) -> None:
    """Options, settings and languages are validated by pydantic; asyncio comes with it."""
    assert loaded(*line.split()) & SLOW <= {"pydantic", "asyncio"}


def test_daemon_loads_nothing_for_a_terminal() -> None:
    """It keeps what it has loaded: rich would be 3 MiB of each daemon."""
    packages = loaded("serve", "--config", "/missing.toml")

    assert ({"structlog", "aio_pika"}, set()) == (
        packages & {"structlog", "aio_pika"},
        packages & {"rich", "pygments"},
    )
