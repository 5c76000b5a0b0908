"""Programs that can be executed are told by their first bytes, their mode and their interpreter."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from verdictd.sandbox.executables import HEAD_BYTES, can_execute, format_problem

TRUE = Path("/bin/true").read_bytes()[:HEAD_BYTES]


@pytest.mark.parametrize(
    "head", [TRUE, b"#!/bin/sh\n", b"#! /usr/bin/env python3\n", b"#!/box/own\n", b"#!own"]
)
def test_program_and_script_can_be_executed(head: bytes) -> None:
    """An ELF program of this machine, and a script whose interpreter exists or lies in the box."""
    assert format_problem(head) is None


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"", "neither an ELF program nor a script"),
        (b"!<arch>\n", "neither an ELF program nor a script"),
        (b"MZ\x90", "neither an ELF program nor a script"),
        (b"#!\n", "names no interpreter"),
        (b"#!/no/such x\n", "'/no/such' does not exist"),
        (TRUE[:4], "another kind of processor"),
        (TRUE[:30], "cut short"),
        (TRUE[:16] + b"\x01\x00" + TRUE[18:], "an object file"),
        (TRUE[:18] + b"\x08\x00" + TRUE[20:], "another kind of processor"),
        (TRUE[:56] + b"\x00\x00" + TRUE[58:], "without a segment"),
        (TRUE.replace(b"/ld-linux", b"/no-linux"), "does not exist"),
    ],
)
def test_anything_else_cannot(head: bytes, problem: str) -> None:
    """The reason is one that a student can read."""
    assert problem in (format_problem(head) or "")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[int]:
    """The open working directory of a box."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("mode", "executable"), [(0o755, True), (0o644, False)])
@pytest.mark.parametrize("name", ["./main", "main", "/box/main"])
def test_file_in_the_box_needs_its_mode(
    box: int, tmp_path: Path, name: str, mode: int, *, executable: bool
) -> None:
    """A source file is not executable, whatever it contains."""
    (tmp_path / "main").write_bytes(TRUE)
    (tmp_path / "main").chmod(mode)

    assert executable == can_execute(box, name)


@pytest.mark.parametrize(
    ("name", "executable"),
    [("/bin/sh", True), ("/etc/passwd", False), ("/bin", False), ("/no/such", False), ("./absent", False)],
)
def test_program_of_the_host_is_looked_at_too(box: int, name: str, *, executable: bool) -> None:
    """Compilers and interpreters lie outside of the box."""
    assert executable == can_execute(box, name)
