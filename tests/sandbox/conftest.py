"""Fixtures of the conformance tests: an executable, the test program, a box with it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sandbox.conformance import Box, Executable, find_executable, fresh_box
from sandbox.host import box_number, compile_prog


@pytest.fixture(scope="session")
def executable(isolate: str) -> Executable:
    """Each of the two that speak isolate's command line."""
    return find_executable(isolate)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled test program."""
    return compile_prog(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def box(executable: Executable, program: Path) -> Iterator[Box]:
    """A fresh box without control groups."""
    with fresh_box(executable, program=program) as fresh:
        yield fresh


@pytest.fixture
def grouped_box(executable: Executable, program: Path) -> Iterator[Box]:
    """A fresh box with control groups, where they work."""
    if reason := missing_groups(executable):
        pytest.skip(f"control groups do not work here for {executable.name}: {reason}")
    with fresh_box(executable, "--cg", program=program) as fresh:
        yield fresh


@cache
def missing_groups(executable: Executable) -> str:
    """Return why boxes with control groups cannot be made; empty if they can."""
    with box_number() as number:
        box = (f"--box-id={number}", "--cg")
        init = executable.call(*box, "--init")
        if init.returncode == 0:
            executable.call(*box, "--cleanup")
    return init.stderr.decode(errors="replace").strip() if init.returncode else ""
