"""Compilations between two submissions: as the bytes of an entry of the cache, and back."""

import time

import orjson

from verdictd.contract.validation import Wire
from verdictd.files import File, check_name
from verdictd.judging.compile import Compilation, files_to_run
from verdictd.judging.execution import Artifact
from verdictd.judging.sources import Program
from verdictd.sandbox.model import Captured

_FAILURE_S = 300
"""Time for which a compilation error is remembered."""


class _Head(Wire):
    """First line of an entry; the compiler's output and its files follow, in this order."""

    made_at: float
    failure: str
    source: str = ""
    main_class: str = ""
    output_bytes: int
    output_truncated: bool
    executables: tuple[tuple[str, int], ...] = ()


def encode(compilation: Compilation) -> bytes:
    """Return a compilation in the form in which it is kept."""
    artifact = compilation.artifact or Artifact(())
    head = _Head(
        made_at=time.time(),
        failure=compilation.failure,
        source=artifact.source,
        main_class=artifact.main_class,
        output_bytes=len(compilation.output.data),
        output_truncated=compilation.output.truncated,
        executables=tuple((file.name, len(file.content)) for file in artifact.executables),
    )
    contents = [file.content for file in artifact.executables]
    return b"".join([orjson.dumps(head.model_dump()), b"\n", compilation.output.data, *contents])


def decode(content: bytes, program: Program) -> Compilation | None:
    """Return a compilation, or None if it is an error that was remembered long enough."""
    line, _, _ = content.partition(b"\n")
    try:
        head = _Head.model_validate_json(line)
        names = [check_name(name) for name, _ in head.executables]
    except ValueError:
        return None
    at = len(line) + 1
    output = Captured(content[at : at + head.output_bytes], head.output_truncated)
    if head.failure:
        is_recent = 0 <= time.time() - head.made_at < _FAILURE_S
        return Compilation(None, output, head.failure, repeatable=True) if is_recent else None
    at += head.output_bytes
    executables = []
    for name, (_, size) in zip(names, head.executables, strict=True):
        executables.append(File(name, content[at : at + size]))
        at += size
    artifact = Artifact(files_to_run(program, executables), executables, head.source, head.main_class)
    return Compilation(artifact, output, repeatable=True)
