"""The commands."""

import asyncio
import faulthandler
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from yarl import URL

from verdictd import __version__
from verdictd import logs as telemetry
from verdictd.cli import batch as batches
from verdictd.cli import install as installation
from verdictd.cli import status_client
from verdictd.cli import top as tops
from verdictd.cli.check import check as run_checks
from verdictd.cli.configuration import SettingsError, load
from verdictd.cli.inputs import Extras, read_body
from verdictd.cli.tables import add_result, language_table, result_table
from verdictd.contract import schema as schemas
from verdictd.contract.result import Result, Status
from verdictd.errors import BrokerUnavailable
from verdictd.judging.judgehost import use_pidfd_watcher
from verdictd.judging.languages import LanguagesError, Registry
from verdictd.monitoring import systemd
from verdictd.sandbox.discovery import NoSandbox
from verdictd.sandbox.pool import BoxTaken
from verdictd.service import daemon as service
from verdictd.settings import Settings

T = TypeVar("T")

EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h: systemd does not start the service again

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="VERDICTD_CONFIG",
        help="Settings file; else /etc/verdictd/verdictd.toml, if there is one.",
    ),
]
Files = Annotated[
    list[Path],
    typer.Argument(
        exists=True, dir_okay=False, help="Submissions (.json), or sources: main.c, hello.py, ..."
    ),
]
Language = Annotated[str | None, typer.Option(help="Of the sources; else their ending tells.")]
Stdin = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Input of the sources.")]
Expected = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Their expected output.")]
Output = Annotated[Format, typer.Option("--output", "-o", help="table, or json: one result a line.")]


def main() -> None:
    """Run a command; a wrong setting ends with 78, what is missing on this host with 1."""
    try:
        app()
    except Exception as error:
        cause = _only(error)
        match cause:
            case SettingsError() | LanguagesError() | BoxTaken():
                _fail(cause, EXIT_SETTINGS)
            case NoSandbox() | BrokerUnavailable() | OSError():
                _fail(cause, 1)
        raise


def _only(error: Exception) -> Exception:
    """The one error in a group, which is what a failed start leaves task groups with."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error


def _fail(error: Exception, exit_code: int) -> NoReturn:
    """Say what is wrong on the terminal or in the journal, and in `systemctl status`."""
    err.print(Text(f"{telemetry.error_prefix()}verdictd: {error}"))
    systemd.notify(systemd.status(str(error)))
    sys.exit(exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"verdictd {__version__}")
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
    """Judge what the queue brings, until SIGTERM."""
    settings = load(config)
    telemetry.configure(settings.log.level, settings.log.format)
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: the journal then has where it hung
    _run(service.serve(settings))


@app.command()
def run(  # noqa: PLR0917 - each is an option of the command
    files: Files,
    language: Language = None,
    stdin: Stdin = None,
    expected: Expected = None,
    output: Output = Format.TABLE,
    config: Config = None,
) -> None:
    """Judge files on this host, without a broker. Exits with 0 if all are accepted."""
    settings = load(config)
    telemetry.configure("error", "console")
    extras = Extras(language, stdin, expected)
    results = _run(batches.judge(settings, [read_body(file, extras) for file in files]))
    _show(results, output)


@app.command()
def submit(  # noqa: PLR0917 - each is an option of the command
    files: Files,
    language: Language = None,
    stdin: Stdin = None,
    expected: Expected = None,
    output: Output = Format.TABLE,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the results.")] = 300,
    config: Config = None,
) -> None:
    """Publish files to the submissions queue and wait for the results. Exits with 0 if all are accepted."""
    settings = load(config)
    telemetry.configure("error", "console")
    extras = Extras(language, stdin, expected)
    bodies = [read_body(file, extras) for file in files]
    with Progress(console=err, transient=True) as progress:
        bar = progress.add_task("judging", total=len(bodies))
        submitting = batches.submit(
            settings, bodies, timeout_s=timeout, on_result=lambda: progress.advance(bar)
        )
        results = _run(submitting)
    _show(results, output, wanted=len(files))


@app.command()
def check(
    broker: Annotated[bool, typer.Option(help="Try the broker too.")] = True,
    config: Config = None,
) -> None:
    """Try settings, broker, sandbox, boxes and each language; say what to do. Exits with 1 on any failure."""
    settings = load(config)
    telemetry.configure("error", "console")
    sys.exit(0 if _run(_check(settings, broker=broker)) else 1)


@app.command()
def top(
    daemons: Annotated[
        list[str] | None,
        typer.Argument(metavar="URL", help="Else the one that the settings are for, on this host."),
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=3_600, help="Seconds between two looks.")] = 1,
    once: Annotated[
        bool, typer.Option("--once", help="Print it once, for scripts. Exits with 1 unless all are ready.")
    ] = False,
    config: Config = None,
) -> None:
    """Watch daemons over HTTP: boxes, what runs, rates, the last verdicts, the queue. Ctrl-C ends it.

    Where daemons want a token, they are shown the first of http.tokens.
    """
    settings = load(config).http
    urls = _urls(daemons) if daemons else [status_client.own(settings)]
    token = settings.tokens[0] if settings.tokens else None
    if once:
        seen = _run(tops.look(urls, token))
        typer.echo(tops.facts(seen), nl=False)
        sys.exit(0 if all(report.ready for report in seen) else 1)
    if not sys.stdout.isatty() or out.is_dumb_terminal:
        raise typer.BadParameter("needed where the output is no terminal", param_hint="--once")
    _run(tops.live(urls, token, interval_s=interval, console=out))


def _urls(addresses: list[str]) -> list[URL]:
    try:
        return [status_client.parse(address) for address in addresses]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="URL") from None


@app.command()
def languages(
    output: Output = Format.TABLE,
    config: Config = None,
) -> None:
    """List the languages, and what each lacks on this host."""
    registry = Registry.load(load(config).judge.languages_file)
    if output is Format.TABLE:
        out.print(language_table(registry))
        return
    for language in registry:
        line = {
            "name": language.name,
            "also": sorted(language.words - {language.name}),
            "available": not language.missing,
            "missing": language.missing,
        }
        typer.echo(orjson.dumps(line))


@app.command()
def schema(directory: Annotated[Path, typer.Argument(file_okay=False)] = Path("schemas")) -> None:
    """Write the JSON schemas of submissions and results."""
    schemas.write(directory)


@app.command("systemd")
def install(
    write: Annotated[
        bool, typer.Option("--write", help="Write them; else only say what would change.")
    ] = False,
    as_root: Annotated[
        bool, typer.Option("--as-root", help="With the drop-in for a daemon that runs as root.")
    ] = False,
    root: Annotated[Path, typer.Option(file_okay=False, help="Write below this directory.")] = Path("/"),
) -> None:
    """Write the files of the service for systemd; settings that exist are kept."""
    for file in installation.files(root, as_root=as_root):
        out.print(Text(f"{file.change:<17} {file.path}"))
        if write:
            file.write()
    out.print(Text(_NEXT if write else "Nothing is written without --write."))


_NEXT = """
Next, as root:
    systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
    install -m 600 /dev/stdin /etc/verdictd/credentials/broker__url <<< 'amqp://user:password@host/'
    systemctl enable --now verdictd     # after an upgrade: systemctl start verdictd
Settings are in /etc/verdictd/verdictd.toml."""


def _run(work: Coroutine[Any, Any, T]) -> T:
    use_pidfd_watcher()
    return asyncio.run(work)


async def _check(settings: Settings, *, broker: bool) -> bool:
    passed = True
    async for checked in run_checks(settings, broker=broker):
        passed = passed and checked.passed
        mark = Text("ok    ", "green") if checked.passed else Text("FAILED", "red")
        out.print(mark, Text(f"{checked.name}: {checked.found}"))
        if checked.remedy is not None:
            out.print(Text(f"       -> {checked.remedy}"))
    return passed


def _show(results: list[Result], output: Format, *, wanted: int | None = None) -> None:
    if output is Format.JSON:
        for result in results:
            typer.echo(orjson.dumps(result.model_dump(mode="json")))
    else:
        table = result_table()
        for result in results:
            add_result(table, result)
        out.print(table)
    missing = (wanted or len(results)) - len(results)
    if missing:
        err.print(Text(f"verdictd: {missing} results did not come in time"))
    sys.exit(1 if missing or any(result.status is not Status.ACCEPTED for result in results) else 0)
