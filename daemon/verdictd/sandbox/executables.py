"""Programs that the kernel can execute: found out from the file, never from what a program printed."""

import os
import stat
import struct
from functools import cache
from pathlib import Path

HEAD_BYTES = 4_096
"""First bytes of a file that say if it can be executed."""

_ELF = b"\x7fELF"
_SCRIPT = b"#!"
_EXECUTABLE_TYPES = (2, 3)  # ET_EXEC, ET_DYN
_64_BITS = 2
_INTERPRETER = 3  # PT_INTERP
_BOX = "/box/"


def format_problem(head: bytes) -> str | None:
    """Return the reason why a file that begins with these bytes cannot be executed here, or None."""
    if head.startswith(_SCRIPT):
        return _script_problem(head)
    if not head.startswith(_ELF):
        return "it is neither an ELF program nor a script that begins with #!"
    try:
        return _elf_problem(head)
    except struct.error:
        return "its ELF header is cut short"


def lies_in_box(program: str) -> bool:
    """Return whether a program is looked up in the working directory of a box; others are the host's."""
    return not program.startswith("/") or program.startswith(_BOX)


def can_execute(directory: int, program: str) -> bool:
    """Return whether a sandbox can execute this program.

    `directory` is the open working directory of a box; one that lies there must be asked for before it runs.
    """
    in_box = lies_in_box(program)
    name = program.removeprefix(_BOX) if in_box else program
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except PermissionError:
        # A program that may be executed and not read.
        return not in_box and os.access(program, os.X_OK)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        is_program = stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IXOTH)
        return is_program and format_problem(os.pread(fd, HEAD_BYTES, 0)) is None
    finally:
        os.close(fd)


def _script_problem(head: bytes) -> str | None:
    line = head.removeprefix(_SCRIPT).partition(b"\n")[0].split()
    if not line:
        return "its first line names no interpreter after #!"
    return _missing(os.fsdecode(line[0]))


def _elf_problem(head: bytes) -> str | None:
    if head[4:6] != _own_ident()[4:6] or head[18:20] != _own_ident()[18:20]:
        return "it is an ELF file for another kind of processor"
    if head[4] != _64_BITS:
        return None  # the kernel decides
    order = "<" if head[5] == 1 else ">"
    (kind,) = struct.unpack_from(f"{order}H", head, 16)
    if kind not in _EXECUTABLE_TYPES:
        return "it is an object file or a core dump, not a program"
    (table,) = struct.unpack_from(f"{order}Q", head, 32)
    size, count = struct.unpack_from(f"{order}HH", head, 54)
    if count == 0:
        return "it is an ELF file without a segment to load"
    for number in range(count):
        at = table + number * size
        if at + size > len(head):
            break  # an unusual place; the kernel decides
        (segment,) = struct.unpack_from(f"{order}I", head, at)
        if segment == _INTERPRETER:
            (offset,) = struct.unpack_from(f"{order}Q", head, at + 8)
            path = head[offset:].partition(b"\0")[0]
            return _missing(os.fsdecode(path)) if path else None
    return None


def _missing(interpreter: str) -> str | None:
    """Return a message if the interpreter of a program does not exist; one below the box is not looked up."""
    if interpreter.startswith("/") and not interpreter.startswith(_BOX) and not Path(interpreter).is_file():
        return f"its interpreter {interpreter!r} does not exist"
    return None


@cache
def _own_ident() -> bytes:
    """Return the first bytes of this process's program, which this processor executes."""
    with Path("/proc/self/exe").open("rb") as file:
        return file.read(20)
