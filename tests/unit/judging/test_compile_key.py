"""The key of a compiled program changes with everything that can change the program."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from verdictd.files import File
from verdictd.judging import compile_key as module
from verdictd.judging.compile_key import compile_key
from verdictd.judging.languages import CompileLimits, Language
from verdictd.judging.sources import Program
from verdictd.sandbox.model import Sandbox

SANDBOX = Sandbox(("isolate",), "isolate", "2.6", True, Path("/"))
Change = Callable[[Program], Program]


def key(
    program: Program, *, version: str = "gcc 12", sandbox: Sandbox = SANDBOX, artifact_bytes: int = 10
) -> str:
    return compile_key(program, version=version, sandbox=sandbox, artifact_bytes=artifact_bytes)


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """A file in the place of a compiler."""
    file = tmp_path / "cc"
    file.write_bytes(b"#!/bin/sh")
    return file


@pytest.fixture
def program(compiler: Path) -> Program:
    language = Language(
        name="c", source_file="main.c", compile_cmd=(str(compiler), "main.c"), run_cmd=("./main",)
    )
    return Program(language, b"int main", (File("a.h", b"1"), File("b.h", b"2")), ("-O2", "-g"))


def other_language(**fields: object) -> Change:
    return lambda program: replace(program, language=replace(program.language, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda program: replace(program, source_code=b"int main "),
        lambda program: replace(program, options=("-O2",)),
        lambda program: replace(program, options=("-g", "-O2")),
        lambda program: replace(program, options=("-O2-g",)),
        lambda program: replace(program, entry_point="a.h"),
        lambda program: replace(program, files=()),
        lambda program: replace(program, files=(File("a.h", b"1"), File("b.h", b"3"))),
        lambda program: replace(program, files=(File("a.h", b"1"), File("c.h", b"2"))),
        lambda program: replace(program, files=(File("a.h", b"1"), File("b.h", b"2", executable=True))),
        lambda program: replace(program, files=(File("a.h", b"1b.h2"),)),
        other_language(compile_cmd=("/bin/cc", "main.c")),
        other_language(environment={"LANG": "de_DE.UTF-8"}),
        other_language(artifacts=("main",)),
        other_language(compile_limits=CompileLimits(cpu_time_s=1)),
    ],
)
def test_key_changes_with_the_program_and_its_language(program: Program, change: Change) -> None:
    """And nothing can be moved from one part to another."""
    assert key(program) != key(change(program))


def test_key_is_the_same_for_equal_programs(program: Program) -> None:
    """In another daemon too."""
    assert key(program) == key(replace(program, source_code=b"int main"))


def test_key_changes_with_the_host(program: Program) -> None:
    """Another version of the compiler, another sandbox, another bound on what is made."""
    keys = {
        key(program),
        key(program, version="gcc 13"),
        key(program, sandbox=replace(SANDBOX, name="embedded")),
        key(program, sandbox=replace(SANDBOX, version="2.7")),
        key(program, artifact_bytes=11),
    }

    assert 5 == len(keys)


def test_key_changes_when_the_compiler_is_upgraded(program: Program, compiler: Path) -> None:
    """Even if it says that it is of the same version: a link is followed to the program."""
    link = compiler.with_name("link")
    link.symlink_to(compiler)
    program = other_language(compile_cmd=(str(link),))(program)
    before = key(program)
    os.utime(compiler, (1, 1))

    assert before != key(program)


def test_key_changes_when_packages_are_installed(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers, libraries and the parts of a compiler come in packages of their own."""
    database = tmp_path / "status"
    database.write_text("gcc 12.2.0-13")
    monkeypatch.setattr(module, "_PACKAGE_DATABASES", (str(database),))
    before = key(program)
    database.write_text("gcc 12.2.0-14, libc6-dev")

    assert before != key(program)
