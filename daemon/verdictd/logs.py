"""Logs: events with keys, to standard error."""

import io
import json
import logging
import os
import sys
from typing import Literal, TextIO

import orjson
import structlog

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Priorities of syslog, which journald reads from the beginning of a line."""


def configure(level: str, style: Literal["auto", "console", "json"]) -> None:
    """Send structlog's events and the log records of libraries through one renderer."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if console:
        shared.append(_make_printable)
        # A traceback of rich shows local variables: bodies of messages, and the password in the broker's URL.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_plain_traceback
        )
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_dump)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatter = _JournalFormatter if _journald_reads(sys.stderr) else structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
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
    return f"<{_PRIORITIES[logging.ERROR]}>" if _journald_reads(sys.stderr) else ""


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


class _JournalFormatter(structlog.stdlib.ProcessorFormatter):
    """Formatter that begins each line with its priority, after sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


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
