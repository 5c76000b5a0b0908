"""The commands, as a person or a script runs them."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from support.boxes import own_boxes
from support.daemon import environment
from support.forkserver import Process


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


async def command(*arguments: str | Path, **settings: str) -> Ended:
    """Run `verdictd` with these arguments, off a terminal, and with these settings in its environment."""
    with own_boxes(settings) as own, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        words = [str(word) for word in arguments]
        process = await Process.fork(words, environment(**own) | {"COLUMNS": "120"}, out=out, err=err)
        async with asyncio.timeout(120):
            code = await process.wait()
        return Ended(code, _written(out), _written(err))


def _written(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
