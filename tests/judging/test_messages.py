"""Publishers' bytes reach the program: sources that are not text, and archives from other systems."""

import base64
import io
import zipfile

import pytest

from judging.conftest import Judge

pytestmark = pytest.mark.anyio


def archive(*entries: tuple[str, int, bytes]) -> str:
    """A ZIP archive in base64, of names as they are written, modes, and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, mode, content in entries:
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            entry.create_system = 3
            entry.external_attr = mode << 16
            opened.writestr(entry, content)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("bash", b"printf '\xe4'"),
        ("c", b'#include <stdio.h>\nint main(void) { printf("\xe4"); }'),
        ("python", b"# coding: latin-1\nimport sys\nsys.stdout.buffer.write('\xe4'.encode('latin-1'))"),
    ],
)
async def test_source_that_is_not_utf_8_is_judged_as_its_bytes(
    judge: Judge, language: str, source: bytes
) -> None:
    """No byte is replaced on its way."""
    result = await judge(language, source, expected_output=b"\xe4")

    assert ("accepted", "base64", "5A==") == (result.status, result.stdout_encoding, result.stdout)


async def test_archive_of_windows_has_its_folders(judge: Judge) -> None:
    """A backslash in a name is a slash."""
    files = archive(("data\\in.txt", 0, b"42"))
    result = await judge("bash", "cat data/in.txt", additional_files=files)

    assert "42" == result.stdout


@pytest.mark.parametrize(("mode", "status"), [(0o100755, "accepted"), (0o100644, "runtime_error_nzec")])
async def test_executable_of_an_archive_can_be_executed(judge: Judge, mode: int, status: str) -> None:
    """A file without that mode cannot."""
    files = archive(("bin/tool", mode, b"#!/bin/sh\necho 42\n"))
    result = await judge("bash", "./bin/tool", additional_files=files)

    assert status == result.status
