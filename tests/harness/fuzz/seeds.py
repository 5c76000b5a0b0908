"""Inputs to begin with, by the name of their target."""

import io
import zipfile
from collections.abc import Sequence
from typing import Final


def _archive(method: int, *names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as opened:
        for name in names:
            opened.writestr(name, b"content of " + name.encode())
        opened.comment = b"comment"
    return packed.getvalue()


SEEDS: Final[dict[str, Sequence[bytes]]] = {
    "archive": (
        _archive(zipfile.ZIP_STORED, "a", "d/b.txt"),
        _archive(zipfile.ZIP_DEFLATED, "a\\b", "d/", "ü"),
        _archive(zipfile.ZIP_STORED),
    ),
    "meta": (
        b"time:0.001\ntime-wall:0.010\nmax-rss:1472\ncsw-voluntary:3\ncsw-forced:6\nexitcode:0\n",
        b"status:SG\nmessage:Caught fatal signal 11\ntime:0.1\ntime-wall:0.1\nmax-rss:1\nexitsig:11\n",
        b"status:TO\nkilled:1\nmessage:Time limit exceeded (wall clock)\ntime:1\ntime-wall:9\nmax-rss:1\n",
        b"status:RE\nexitcode:3\ncg-mem:1024\ncg-oom-killed:1\ntime:0.5\ntime-wall:0.5\nmax-rss:1472\n",
    ),
}
