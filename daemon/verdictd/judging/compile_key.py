"""Digest of everything that can change what a compiler makes of a program."""

import functools
import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from verdictd import __version__
from verdictd.judging.languages import Language
from verdictd.judging.sources import Program
from verdictd.sandbox.model import Sandbox

# Every package that is installed, upgraded or removed changes one of them: a compiler is more than one file.
_PACKAGE_DATABASES = ("/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite", "/lib/apk/db/installed")
_OF_PROCESSOR = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
_TABLE = TypeAdapter(Language)


def compile_key(program: Program, *, version: str | None, sandbox: Sandbox, artifact_bytes: int) -> str:
    """Return the key of a program: equal keys mean that the compiler would make the same of both.

    `version` is that of the compiler. `artifact_bytes`: bound on what it makes.
    """
    digest = hashlib.sha256()
    environment = (__version__, sandbox.name, sandbox.version, _processor(), version or "")
    _add(digest, [text.encode() for text in environment])
    _add(digest, [f"{artifact_bytes}".encode(), *_installed(program.language)])
    _add(digest, [_TABLE.dump_json(program.language), program.source_code])
    _add(digest, [option.encode() for option in program.options])
    _add(digest, [] if program.entry_point is None else [program.entry_point.encode()])
    for file in program.files:
        _add(digest, [file.name.encode(), b"x" if file.executable else b"", file.content])
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", parts: Sequence[bytes]) -> None:
    """Add a list in a form that no other list has."""
    digest.update(len(parts).to_bytes(8, "big"))
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)


def _installed(language: Language) -> Iterator[bytes]:
    """Yield what tells an upgraded compiler, or another one of the same version."""
    compiler = os.path.realpath(language.compile_cmd[0])
    for path in (compiler, *_PACKAGE_DATABASES):
        try:
            status = Path(path).stat()
        except OSError:
            yield path.encode()
        else:
            yield f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}".encode()


@functools.cache
def _processor() -> str:
    """Return the kind of processor, which -march=native compiles for; a disk may be moved to another host."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        first = ""
    lines = [line for line in first.splitlines() if line.startswith(_OF_PROCESSOR)]
    return "\n".join([platform.machine(), *lines])
