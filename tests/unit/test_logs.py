"""Logs are events with keys, and hold no secret and nothing that a guest wrote."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import orjson
import pytest
import structlog

from verdictd import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Each test sets logging up anew, and leaves it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_event_is_a_line_of_json_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, a line is JSON, with the context that is bound to the task."""
    logs.configure("info", "auto")
    structlog.contextvars.bind_contextvars(id="abc")
    structlog.get_logger().info("submission.answered", status="accepted")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)

    assert ("submission.answered", "accepted", "abc", "info") == (
        event["event"],
        event["status"],
        event["id"],
        event["level"],
    )


def test_library_records_come_through_the_same_renderer(capsys: pytest.CaptureFixture[str]) -> None:
    """One format for all lines."""
    logs.configure("info", "json")
    logging.getLogger("asyncio").warning("slow callback: %s", "x")

    assert "slow callback: x" == json.loads(capsys.readouterr().err)["event"]


@pytest.mark.parametrize("level", ["debug", "info"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_traceback_shows_no_values(
    capsys: pytest.CaptureFixture[str], level: str, style: Literal["json", "console"]
) -> None:
    """A fault is logged with where it happened, and without what the variables held."""
    logs.configure(level, style)
    secret = "".join(["amqp://u:", "hidden", "@h/"])
    try:
        raise ValueError(len(secret))
    except ValueError:
        structlog.get_logger().exception("delivery.failed")
    said = capsys.readouterr().err

    assert "ValueError" in said
    assert secret not in said


@pytest.mark.parametrize("library", ["aio_pika", "aiormq"])
def test_libraries_that_log_messages_are_silent(capsys: pytest.CaptureFixture[str], library: str) -> None:
    """They would put the bodies of messages into the log."""
    logs.configure("debug", "json")
    logging.getLogger(f"{library}.channel").error("returned: %r", b"the source of a program")

    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("style", ["json", "console"])
def test_terminal_escapes_do_nothing(
    capsys: pytest.CaptureFixture[str], style: Literal["json", "console"]
) -> None:
    """Control characters in an id or a name from a sender are shown as escapes."""
    logs.configure("info", style)
    structlog.get_logger().info("x", reply_to="\x1b[2J")

    assert "\x1b" not in capsys.readouterr().err


def test_terminal_escapes_in_an_error_do_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The message of an error may quote what a sender wrote."""
    logs.configure("info", "console")
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("delivery.failed")
    said = capsys.readouterr().err

    assert "\x1b" not in said
    assert "ValueError: \\x1b[2J" in said


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_line_for_the_journal_begins_with_its_priority(
    level: str, priority: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`journalctl -p warning` shows what matters."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure("debug", "auto")
        getattr(structlog.get_logger(), level)("x.happened")
    line = (tmp_path / "journal").read_text()

    assert f"<{priority}>" == line[:3]
    assert "x.happened" == json.loads(line[3:])["event"]


def test_error_without_a_log_is_one_for_the_journal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`journalctl -p err` shows why a start failed; a terminal gets the bare text."""
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setattr(sys, "stderr", stream)
        elsewhere = logs.error_prefix()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

        assert ("", "<3>") == (elsewhere, logs.error_prefix())


def test_line_for_anything_else_has_no_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is inherited by who sends its output elsewhere."""
    with (tmp_path / "file").open("w+") as stream:
        monkeypatch.setenv("JOURNAL_STREAM", "1:1")
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure("info", "auto")
        structlog.get_logger().info("x.happened")

    assert "{" == (tmp_path / "file").read_text()[0]


def test_printable_text_shows_what_is_not() -> None:
    """Escapes in place of control characters and of what changes the direction of writing; letters stay."""
    shown = logs.printable("é\x1b[2J\r\n\u202e", keep="\n")

    assert "é\\x1b[2J\\r\n\\u202e" == shown


@pytest.mark.parametrize(
    "text", ["plain é 中", "\x1b]0;x\x07 \x7f\x9b2J", "\u202egpj.exe\u2066", "\u2028\U000e0001"]
)
def test_printable_json_has_the_same_value(text: str) -> None:
    """On a terminal nothing of it is obeyed, and a client that reads it sees no difference."""
    shown = logs.printable_json(orjson.dumps({"stdout": text}))

    assert shown.isprintable()
    assert {"stdout": text} == json.loads(shown) == orjson.loads(shown)
