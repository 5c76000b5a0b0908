"""Versions of compilers and interpreters, as their own commands name them."""

import asyncio
import os
import re
import signal

from verdictd.judging.languages import Language

_TIMEOUT_S = 30  # kotlinc on a busy host


class Versions:
    """Versions of the languages that were asked for so far, by name; each is asked for once."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    async def of(self, language: Language) -> str | None:
        """Return the version of a compiler or interpreter, or None if it is unknown."""
        if language.name not in self._known:
            self._known[language.name] = await version(language)
        return self._known[language.name]


async def version(language: Language, limit_s: float = _TIMEOUT_S) -> str | None:
    """Return the line in which the version command names a version; None if there is none, or no answer."""
    if not language.version_cmd:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            *language.version_cmd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            # Outside a box anybody can write to /tmp: start-up files must not be read from there.
            env={**language.environment, "HOME": "/nonexistent"},
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            # The whole group: a compiler may be a script that has started a JVM.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    lines = output.decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if re.search(r"\d\.\d|version\D*\d", line)), None)
