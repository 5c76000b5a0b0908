"""Arguments and options that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Format of what a command prints."""

    TABLE = "table"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="VERDICTD_CONFIG",
        help="Settings file (default: /etc/verdictd/verdictd.toml, if it exists).",
    ),
]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Submissions (.json) or source files (main.c, hello.py, ...).",
    ),
]
FilesOrPackage = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        exists=True,
        help="Submissions (.json) or source files (main.c, hello.py, ...), or one problem package.",
    ),
]
Package = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Problem package in the ICPC/Kattis format: problem.yaml, data, submissions, ...",
    ),
]
Language = Annotated[
    str | None, typer.Option(help="Language of the source files (default: from the file extension).")
]
Stdin = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="File with the standard input of the source files."),
]
Expected = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="File with the expected output of the source files."),
]
Tests = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        metavar="DIR",
        help="Tests of the source files, in place of --stdin and --expected: a directory of *.in with *.out "
        "or *.ans, or a problem package with its limits and checker.",
    ),
]
DataAt = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Name the files of the tests instead of sending them: a URL, or a folder in the judge boxes' "
        "data.directory, that has the files of --tests, or those of the package's data.",
    ),
]
Output = Annotated[
    Format, typer.Option("--output", "-o", help="table for people, or json: one object per line.")
]
