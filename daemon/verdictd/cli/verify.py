"""Tests and submissions in a directory named on the command line, and the verdicts that are expected."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import typer
from rich.console import Console
from rich.text import Text

from verdictd.cli import results as shown
from verdictd.cli.batch import Entry, Results, id_of
from verdictd.cli.contents import TestData, UnusableFiles, check_size, in_natural_order, total_bytes
from verdictd.cli.package import Package, is_package, read_package, read_program
from verdictd.cli.pairs import read_pairs
from verdictd.cli.tables import Column, table
from verdictd.cli.words import printable, status_words
from verdictd.contract.result import Result, Status
from verdictd.judging.languages import Registry
from verdictd.settings import Settings

_RUNTIME_ERRORS = frozenset(
    {status for status in Status if status.startswith("runtime_error_")}
    | {Status.EXEC_FORMAT_ERROR, Status.MEMORY_LIMIT_EXCEEDED}
)
VERDICTS: dict[str, frozenset[Status]] = {
    "accepted": frozenset({Status.ACCEPTED}),
    "wrong_answer": frozenset({Status.WRONG_ANSWER}),
    "time_limit_exceeded": frozenset({Status.TIME_LIMIT_EXCEEDED}),
    "run_time_error": _RUNTIME_ERRORS,
    "memory_limit_exceeded": frozenset({Status.MEMORY_LIMIT_EXCEEDED}),
    "output_limit_exceeded": frozenset({Status.OUTPUT_LIMIT_EXCEEDED}),
    "compiler_error": frozenset({Status.COMPILATION_ERROR}),
    "rejected": frozenset(
        {Status.WRONG_ANSWER, Status.TIME_LIMIT_EXCEEDED, Status.OUTPUT_LIMIT_EXCEEDED} | _RUNTIME_ERRORS
    ),
}
"""Verdicts by the folder in `submissions` that stands for them."""
_EXPLAINED = 10  # of the verdicts that were not expected
_ENCODED = 8  # bytes of a message at most for one of a test, and room for the program
_COLUMNS = (
    Column("as expected"),
    Column("submission", cut=4),
    Column("verdict", cut=3),
    Column("test", cut=2),
    Column("CPU time", cut=1, number=True),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """A submission of a package, and the verdicts that are as expected."""

    entry: Entry
    verdicts: frozenset[Status]


@contextmanager
def on_this_host(settings: Settings, directory: Path | None) -> Iterator[tuple[Settings, str | None]]:
    """Yield settings and `data_at` with which tests of any size in a directory can be judged on this host.

    Those that may have no room in a message stay in their files, which are copied to a temporary directory
    as they are used.
    """
    if directory is None or _fits(settings, directory):
        yield settings, None
        return
    with TemporaryDirectory(prefix="verdictd-") as cache:
        root = directory / "data" if is_package(directory) else directory
        data = settings.data.model_copy(update={"directory": root, "cache_directory": Path(cache)})
        yield settings.model_copy(update={"data": data}), "."


def _fits(settings: Settings, directory: Path) -> bool:
    """Return True if the tests have room in a message, whatever they consist of."""
    data = directory / "data"
    found = data.rglob("*") if is_package(directory) else directory.iterdir()
    return _ENCODED * total_bytes(file for file in found if file.is_file()) <= settings.limits.message_bytes


def fields_of(settings: Settings, directory: Path, data_at: str | None = None) -> Mapping[str, object]:
    """Return the tests in a directory as fields; those of a problem package with its limits and checker.

    `data_at`: the place where judge boxes find their files, which are not sent then.
    """
    data = TestData(settings.limits.message_bytes, data_at)
    if not is_package(directory):
        return {"tests": read_pairs(directory, data)}
    package = read_package(directory, Registry.load(settings.judge.languages_file), data)
    _warn(package.warnings)
    return package.fields


def read_submissions(settings: Settings, directory: Path, data_at: str | None = None) -> list[Expected]:
    """Return the submissions of a problem package; name the parts of it that are not used."""
    registry, max_bytes = Registry.load(settings.judge.languages_file), settings.limits.message_bytes
    package = read_package(directory, registry, TestData(max_bytes, data_at))
    expected, warnings = submissions(package, registry, max_bytes=max_bytes)
    _warn([*package.warnings, *warnings])
    return expected


def submissions(package: Package, registry: Registry, *, max_bytes: int) -> tuple[list[Expected], list[str]]:
    """Return the submissions of a package, and warnings about folders that stand for no verdict.

    Raises UnusableFiles if there are none.
    """
    root = package.directory / "submissions"
    found, warnings = [], []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.name not in VERDICTS or not folder.is_dir():
            warnings.append(f"submissions/{folder.name} is not used: it stands for no verdict")
            continue
        for path in sorted(folder.iterdir(), key=lambda path: in_natural_order(path.name)):
            entry = _entry(package, path, registry)
            check_size(entry.name, len(entry.body), max_bytes)
            found.append(Expected(entry, VERDICTS[folder.name]))
    if not found:
        raise UnusableFiles(f"{root}: no submissions in folders named after a verdict")
    return found, warnings


def _entry(package: Package, path: Path, registry: Registry) -> Entry:
    name = f"{path.parent.name}/{path.name}"
    body = {
        "id": id_of(name.replace("/", "-")),
        **read_program(path, registry).fields,
        **package.fields,
        "metadata": {"expected": path.parent.name},
    }
    return Entry(name, id_of(name), orjson.dumps(body))


def _warn(warnings: Sequence[str]) -> None:
    """Print a line for each part of a package that is not used."""
    for warning in warnings:
        typer.echo(f"verdictd: {printable(warning)}", err=True)


def show(expected: Sequence[Expected], results: Results, *, as_json: bool) -> bool:
    """Print if each submission got a verdict of its folder; return True if all did."""
    entries = [one.entry for one in expected]
    differing = [
        (one, results[at])
        for at, one in enumerate(expected)
        if at in results and results[at].status not in one.verdicts
    ]
    if as_json:
        shown.show(entries, results, as_json=True)
    else:
        console = Console(soft_wrap=True)
        rows = [_row(one, results[at]) for at, one in enumerate(expected) if at in results]
        console.print(table(_COLUMNS, rows, console.width))
        for one, result in differing[:_EXPLAINED]:
            console.print(_reasons(one, result))
        shown.name_missing(entries, results)
        console.print(Text(f"\n{len(results) - len(differing)} of {len(expected)} as expected"))
    return not differing and len(results) == len(expected)


def _reasons(expected: Expected, result: Result) -> Text:
    """Return the message of a verdict that was not expected, and what is wrong with the submission."""
    found = Text(f"\n{printable(expected.entry.name)}: {printable(result.message)}")
    for problem in result.errors:
        found.append(f"\n  {printable(problem.path)}: {printable(problem.message)}")
    return found


def _row(expected: Expected, result: Result) -> list[str | Text]:
    agrees = result.status in expected.verdicts
    deciding = next((test.name for test in result.tests if test.status is result.status), "")
    return [
        Text("yes", "green") if agrees else Text("no", "bold red"),
        printable(expected.entry.name),
        status_words(result.status),
        "" if result.status is Status.ACCEPTED else printable(deciding),
        "" if result.time is None else f"{result.time:.3f} s",
    ]
