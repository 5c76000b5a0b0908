"""Exit codes and messages for errors that the user of a command can repair."""

import sys

import typer

from verdictd import logs
from verdictd.cli.configuration import SettingsError
from verdictd.cli.contents import UnusableFiles
from verdictd.cli.words import printable
from verdictd.errors import BrokerUnavailable, file_error
from verdictd.judging.languages import LanguagesError
from verdictd.monitoring import systemd
from verdictd.sandbox.discovery import NoSandbox
from verdictd.sandbox.pool import BoxTaken

EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h: systemd does not start the service again


def exit_with(error: Exception) -> None:
    """Say what is wrong on the terminal or in the journal, and in `systemctl status`, and exit.

    Return if the error is a bug of ours.
    """
    cause = _only(error)
    exit_code = _exit_code(cause)
    if exit_code is not None:
        said = file_error(cause) if isinstance(cause, OSError) else str(cause)
        typer.echo(f"{logs.error_prefix()}verdictd: {printable(said)}", err=True)
        systemd.notify(systemd.status(said))
        sys.exit(exit_code)


def _only(error: Exception) -> Exception:
    """Return the one error in a group, in which task groups wrap the error of a failed start."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions
    return error


def _exit_code(error: Exception) -> int | None:
    match error:
        case SettingsError() | LanguagesError() | BoxTaken():
            return EXIT_SETTINGS
        case NoSandbox() | BrokerUnavailable() | UnusableFiles() | OSError():
            return 1
    return None
