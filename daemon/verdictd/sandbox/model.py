"""What a sandbox is: a command goes in, a report comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NewType

BoxId = NewType("BoxId", int)


@dataclass(frozen=True, slots=True)
class Constraints:
    """How far one command may go.

    `memory_kib` bounds all processes together, `address_space_kib` each one; None leaves that bound off.
    """

    cpu_time_s: float
    cpu_extra_time_s: float
    wall_time_s: float
    memory_kib: int | None
    address_space_kib: int | None
    stack_kib: int
    file_size_kib: int
    processes: int
    open_files: int
    output_bytes: int
    """Of standard output and of standard error, each."""


PROBE_LIMITS = Constraints(
    cpu_time_s=5,
    cpu_extra_time_s=0.5,
    wall_time_s=10,
    memory_kib=65_536,
    address_space_kib=None,
    stack_kib=8_192,
    file_size_kib=1_024,
    processes=4,
    open_files=64,
    output_bytes=1_024,
)
"""For the commands that we run for ourselves."""


@dataclass(frozen=True, slots=True)
class Command:
    """One program to run in a box. `argv[0]` is executed as it stands, there is no search along PATH."""

    argv: tuple[str, ...]
    constraints: Constraints
    environment: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    """Directory rules in isolate's notation, such as `/etc/alternatives:maybe`."""
    stdin: bytes = field(default=b"", repr=False)
    stderr_to_stdout: bool = False
    network: bool = False
    control_groups: bool = True
    """False: without them, even where they work."""


class Ending(StrEnum):
    """How a command ended; each of them is the guest's doing."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    NOT_EXECUTED = "not_executed"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Captured:
    """The first bytes that a program wrote to a stream; `truncated` where it wrote more."""

    data: bytes = field(default=b"", repr=False)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What the sandbox measured and kept of one run."""

    ending: Ending
    exit_code: int | None
    signal: int | None
    cpu_time_s: float
    wall_time_s: float
    memory_kib: int
    """Peak of the control group, or without one the largest resident set."""
    stdout: Captured
    stderr: Captured


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An executable that speaks isolate's command line, and what it can do on this host."""

    executable: tuple[str, ...]
    name: str
    version: str
    control_groups: bool
    box_root: Path
    """The directory in which every box has one of its own, named by its number."""
    resident_floor_kib: int = 0
    """The largest resident set of a program includes what the sandbox had before it executed the program."""
