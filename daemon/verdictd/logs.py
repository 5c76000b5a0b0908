"""Logs: events with keys, to standard error."""

import contextlib
import io
import json
import logging
import os
import sys
from typing import Literal, TextIO, cast

import orjson
import structlog

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Priorities of syslog, which journald reads from the beginning of a line."""


def configure(level: str, style: Literal["auto", "console", "json"]) -> None:
    """Send structlog's events, and the log records of libraries, to standard error in one format."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    made: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor]
    if console:
        made.append(_make_printable)
        # A traceback of rich shows local variables: bodies of messages, and the password in the broker's URL.
        rendered = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)
        ]
    else:
        made.append(structlog.processors.format_exc_info)
        rendered = [structlog.processors.JSONRenderer(serializer=_dump)]
    if _journald_reads(sys.stderr):
        rendered.append(_with_priority)
    structlog.configure(
        processors=[*made, *rendered],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Patient(sys.stderr))),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=made, processors=[remove, *rendered])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These log whole frames at debug and returned messages at error, bodies included. The modules that use a
    # connection log what matters when it is lost.
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def error_prefix() -> str:
    """Return the prefix for an error that is written to standard error without the log."""
    return f"<{_PRIORITIES['error']}>" if _journald_reads(sys.stderr) else ""


def printable(text: str, *, keep: str = "") -> str:
    """Replace each character that is not printable by its escape sequence, except those in `keep`.

    Text from others (a sender, a receiver, a program) could otherwise control a terminal or forge a log line.
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def printable_json(encoded: bytes) -> str:
    """Return the same JSON with an escape for each character that `printable` replaces: no value changes."""
    text = encoded.decode()
    return (
        text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    )


class _Patient:
    """Stream that loses what cannot be written: a log on a full disk ends nobody's work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _with_priority(_logger: object, method: str, rendered: structlog.typing.EventDict) -> str:
    """Begin each line of an event with its priority, after sd-daemon(3)."""
    prefix = f"<{_PRIORITIES.get(method, _PRIORITIES['info'])}>"
    return "\n".join(prefix + line for line in str(rendered).splitlines())


def _journald_reads(stream: TextIO) -> bool:
    """Return whether systemd has connected the stream to the journal, after systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _plain_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(printable(text.getvalue(), keep="\n"))  # the message of an error may quote a sender


def _make_printable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}


def _dump(event: object, **_: object) -> str:
    return printable_json(orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS))
