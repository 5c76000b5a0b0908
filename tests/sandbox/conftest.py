"""Fixtures of the conformance tests: an executable, the test program, a box with it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from stat import S_ISREG

import pytest

from sandbox.conformance import MANY_OPEN_FILES, Box, Executable, find_executable, fresh_box
from sandbox.host import box_number, compile_prog, open_files


@pytest.fixture(scope="session")
def executable(isolate: str) -> Executable:
    """Each of the two that speak isolate's command line."""
    return find_executable(isolate)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled test program."""
    return compile_prog(tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def lasting_box(executable: Executable) -> Iterator[Box]:
    """The box that `box` resets after each test."""
    with fresh_box(executable) as lasting:
        yield lasting


@pytest.fixture(scope="session")
def lasting_grouped_box(executable: Executable) -> Iterator[Box]:
    """The box that `grouped_box` resets after each test."""
    if reason := missing_groups(executable):
        pytest.skip(f"control groups do not work here for {executable.name}: {reason}")
    with fresh_box(executable, "--cg") as lasting:
        yield lasting


@pytest.fixture
def box(lasting_box: Box, program: Path) -> Iterator[Box]:
    """A clean box without control groups."""
    with reset_afterwards(lasting_box, program) as clean:
        yield clean


@pytest.fixture
def grouped_box(lasting_grouped_box: Box, program: Path) -> Iterator[Box]:
    """A clean box with control groups, where they work."""
    with reset_afterwards(lasting_grouped_box, program) as clean:
        yield clean


@contextmanager
def reset_afterwards(box: Box, program: Path) -> Iterator[Box]:
    """Yield a box with the test program in it, and reset it unless it is as it was: that costs a process."""
    shutil.copy(program, box.files / "prog")
    before = contents(box)
    try:
        yield box
    finally:
        if "--cg" in box.options or before != contents(box):  # a group remembers how much memory was used
            with open_files(MANY_OPEN_FILES):
                reset = box.call("--init")
            assert (0, b"") == (reset.returncode, reset.stderr)


def contents(box: Box) -> list[tuple[object, ...]]:
    """Return what tells a box in which something was left or changed from one with the test program alone."""
    if not box.files.exists():
        return []
    found = [box.files, *sorted(box.files.iterdir()), *sorted(box.root.glob("tmp/*/*"))]
    stats = [(path, path.lstat()) for path in found]
    return [
        (path, stat.st_mode, stat.st_uid, S_ISREG(stat.st_mode) and stat.st_mtime_ns) for path, stat in stats
    ]


@cache
def missing_groups(executable: Executable) -> str:
    """Return why boxes with control groups cannot be made; empty if they can."""
    with box_number() as number:
        box = (f"--box-id={number}", "--cg")
        init = executable.call(*box, "--init")
        if init.returncode == 0:
            executable.call(*box, "--cleanup")
    return init.stderr.decode(errors="replace").strip() if init.returncode else ""
