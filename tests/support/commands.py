"""The commands, as a person or a script runs them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from support.boxes import own_boxes
from support.daemon import COMMAND, environment


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


async def command(*arguments: str | Path, **settings: str) -> Ended:
    """Run `verdictd` with these arguments, off a terminal, and with these settings in its environment."""
    with own_boxes(settings) as own:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(**own) | {"COLUMNS": "120"},
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())
