"""Results for a person: a card for one submission, one line each for several."""

import base64
import signal
from collections.abc import Iterator, Sequence

import orjson
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from verdictd.cli.batch import Entry, Results
from verdictd.cli.contents import listed
from verdictd.cli.outcomes import points_words, tables
from verdictd.cli.standard_output import StandardOutput
from verdictd.cli.tables import Column, status_colour, table
from verdictd.cli.words import memory_words, printable, printable_lines, status_words
from verdictd.contract.result import Cause, Encoding, Result, Status
from verdictd.logs import printable_json

NamedResult = tuple[str, Result]
"""The name of a file, and the result of its submission."""

_SHOWN_LINES = 100
_SHOWN_CHARACTERS = 8_000
_COLUMNS = (
    Column("status"),
    Column("name", cut=4),
    Column("CPU time", cut=3, number=True),
    Column("memory", cut=2, number=True),
    Column("message", cut=1),
)


def show(entries: Sequence[Entry], results: Results, *, as_json: bool) -> bool:
    """Print the results, and the names of files without one; return True if all files are accepted."""
    if as_json:
        for result in results.values():
            typer.echo(printable_json(orjson.dumps(result.model_dump(mode="json"))))
    else:
        _print([(entry.name, results[at]) for at, entry in enumerate(entries) if at in results], len(entries))
    return name_missing(entries, results) and all(
        result.status is Status.ACCEPTED for result in results.values()
    )


def name_missing(entries: Sequence[Entry], results: Results) -> bool:
    """Print the names of files without a result; return True if there are none."""
    missing = [entry.name for at, entry in enumerate(entries) if at not in results]
    if missing:
        typer.echo(f"verdictd: no result in time for {printable(listed(missing))}", err=True)
    return not missing


def _print(results: Sequence[NamedResult], files: int) -> None:
    console = StandardOutput()
    if files == 1:
        for named in results:
            console.print(whole(*named, console.width))
        return
    accepted = sum(result.status is Status.ACCEPTED for _, result in results)
    if results:
        console.print(lines(results, console.width))
        console.print(Text(f"\n{accepted} of {files} accepted"))


def whole(name: str, result: Result, width: int) -> Group:
    """Return the tables of a result that has tests, and its card below them."""
    parts: list[RenderableType] = [part for found in tables(result, width) for part in (found, Text(""))]
    return Group(*parts, card(name, result))


def card(name: str, result: Result) -> Text:
    """Return a verdict with its figures, and what the program and its compiler printed."""
    found = Text()
    found.append(status_words(result.status), f"bold {status_colour(result.status)}")
    found.append(f"  {printable(name)}\n{printable(result.message)}\n")
    for problem in result.errors:
        found.append(f"  {_problem(problem.path, problem.message)}\n")
    for label, value in (*_counts(result), *_figures(name, result)):
        found.append(f"{label:<11}{printable(value)}\n")
    for heading, content in _streams(result):
        found.append(f"\n{heading}\n", "bold")
        found.append(content)
    found.rstrip()
    return found


def _counts(result: Result) -> Iterator[tuple[str, str]]:
    if result.tests:
        accepted = sum(test.status is Status.ACCEPTED for test in result.tests)
        yield "Tests", f"{accepted} of {len(result.tests)} accepted"
    if result.points is not None:
        yield "Points", points_words(result.points, result.max_points)


def _figures(name: str, result: Result) -> Iterator[tuple[str, str]]:
    limits, language = result.limits, result.language
    if result.time is not None:
        yield "CPU time", f"{result.time:.3f} s" + (f" (limit {limits.cpu_time_limit:g} s)" if limits else "")
    if result.wall_time is not None:
        bound = f" (limit {limits.wall_time_limit:g} s)" if limits else ""
        yield "Wall time", f"{result.wall_time:.3f} s{bound}"
    if result.memory is not None:
        bound = f" (limit {memory_words(limits.memory_limit)})" if limits else ""
        yield "Memory", f"{memory_words(result.memory)}{bound}"
    if result.runs is not None and result.runs.count > 1:
        spread = result.runs.time
        yield (
            "Runs",
            f"{result.runs.count}, CPU time from {spread.min:.3f} s to {spread.max:.3f} s; means are shown",
        )
    if result.runs is not None and result.runs.near_limit:
        times = ", ".join(f"{time_s:.3f} s" for time_s in result.runs.near_limit)
        yield "Run again", f"as {times} of CPU time was little more than the limit"
    if result.cause is Cause.EXIT_CODE:
        yield "Exit code", str(result.exit_code)
    if result.cause in {Cause.SIGNAL, Cause.FILE_SIZE} and result.exit_signal is not None:
        yield "Signal", _signal(result.exit_signal)
    if language is not None:
        yield "Language", f"{language.name}, {language.version}" if language.version else language.name
    if result.id != name:
        yield "Id", result.id


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal has no name
        return str(number)


def _problem(path: str, message: str) -> str:
    return f"{printable(path)}: {printable(message)}" if path else printable(message)


def _streams(result: Result) -> Iterator[tuple[str, str]]:
    """Yield a heading and the text for each stream and each file that holds anything."""
    streams: tuple[tuple[str, str, Encoding, bool], ...] = (
        ("Output", result.stdout, result.stdout_encoding, result.stdout_truncated),
        ("Errors", result.stderr, result.stderr_encoding, result.stderr_truncated),
        (
            "Compiler",
            result.compile_output,
            result.compile_output_encoding,
            result.compile_output_truncated,
        ),
        *((f"File {printable(f.name)}", f.content, f.encoding, f.truncated) for f in result.files),
        ("Checker", result.checker_message, "utf-8", False),
        ("Checker, for the team", result.team_message, "utf-8", False),
    )
    for heading, content, encoding, truncated in streams:
        if not content:
            continue
        notes = ["not UTF-8 text"] if encoding == "base64" else []
        notes += ["truncated"] if truncated else []
        text = base64.b64decode(content).decode(errors="replace") if encoding == "base64" else content
        yield f"{heading} ({', '.join(notes)})" if notes else heading, _excerpt(text)
    for file in result.files:
        if file.problem is not None:
            yield f"File {printable(file.name)}", f"  {printable(file.problem)}\n"


def _excerpt(text: str) -> str:
    """Return the beginning of a text, indented, so that nothing in it passes for a line of the card."""
    start = "\n".join(text[:_SHOWN_CHARACTERS].split("\n")[:_SHOWN_LINES])
    shown = "".join(f"  {line}\n" for line in printable_lines(start).removesuffix("\n").split("\n"))
    left_out = len(text.rstrip("\n")) - len(start)
    if left_out > 0:
        shown += f"  ... {left_out:,} more characters; --output json shows all\n"
    return shown


def lines(results: Sequence[NamedResult], width: int) -> Group:
    """Return one line for each result, and below them what is wrong with invalid submissions."""
    return Group(table(_COLUMNS, [_line(*named) for named in results], width), *_problems(results))


def _line(name: str, result: Result) -> list[str | Text]:
    return [
        Text(status_words(result.status), status_colour(result.status)),
        printable(name),
        "" if result.time is None else f"{result.time:.3f} s",
        "" if result.memory is None else memory_words(result.memory),
        printable(result.message),
    ]


def _problems(results: Sequence[NamedResult]) -> Iterator[Text]:
    for name, result in results:
        if result.errors:
            yield Text(f"\n{printable(name)}")
        for problem in result.errors:
            yield Text(f"  {_problem(problem.path, problem.message)}")
