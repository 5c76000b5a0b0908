"""The command line: commands and their options. Each command imports its room when it runs."""

import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from verdictd import __version__
from verdictd.cli.broken_pipe import end_if_unread
from verdictd.cli.options import (
    Config,
    DataAt,
    Expected,
    Files,
    FilesOrPackage,
    Format,
    Language,
    Output,
    Package,
    Stdin,
    Tests,
)

if TYPE_CHECKING:
    from yarl import URL

    from verdictd.cli.batch import Extras, Results
    from verdictd.settings import Settings

    Judge = Callable[..., Coroutine[Any, Any, Results]]

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help and usage errors in plain text, without importing rich
)


def main() -> None:
    """Run a command. Exit with 78 if a setting is wrong, with 1 if something is missing on this host."""
    try:
        app()
    except SystemExit as error:
        if error.code:
            end_if_unread(error)
        raise
    except Exception as error:
        from verdictd.cli.failures import exit_with

        end_if_unread(error)
        exit_with(error)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"verdictd {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Judge submissions from RabbitMQ in the isolate sandbox, and publish the results."""


@app.command()
def serve(config: Config = None) -> None:
    """Judge submissions from the queue until SIGTERM or Ctrl-C."""
    import faulthandler

    from verdictd.service.memory import absent, give_back_large_blocks

    with absent("rich"):  # structlog would import it for tracebacks that no log of ours has: 3 MiB
        from verdictd import logs
    from verdictd.cli.configuration import load
    from verdictd.service import daemon

    give_back_large_blocks()
    loaded = load(config)
    logs.configure(loaded.log.level, loaded.log.format)
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: the journal then shows where it hung
    _run(daemon.serve(loaded))


@app.command()
def run(  # noqa: PLR0917 - each is an option of the command
    files: Files,
    language: Language = None,
    stdin: Stdin = None,
    expected: Expected = None,
    tests: Tests = None,
    output: Output = Format.TABLE,
    config: Config = None,
) -> None:
    """Judge files on this host, without a broker, and show the results.

    Exits with 0 if all are accepted, else with 1.
    """
    from verdictd.cli.batch import judge, read_entries
    from verdictd.cli.live import watching
    from verdictd.cli.results import show
    from verdictd.cli.verify import on_this_host

    with on_this_host(_quiet(config), tests) as (settings, data_at):
        extras = _extras(settings, language, stdin, expected, tests=tests, data_at=data_at)
        entries = read_entries(files, extras, max_bytes=settings.limits.message_bytes)
        with watching([entry.name for entry in entries]) as view:
            results = _run(judge(settings, entries, view=view))
    sys.exit(0 if show(entries, results, as_json=output is Format.JSON) else 1)


@app.command()
def verify(package: Package, output: Output = Format.TABLE, config: Config = None) -> None:
    """Judge all submissions of a problem package on this host, without a broker.

    Says for each if it got the verdict that its folder in submissions/ is named after.
    Exits with 0 if all did, else with 1.
    """
    from verdictd.cli.batch import judge
    from verdictd.cli.verify import on_this_host

    with on_this_host(_quiet(config), package) as (settings, data_at):
        ended_well = _verified(settings, package, output, partial(judge, settings), data_at)
    sys.exit(0 if ended_well else 1)


@app.command()
def submit(  # noqa: PLR0917 - each is an option of the command
    files: FilesOrPackage,
    language: Language = None,
    stdin: Stdin = None,
    expected: Expected = None,
    tests: Tests = None,
    data_at: DataAt = None,
    output: Output = Format.TABLE,
    queue: Annotated[
        str | None,
        typer.Option(
            help="Queue of submissions (default: broker.submissions_queue, or first of broker.queues)."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the results.")] = 300,
    config: Config = None,
) -> None:
    """Publish files to a queue of submissions and show the results.

    Exits with 0 if all are accepted, else with 1. A problem package is published with all of its
    submissions, which are shown as by verify.
    """
    from verdictd.cli import batch
    from verdictd.cli.live import watching
    from verdictd.cli.results import show

    settings = _quiet(config)
    if any(file.is_dir() for file in files):
        package = _only_package(files, (language, stdin, expected, tests))
        publish = partial(batch.submit, settings, queue=queue, timeout_s=timeout)
        sys.exit(0 if _verified(settings, package, output, publish, data_at) else 1)
    extras = _extras(settings, language, stdin, expected, tests=tests, data_at=data_at)
    entries = batch.read_entries(files, extras, max_bytes=settings.limits.message_bytes)
    with watching([entry.name for entry in entries]) as view:
        results = _run(batch.submit(settings, entries, queue=queue, timeout_s=timeout, view=view))
    sys.exit(0 if show(entries, results, as_json=output is Format.JSON) else 1)


@app.command()
def cancel(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of submissions.")], config: Config = None
) -> None:
    """Cancel submissions, wherever they are: in the queue, or in a box of any daemon.

    Each is answered with the status cancelled, unless it was answered before.
    """
    from verdictd.amqp.control import tell_all
    from verdictd.contract.control import ControlMessage

    try:
        messages = [ControlMessage(cancel=submission_id) for submission_id in ids]
    except ValueError:
        raise typer.BadParameter("an id has 1 to 128 of A-Z a-z 0-9 . _ : -", param_hint="ID") from None
    _run(tell_all(_quiet(config).broker, messages))
    typer.echo(f"All daemons are told to cancel {', '.join(ids)}.")


@app.command()
def check(
    broker: Annotated[bool, typer.Option(help="Try the broker too.")] = True,
    config: Config = None,
) -> None:
    """Try everything that judging needs; say how to repair what fails.

    Tries the settings, the broker, the sandbox, its boxes and each installed language.
    Exits with 1 if anything fails.
    """
    from verdictd.cli.check import check_and_print

    sys.exit(0 if _run(check_and_print(_quiet(config), broker=broker)) else 1)


@app.command()
def top(
    daemons: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URL",
            help="Daemons, as URL or host:port (default: the one that the settings are for, on this host).",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=3_600, help="Seconds between two requests to a daemon.")
    ] = 1,
    once: Annotated[
        bool,
        typer.Option("--once", help="Print the facts once, for scripts. Exits with 1 unless all are ready."),
    ] = False,
    config: Config = None,
) -> None:
    """Watch daemons over HTTP until Ctrl-C.

    Shows which are ready, what runs in their boxes, the queue, rates, and the latest verdicts.
    Every daemon is sent the first token of http.tokens, if there is one.
    """
    from rich.console import Console

    from verdictd.cli.configuration import load
    from verdictd.cli.status_client import local_daemon
    from verdictd.cli.top import ask, facts, watch

    http = load(config).http
    urls = _urls(daemons) if daemons else [local_daemon(http)]
    token = http.tokens[0] if http.tokens else None
    if once:
        reports = _run(ask(urls, token))
        typer.echo(facts(reports), nl=False)
        sys.exit(0 if all(report.ready for report in reports) else 1)
    console = Console()
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        raise typer.BadParameter("needed where the output is not a terminal", param_hint="--once")
    _run(watch(urls, token, interval_s=interval, console=console))


def _urls(addresses: list[str]) -> "list[URL]":
    from verdictd.cli.status_client import parse_address

    try:
        return [parse_address(address) for address in addresses]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="URL") from None


@app.command()
def languages(output: Output = Format.TABLE, config: Config = None) -> None:
    """List the languages, and what each lacks on this host."""
    from verdictd.cli.configuration import load
    from verdictd.cli.language_list import as_columns, as_json
    from verdictd.judging.languages import Registry

    registry = Registry.load(load(config).judge.languages_file)
    if output is Format.TABLE:
        typer.echo(as_columns(registry))
        return
    for language in registry:
        typer.echo(as_json(language))


@app.command()
def schema(
    directory: Annotated[Path, typer.Argument(file_okay=False, help="Directory to write to.")] = Path(
        "schemas"
    ),
) -> None:
    """Write the JSON schemas of submissions, results and events."""
    from verdictd.contract import schema as json_schema

    json_schema.write(directory)


@app.command("systemd")
def install(
    write: Annotated[
        bool, typer.Option("--write", help="Write the files (default: only show what would change).")
    ] = False,
    as_root: Annotated[
        bool, typer.Option("--as-root", help="Add the drop-in for a daemon that runs as root.")
    ] = False,
    root: Annotated[
        Path, typer.Option(file_okay=False, help="Directory below which the files are written.")
    ] = Path("/"),
) -> None:
    """Write the files of the systemd service. Existing settings are kept."""
    from verdictd.cli.install import NEXT_STEPS, Change, files

    for file in files(root, as_root=as_root):
        planned = not write and file.change is Change.WRITTEN
        typer.echo(f"{'would be written' if planned else file.change:<17} {file.path}")
        if write:
            file.write()
    typer.echo(NEXT_STEPS if write else "Nothing was written. Add --write to write the files.")


def _extras(
    settings: "Settings",
    language: str | None,
    stdin: Path | None,
    expected: Path | None,
    *,
    tests: Path | None,
    data_at: str | None = None,
) -> "Extras":
    """Return what the options add to each source file."""
    from verdictd.cli.batch import Extras

    if tests is None:
        if data_at is not None:
            raise typer.BadParameter("possible with --tests or a problem package", param_hint="--data-at")
        return Extras(language, stdin, expected)
    from verdictd.cli.verify import fields_of

    if stdin is not None or expected is not None:
        raise typer.BadParameter("not possible together with --stdin or --expected", param_hint="--tests")
    return Extras(language, fields=fields_of(settings, tests, data_at))


def _only_package(files: list[Path], options: Iterable[object]) -> Path:
    if len(files) > 1 or any(option is not None for option in options):
        raise typer.BadParameter("a problem package is submitted alone, without options for source files")
    return files[0]


def _verified(
    settings: "Settings", directory: Path, output: Format, judge: "Judge", data_at: str | None = None
) -> bool:
    """Judge the submissions of a package, and show them; return True if all got their verdicts."""
    from verdictd.cli import verify
    from verdictd.cli.live import watching

    expected = verify.read_submissions(settings, directory, data_at)
    entries = [one.entry for one in expected]
    with watching([entry.name for entry in entries]) as view:
        results = _run(judge(entries, view=view))
    return verify.show(expected, results, as_json=output is Format.JSON)


def _quiet(config: Path | None) -> "Settings":
    """Load the settings for a command of which the log shows errors only."""
    from verdictd import logs
    from verdictd.cli.configuration import load

    loaded = load(config)
    logs.configure("error", "console")
    return loaded


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    from verdictd.judging.judgehost import use_pidfd_watcher

    use_pidfd_watcher()
    return asyncio.run(work)
