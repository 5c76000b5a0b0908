"""Types of the sandbox: a command goes in, a report comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import NewType, Self

BoxId = NewType("BoxId", int)
Descriptor = NewType("Descriptor", int)
"""An open file that only the daemon can change, whose owner keeps it open while it is used."""
DISK_FILES = 10_000
"""Files, directories included, that a program may have on disk, whatever their size."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """Limits of one command.

    `memory_kib` limits all processes together, by a control group or else by watching them;
    `address_space_kib` limits each process; None means no such limit.
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
    """Limit of standard output, and the same again of standard error."""
    dropped_bytes: int = 0
    """Output beyond `output_bytes` that is dropped before the program is ended for writing too much."""
    disk_kib: int = 262_144
    """Space of all files that the program adds to the box, to its /tmp and its /dev/shm."""
    disk_files: int = DISK_FILES
    """Number of these files; a directory is one."""


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
"""Limits of the commands that the daemon runs for itself, to prove that a box works."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files that are taken out of the box after the run; `file` alone has a limit of its own."""

    file: str | None = None
    file_bytes: int = 0
    patterns: tuple[str, ...] = ()
    max_files: int = 0
    max_bytes: int = 0
    """Of the files that match the patterns, together."""

    def __bool__(self) -> bool:
        return self.file is not None or bool(self.patterns)


@dataclass(frozen=True, slots=True)
class TakenFile:
    """First bytes of a file that the program left; `problem` says why there are none."""

    name: str
    content: bytes = field(default=b"", repr=False)
    truncated: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NamedStreams:
    """Pipes that a program opens by name: `in`, `out` and `err` in a directory.

    `errors`: another name of `err`, which the directory does not have, for the daemon.
    """

    directory: Path
    errors: Path


@dataclass(frozen=True, slots=True)
class Command:
    """One program to run in a box. `argv[0]` is a path; PATH is not searched."""

    argv: tuple[str, ...]
    constraints: Constraints
    environment: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    """Directory rules in isolate's notation, such as `/etc/alternatives:maybe`."""
    stdin: bytes | Descriptor = field(default=b"", repr=False)
    input_file: str | None = None
    """Name of a file that gets `stdin`; standard input is empty then."""
    wanted: Wanted = Wanted()
    streams: NamedStreams | None = None
    """Pipes that the program has as its standard streams, instead of those that the sandbox was given."""
    stderr_to_stdout: bool = False
    network: bool = False
    control_groups: bool = True
    """False: run without control groups even where they work."""


class Ending(StrEnum):
    """Way in which a command ended; each is the program's own doing, not the sandbox's."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    NOT_EXECUTED = "not_executed"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT = "output"
    DISK = "disk"
    STOPPED = "stopped"
    """The daemon ended it, since nothing depended on it any more."""


@dataclass(frozen=True, slots=True)
class Captured:
    """First bytes that a program wrote to a stream; `truncated` if it wrote more."""

    data: bytes = field(default=b"", repr=False)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """Bytes that one of two programs said to the other before that one said something."""

    by_program: bool
    text: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Conversation of two programs, in order; `truncated` if there was more."""

    said: tuple[Utterance, ...] = ()
    truncated: bool = False

    @property
    def size_bytes(self) -> int:
        """Number of bytes that were said."""
        return sum(len(one.text) for one in self.said)

    def cut(self, size_bytes: int) -> Self:
        """Return the beginning, of at most this size."""
        if self.size_bytes <= size_bytes:
            return self
        kept = []
        for one in self.said:
            kept.append(replace(one, text=one.text[:size_bytes]))
            size_bytes -= len(one.text)
            if size_bytes <= 0:
                break
        return replace(self, said=tuple(kept), truncated=True)


@dataclass(frozen=True, slots=True)
class Watched:
    """Figures of a run that the daemon watched; 0 if it did not, or if the run ended too early."""

    memory_kib: int = 0
    """Largest sum over several processes; the sandbox measures the largest of a single one."""
    cpu_time_s: float = 0


@dataclass(frozen=True, slots=True)
class Noise:
    """Disturbance of a run by others: each a part, from 0 to 1; None where this host does not tell."""

    cpu_pressure: float | None = None
    """Of the time: some process of this host waited for a processor."""
    throttled: float | None = None
    """Of the periods of a quota: the control group of this process, or one above it, had used it up."""
    steal: float | None = None
    """Of the time of all processors: the hypervisor gave it to others."""

    @classmethod
    def worst(cls, noises: Sequence[Self]) -> Self:
        """Return the largest parts of several runs."""
        return cls(
            cpu_pressure=_largest([noise.cpu_pressure for noise in noises]),
            throttled=_largest([noise.throttled for noise in noises]),
            steal=_largest([noise.steal for noise in noises]),
        )


def _largest(parts: Sequence[float | None]) -> float | None:
    return max((part for part in parts if part is not None), default=None)


@dataclass(frozen=True, slots=True)
class Report:
    """Measurements and output of one run."""

    ending: Ending
    exit_code: int | None
    signal: int | None
    cpu_time_s: float
    wall_time_s: float
    memory_kib: int
    """Peak of the control group, or without one the largest of what was watched."""
    stdout: Captured
    stderr: Captured
    output_file: TakenFile | None = None
    """The file that `Wanted.file` names; None if it names none."""
    files: tuple[TakenFile, ...] = ()
    transcript: Transcript = Transcript()
    noise: Noise = Noise()
    killed: bool = False
    """True if the sandbox ended the program; it may also have found afterwards that a limit was exceeded."""

    def without_streams(self) -> Self:
        """Return the figures alone."""
        return replace(
            self, stdout=Captured(), stderr=Captured(), output_file=None, files=(), transcript=Transcript()
        )


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An executable with isolate's command line, and its abilities on this host."""

    executable: tuple[str, ...]
    name: str
    version: str
    control_groups: bool
    box_root: Path
    """Directory that holds the directory of each box, named by its number."""
    resident_floor_kib: int = 0
    """Resident set of the sandbox before it executes the program: without groups, the least `memory_kib`."""
