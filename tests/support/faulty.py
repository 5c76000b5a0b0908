"""A sandbox that fails when a test wants it to."""

import sys
from pathlib import Path

from verdictd import sandbox

EMBEDDED = Path(sandbox.__file__).parent / "embedded" / "__main__.py"


class Faulty:
    """An executable that is the embedded sandbox until it is told to do something else."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "isolate"
        self._instead = folder / "instead"
        self.come_back()

    def do_instead(self, script: str) -> None:
        """Run these lines first; `exit` in them replaces the sandbox."""
        self._instead.write_text(script)

    def work_again(self) -> None:
        """Be the embedded sandbox, whatever was to be done instead."""
        self._instead.unlink(missing_ok=True)

    def vanish(self) -> None:
        """Be gone from the disk."""
        self.path.unlink()

    def come_back(self) -> None:
        """Be there again."""
        self.path.write_text(
            f"#!/bin/bash\n[ -e {self._instead} ] && . {self._instead}\n"
            f'exec {sys.executable} -I -S {EMBEDDED} "$@"\n'
        )
        self.path.chmod(0o755)
