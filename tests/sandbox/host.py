"""Access to the host for the conformance tests: box ids, limits, processes, files, time."""

import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.boxes import FOR_EXECUTABLES, boxes


@contextmanager
def box_number() -> Iterator[int]:
    """Lend the number of a box that does not exist."""
    with boxes(1, FOR_EXECUTABLES) as numbers:
        yield numbers.start


def compile_prog(into: Path) -> Path:
    """Compile the test program: static, so that it needs no libraries in the box."""
    compiler = shutil.which("gcc")
    assert compiler, "these tests need gcc"
    sources = sorted((Path(__file__).parent / "programs").glob("*.c"))
    target = into / "prog"
    flags = ["-std=gnu17", "-O1", "-static", "-pthread"]
    subprocess.run([compiler, *flags, "-o", target, *sources], check=True, timeout=60)
    return target


@contextmanager
def open_files(limit: int) -> Iterator[None]:
    """Let this process and those it starts meanwhile open up to `limit` files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def names(directory: Path) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(entry.name for entry in directory.iterdir())


def wait_until(condition: Callable[[], object], within_s: float = 60) -> None:
    """Wait for something to become true, and fail the test if it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"did not happen within {within_s} s")
        time.sleep(0.01)
