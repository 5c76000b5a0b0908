"""Targets of atheris: `python -m harness.fuzz.target NAME CORPUS [options of libFuzzer]`."""

import math
import sys
from collections.abc import Callable
from typing import Final

import atheris

with atheris.instrument_imports(
    include=["verdictd.contract.archives", "verdictd.sandbox.isolate", "zipfile"]
):
    from verdictd.contract.archives import check_files, unpack
    from verdictd.errors import SandboxBroken
    from verdictd.files import check_name
    from verdictd.sandbox.isolate import report
    from verdictd.sandbox.model import Captured

_MAX_FILES, _MAX_BYTES = 4, 1_000


def archive(data: bytes) -> None:
    """A ZIP archive is refused with ValueError, or its files are within the bounds and stay in the box."""
    try:
        files = unpack(data, max_files=_MAX_FILES, max_bytes=_MAX_BYTES)
    except ValueError:
        return
    assert files == check_files(files, max_files=_MAX_FILES, max_bytes=_MAX_BYTES)
    for file in files:
        check_name(file.name)


def meta(data: bytes) -> None:
    """A meta file is refused with SandboxBroken, or all of its figures are possible ones."""
    try:
        found = report(1, data.decode(errors="replace"), Captured(), Captured(), group_kib=1024)
    except SandboxBroken:
        return
    assert all(math.isfinite(time_s) and time_s >= 0 for time_s in (found.cpu_time_s, found.wall_time_s))
    assert found.memory_kib >= 0
    assert found.exit_code is None or 0 <= found.exit_code <= 255
    assert found.signal is None or 0 <= found.signal <= 64


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"archive": archive, "meta": meta}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
