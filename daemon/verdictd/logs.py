"""Logs: events with keys, to standard error."""

import io
import logging
import os
import sys
from typing import Literal, TextIO

import orjson
import structlog

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""The priorities of syslog, which journald takes from the beginning of a line."""


def configure(level: str, style: Literal["auto", "console", "json"]) -> None:
    """Send structlog's events and the libraries' log records through one renderer."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if console:
        shared.append(_escape)
        # Tracebacks of rich show local variables: bodies of messages, and the password in the broker's URL.
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
    # At debug they log whole frames, at error what was returned: bodies of messages. What matters of a lost
    # connection is logged by the modules that use it.
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def error_prefix() -> str:
    """What an error begins with that is written beside the log, before or without one."""
    return f"<{_PRIORITIES[logging.ERROR]}>" if _journald_reads(sys.stderr) else ""


class _JournalFormatter(structlog.stdlib.ProcessorFormatter):
    """Begins each line with its priority, after sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def _journald_reads(stream: TextIO) -> bool:
    """Whether the stream is the one that systemd has connected to the journal, after systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _plain_traceback(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    # The message of an error may quote what others named.
    stream.write("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text.getvalue()))


def _escape(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Show control characters in what others named, so that a terminal does not obey them."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = repr(value)
    return event


def _dump(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
