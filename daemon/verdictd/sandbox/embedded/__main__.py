"""Starts the sandbox: `python -I -S <this file> ...`, or with its directory, which takes 5 ms longer."""

import os
import sys


def declare_packages() -> None:
    """Declare the packages above this one without running them: they are the daemon's, and slow to import."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs milliseconds
    sys.path[:] = [path for path in sys.path if path != folder]  # nothing here may pass for a standard module
    for name in ("verdictd.sandbox.embedded", "verdictd.sandbox", "verdictd"):
        package = type(sys)(name)
        package.__path__ = [folder]
        sys.modules[name] = package
        folder = os.path.dirname(folder)  # noqa: PTH120


if not __package__:
    declare_packages()

try:
    from verdictd.sandbox.embedded.command import main

    code = main(sys.argv[1:])
except BaseException as problem:  # Python would say 1, which means that the program failed
    code = 2
    os.write(2, f"{problem!r}\n".encode(errors="replace"))
finally:
    # Nothing is buffered and nothing is left to run, so the interpreter need not be torn down.
    os._exit(code)
