"""The bare sandbox: shell loops over its command line, which do what a submission needs and nothing else."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from verdictd.sandbox.discovery import discover
from verdictd.sandbox.model import BoxId, Sandbox

PRINT_42 = "/usr/bin/perl -e 'print 42'"
LIMITS = ["--time=2", "--extra-time=0.5", "--wall-time=6", "--processes=60", "--open-files=256", "--silent"]
_RUN = f"$S {' '.join(LIMITS)} --meta=$M --run --"
_LIMIT_S = 900


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall and CPU time of one of many equal things."""

    wall_s: float
    cpu_s: float


async def found(isolate: str, numbers: range) -> Sandbox:
    """Return the sandbox that the daemon would use."""
    ids = [BoxId(number) for number in numbers]
    return await discover(isolate, allow_old=False, control_groups="auto", boxes=ids)


def cycle(sandbox: Sandbox, numbers: Sequence[int], count: int, program: str = PRINT_42) -> Cost:
    """`--init`, `--run`, again and again, in as many loops at once as there are boxes; the boxes stay."""
    return _loops(sandbox, numbers, count, f"$S --init > /dev/null; {_RUN} {program}")


def runs(sandbox: Sandbox, numbers: Sequence[int], count: int, program: str = PRINT_42) -> Cost:
    """`--run` alone, again and again in boxes that were made before."""
    return _loops(sandbox, numbers, count, f"{_RUN} {program}")


def command_words(sandbox: Sandbox) -> list[str]:
    """Return the words with which each command line of the sandbox begins."""
    return [*sandbox.executable, *(["--cg"] if sandbox.control_groups else [])]


def _loops(sandbox: Sandbox, numbers: Sequence[int], count: int, step: str) -> Cost:
    words = command_words(sandbox)
    _manage(words, numbers, "--init")
    each = max(1, count // len(numbers))
    script = (
        f'S="{" ".join(words)} --box-id=$1"; M=$2; n=0; while [ $n -lt {each} ]; do {step}; n=$((n+1)); done'
    )
    with tempfile.TemporaryDirectory() as folder:
        began_s, began = time.monotonic(), os.times()
        loops = [
            subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", str(number), f"{folder}/meta-{number}"],
                stdout=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
            for number in numbers
        ]
        for loop in loops:
            loop.wait(_LIMIT_S)
        wall_s, ended = time.monotonic() - began_s, os.times()
    cpu_s = ended.children_user - began.children_user + ended.children_system - began.children_system
    _manage(words, numbers, "--cleanup")
    done = each * len(numbers)
    return Cost(wall_s / done, cpu_s / done)


def _manage(words: Sequence[str], numbers: Sequence[int], action: str) -> None:
    for number in numbers:
        subprocess.run([*words, f"--box-id={number}", action], check=True, stdout=subprocess.DEVNULL)
