"""Entry point: `python -I -S <this file> ...`, or with its directory, which takes 5 ms longer."""

import os
import sys


def declare_packages() -> None:
    """Declare the packages above this one without importing them: they belong to the daemon and are slow."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - importing pathlib takes milliseconds
    sys.path[:] = [path for path in sys.path if path != folder]  # no file here may shadow a standard module
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
except BaseException as problem:  # Python would exit with 1, which means that the program failed
    code = 2
    os.write(2, f"{problem!r}\n".encode(errors="replace"))
finally:
    # Nothing is buffered and nothing is left to run, so the interpreter need not shut down.
    os._exit(code)
