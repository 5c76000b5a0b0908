"""The command line starts quickly: it loads what a command needs, when that command runs."""

import subprocess
import sys

SLOW = {"aio_pika", "aiohttp", "asyncio", "prometheus_client", "pydantic", "rich", "structlog", "yarl"}
SCRIPT = """
import sys
from verdictd.cli.commands import main
for line in sys.argv[1:]:
    sys.argv = ["verdictd", *line.split()]
    try:
        main()
    except SystemExit:
        print("loaded", *sys.modules, file=sys.stderr)
"""


def loaded(*lines: str) -> dict[str, set[str]]:
    """Return the slow packages that are loaded after each of these commands, one after the other."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *lines], capture_output=True, text=True, timeout=60, check=False
    )
    modules = [line.split() for line in ended.stderr.splitlines() if line.startswith("loaded ")]
    assert all("verdictd.cli.commands" in names for names in modules)
    packages = [{name.partition(".")[0] for name in names} & SLOW for names in modules]
    return dict(zip(lines, packages, strict=True))


def test_first_look_loads_nothing_slow() -> None:
    """Neither a person nor a script waits for libraries that the answer does not need."""
    assert {"": set(), "--help": set(), "--version": set()} == loaded("", "--help", "--version")


def test_commands_that_neither_judge_nor_connect_load_only_what_validates() -> None:
    """Options, settings and languages are validated by pydantic; asyncio comes with it."""
    found = loaded(
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
    )

    assert {} == {line: packages for line, packages in found.items() if packages - {"pydantic", "asyncio"}}


def test_daemon_loads_nothing_that_it_may_not_need() -> None:
    """It keeps what it has loaded: rich would be 3 MiB of each daemon, and aiohttp 9."""
    line = "serve --config /missing.toml"

    assert SLOW - {"rich", "aiohttp"} == loaded(line)[line]
