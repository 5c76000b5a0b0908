"""Driver of an executable that speaks isolate's command line, for the conformance tests.

The same cases run against every such executable, so nothing here knows how one works inside: it is started
with arguments and descriptors, and judged by its exit code, its meta file and what can be seen from outside.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from sandbox.host import box_number, open_files

DEADLINE_S = 60
MANY_OPEN_FILES = 16_384

embedded_only = pytest.mark.parametrize("isolate", ["embedded"], indirect=True)


@dataclass(frozen=True, slots=True)
class Executable:
    """An executable that speaks isolate's command line."""

    name: str
    argv: tuple[str, ...]

    def call(
        self, *options: str | bytes, deadline_s: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the executable with these options only, for its exit code and output."""
        return subprocess.run(
            [*self.argv, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )


class Outcome(NamedTuple):
    """End of a run, according to the exit code and the meta file."""

    exit_code: int
    status: str | None = None
    program_exit_code: int | None = None
    signal: int | None = None
    killed: bool = False


ENDED_WELL = Outcome(0, program_exit_code=0)
BROKEN = Outcome(2, status="XX")
TIMED_OUT = Outcome(1, status="TO", killed=True)
"""The limit ended it, not the program itself."""


def failed(code: int) -> Outcome:
    """The program ended by itself, with this exit code."""
    return Outcome(1, status="RE", program_exit_code=code)


def signalled(number: int) -> Outcome:
    """The program was ended by this signal."""
    return Outcome(1, status="SG", signal=number)


@dataclass(frozen=True, slots=True)
class Ran:
    """Output, meta file and exit code of one `--run`."""

    outcome: Outcome
    meta: dict[str, str]
    meta_lines: list[str]
    stdout: bytes
    stderr: bytes
    took_s: float

    @property
    def time_s(self) -> float:
        """Processor time, as reported."""
        return float(self.meta["time"])

    @property
    def wall_s(self) -> float:
        """Wall-clock time, as reported."""
        return float(self.meta["time-wall"])

    @property
    def max_rss_kib(self) -> int:
        """Largest resident set of a process, as reported."""
        return int(self.meta["max-rss"])

    @property
    def cg_mem_kib(self) -> int:
        """Largest memory of the control group, as reported."""
        return int(self.meta["cg-mem"])

    @property
    def lines(self) -> list[str]:
        """Standard output."""
        return self.stdout.decode().splitlines()


@dataclass(frozen=True, slots=True)
class Box:
    """One box of an executable; `options` are given with each call (`--cg` must be)."""

    executable: Executable
    number: int
    options: tuple[str, ...]
    root: Path

    @property
    def files(self) -> Path:
        """Return the directory that is /box inside."""
        return self.root / "box"

    def call(self, *options: str | bytes) -> subprocess.CompletedProcess[bytes]:
        """Call the executable for this box."""
        return self.executable.call(f"--box-id={self.number}", *self.options, *options)

    def run(
        self,
        program: Sequence[str | bytes],
        *options: str | bytes,
        stdin: bytes = b"",
        stdout: IO[bytes] | None = None,
    ) -> Ran:
        """Run a program to its end; its output is kept unless `stdout` takes it."""
        started_s = time.monotonic()
        with self.started(program, *options, stdout=stdout) as run:
            out, err = run.process.communicate(stdin, timeout=DEADLINE_S)
            return run.result(out or b"", err, time.monotonic() - started_s)

    @contextmanager
    def started(
        self, program: Sequence[str | bytes], *options: str | bytes, stdout: IO[bytes] | None = None
    ) -> Iterator["Run"]:
        """Start a program; its keeper has ended when the block ends."""
        with tempfile.TemporaryDirectory() as outside:
            run = Run(self._spawn(Path(outside) / "meta", program, options, stdout), Path(outside) / "meta")
            try:
                yield run
            finally:
                run.end()

    def _spawn(
        self,
        meta: Path,
        program: Sequence[str | bytes],
        options: Sequence[str | bytes],
        stdout: IO[bytes] | None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *self.executable.argv,
                f"--box-id={self.number}",
                f"--meta={meta}",
                "--silent",
                *self.options,
                *options,
                "--run",
                "--",
                *program,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A run that may not have ended yet."""

    process: subprocess.Popen[bytes]
    meta_file: Path

    def result(self, stdout: bytes = b"", stderr: bytes = b"", took_s: float = 0) -> Ran:
        """Wait for the end of the run, and return what it left."""
        exit_code = self.process.wait(DEADLINE_S)
        text = self.meta_file.read_bytes() if self.meta_file.exists() else b""
        lines = text.decode(errors="replace").split("\n")[:-1]
        meta = first_of_each_key(lines)
        return Ran(outcome(exit_code, meta), meta, lines, stdout, stderr, took_s)

    def end(self) -> None:
        """Terminate the keeper, kill it if needed, and close its streams."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream:
                    stream.close()


def outcome(exit_code: int, meta: dict[str, str]) -> Outcome:
    """Read the outcome from the exit code and the meta file; None is what was not reported."""
    return Outcome(
        exit_code=exit_code,
        status=meta.get("status"),
        program_exit_code=int(meta["exitcode"]) if "exitcode" in meta else None,
        signal=int(meta["exitsig"]) if "exitsig" in meta else None,
        killed=meta.get("killed") == "1",
    )


def first_of_each_key(lines: list[str]) -> dict[str, str]:
    """Parse a meta file; later occurrences of a key do not count, as they may be forged."""
    meta: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        meta.setdefault(key, value)
    return meta


def prog(*words: str | int | float | bytes) -> list[str | bytes]:
    """Return the command line of the test program of `programs/` in a box."""
    return ["/box/prog", *(word if isinstance(word, bytes) else str(word) for word in words)]


def answers(box: Box, words: Sequence[str], *, to: str = "") -> dict[str, str]:
    """Return the line that the test program prints for each word, after the words of `to`, all in one run."""
    each = f'for word; do /box/prog {to} "$word" || echo failed; done'
    ran = box.run(["/bin/sh", "-c", each, "sh", *words], "--processes=2")
    assert ENDED_WELL == ran.outcome
    return dict(zip(words, ran.lines, strict=True))


def find_executable(isolate: str) -> Executable:
    """Return the executable for a value of the setting `sandbox.isolate`."""
    if isolate == "embedded":
        directory = resources.files("verdictd.sandbox") / "embedded"
        return Executable("embedded", (sys.executable, "-I", "-S", str(directory)))
    return Executable("isolate", (isolate,))


@contextmanager
def fresh_box(executable: Executable, *options: str, program: Path | None = None) -> Iterator[Box]:
    """Make a box with the test program in it, and remove it at the end of the block."""
    with box_number() as number:
        init = executable.call(f"--box-id={number}", *options, "--init")
        assert (0, b"") == (init.returncode, init.stderr)
        box = Box(executable, number, options, Path(os.fsdecode(init.stdout.removesuffix(b"\n"))))
        try:
            if program:
                shutil.copy(program, box.files / "prog")
            yield box
        finally:
            with open_files(MANY_OPEN_FILES):
                cleanup = box.call("--cleanup")
        assert (0, b"") == (cleanup.returncode, cleanup.stderr)
