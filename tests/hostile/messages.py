"""Messages, archives and callbacks that mean harm, each with its answer."""

import json
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from support.amqp import DEAD, SUBMISSIONS, UNANSWERED
from support.archives import (
    archive,
    commented,
    damaged,
    directory_entry,
    encrypted,
    end_of_directory,
    linked,
    lying,
    overlapping,
    text,
)
from support.submissions import raw
from verdictd.contract.limits import MIB
from verdictd.contract.result import Status

DECOY: Final = "127.0.0.1"
"""An address that callbacks may not reach; somebody listens there."""

RECEIVERS: Final = {
    "redirects": "127.0.0.2",
    "never answers": "127.0.0.3",
    "answers forever": "127.0.0.4",
    "answers 500": "127.0.0.5",
}
"""Addresses of receivers that callbacks may reach, by how they behave."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, the JSON pointer of what is wrong with it, or None, and a part of what it is told.

    `{port}` in its body stands for the port on which decoy and receivers listen.
    """

    group: str
    name: str
    body: bytes
    path: str | None
    told: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    given_up: str | None = None
    """Outcome of its callback."""

    def fits(self, answer: Mapping[str, Any]) -> bool:
        """Return whether an answer has the status, the pointer and the words."""
        if self.path is None:
            return bool(answer["status"] == Status.ACCEPTED)
        (first, *_) = answer["errors"] or [{"path": None, "message": ""}]
        found = (answer["status"], first["path"], self.told in first["message"])
        return found == (Status.INVALID_SUBMISSION, self.path, True)


def body(**fields: Any) -> bytes:
    """A submission that is accepted, but for these fields."""
    return json.dumps({"language": "bash", "source_code": "true"} | fields).encode()


FINE: Final = body()


def number(value: str, name: str) -> Message:
    """A number, as it is written here, where another one belongs."""
    return Message("messages", f"{name} of {value}", raw(name, value), f"/{name}")


def bodies() -> list[Message]:
    """Messages whose body or properties are wrong."""
    return [
        Message("messages", "nothing", b"", "", "Invalid JSON"),
        Message("messages", "not JSON", b"{", "", "Invalid JSON"),
        Message("messages", "not an object", b"[]", "", "must be an object"),
        Message("messages", "not UTF-8", b'{"language": "bash", "source_code": "\xff"}', "/source_code", "its bytes are not UTF-8"),
        Message("messages", "a byte order mark", b"\xef\xbb\xbf" + FINE, "", "Invalid JSON"),
        Message("messages", "a lone surrogate", raw("stdin", '"\\ud800"'), "/stdin", "lone surrogate"),
        Message("messages", "nested 100,000 deep", b"[" * 100_000, "", "JSON values"),
        Message("messages", "nested 300 deep", b"[" * 300, "", "Invalid JSON"),
        Message("messages", "a million keys", b'{"a":0' + b',"a":0' * 1_000_000 + b"}", "", "JSON values"),
        *(number(value, "memory_limit") for value in ("9223372036854775808", "1e400", "NaN", "-Infinity", "-0", "0", "-1", "3e9", "1.5")),
        *(number(value, "cpu_time_limit") for value in ("1e400", "NaN", "-0", "0", "0.0004", "-1", "3e9", "true", '"1"')),
        Message("messages", "a number for a flag", body(enable_network=1), "/enable_network"),
        Message("messages", "a field that is not known", body(colour=1), "/colour"),
        Message("messages", "no source", b'{"language": "bash"}', "/source_code"),
        Message("messages", "an id with a path", body(id="../x"), "/id"),
        Message("messages", "an id with a new line", body(id="a\nb"), "/id"),
        Message("messages", "an id", body(id="twice"), None),
        Message("messages", "the same id with another body", body(id="twice", source_code="true;"), None),
        Message("messages", "gzip that is not", FINE, "", "not gzip", {"content_encoding": "gzip"}),
        Message("messages", "a bomb of gzip", zlib.compress(bytes(64 * MIB), level=1), "", "unpacks to more than", {"content_encoding": "gzip"}),
        Message("messages", "an encoding that is not known", FINE, "", "content_encoding", {"content_encoding": "br"}),
        Message("messages", "another charset", FINE, "", "content_type", {"content_type": "application/json; charset=latin-1"}),
        Message("messages", "another type", FINE, "", "type is", {"type": "something.else"}),
        Message("messages", "32 KiB of headers", FINE, None, properties={"headers": {"a": "A" * 33_000}}),
        *(
            Message("messages", f"reply to {queue[:30]}", FINE, "", "reply_to", {"reply_to": queue})
            for queue in (
                *(SUBMISSIONS, UNANSWERED, DEAD, "verdictd.callbacks", "verdictd.control"),
                *("amq.topic", "somebody.elses", "x" * 255),
            )
        ),
        Message("messages", "reply to a queue that is not there", FINE, None, properties={"reply_to": "verdictd.reply.gone"}),
    ]  # fmt: skip


def packed(name: str, content: bytes, told: str) -> Message:
    """Additional files in an archive."""
    return Message("archives", name, body(additional_files=text(content)), "/additional_files", told)


def archives() -> list[Message]:
    """Messages whose archive is wrong."""
    entries = directory_entry() * 100_000
    return [
        packed("not an archive", b"PK", "not a readable ZIP file"),
        packed("a file above", archive(("../x", b"")), "a relative path"),
        packed("an absolute file", archive(("/x", b"")), "a relative path"),
        packed("backslashes above", archive(("a\\..\\..\\x", b"")), "a relative path"),
        packed("a link", archive((linked("/etc/passwd"), b"/etc/passwd")), "a link or a special file"),
        packed("a device", archive((linked("", kind=stat.S_IFCHR), b"")), "a link or a special file"),
        packed("a bomb", archive(("bomb", bytes(16 * MIB))), "unpacks to more than"),
        packed("entries that overlap", overlapping(), "overlaps another entry"),
        packed("100,000 entries", entries + end_of_directory(len(entries)), "too many entries"),
        packed("a name that is there twice", archive(("a", b"1"), ("a", b"2")), "'a'"),
        packed("the name of the source", archive(("main.sh", b"")), "main.sh"),
        packed("a size that lies", lying(), "Bad CRC-32"),
        packed("a wrong checksum", damaged(), "Bad CRC-32"),
        packed("a password", encrypted(), "is encrypted"),
        packed("a second end in the comment", commented(archive(("a", b"1")), archive(("b", b"2"))), "second end"),
        packed("a name with NUL", archive(("x.x", b"1")).replace(b"x.x", b"x\0x"), "control characters"),
        packed("a name too long", archive(("x" * 300, b"")), "255 bytes"),
    ]  # fmt: skip


def to(url: str, told: str = "", *, given_up: str | None = None, what: str = "") -> Message:
    """A callback: refused at once, or accepted and given up with this outcome."""
    path = "/callback_url" if given_up is None else None
    return Message("callbacks", what or url, body(callback_url=url), path, told, given_up=given_up)


def callbacks() -> list[Message]:
    """Messages whose callback must not be made, or is given up."""
    return [
        *(
            to(f"http://{host}/", "may be reached" if host[0] != "[" else "may not be reached", what=host)
            for host in (
                "127.0.0.1:{port}", "0.0.0.0:{port}", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "2130706433:{port}",
                "017700000001:{port}", "0x7f000001:{port}", "0177.0.0.1:{port}", "127.1:{port}", "[::1]:{port}",
                "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]:{port}", "[64:ff9b::7f00:1]:{port}",
            )
        ),
        to("http://user@example.org/", "a user name or a password is not accepted"),
        to("http://example.org@127.0.0.1:{port}/", "a user name or a password is not accepted"),
        to("http://example.org./", "not a valid host name"),
        to("http://127.0.0.1.:{port}/", "not a valid host name"),
        to("http://example.org:22/", "port 22 is not allowed"),
        to("ftp://example.org/"),
        to("file:///etc/passwd"),
        to("http://localhost:{port}/", given_up="refused", what="a name of a refused address"),
        *(to(f"http://{address}:{{port}}/", given_up="failed", what=f"a receiver that {name}") for name, address in RECEIVERS.items()),
    ]  # fmt: skip


def all_messages() -> list[Message]:
    """Make all of them: large archives take time."""
    return [*bodies(), *archives(), *callbacks()]
