"""Arguments, input and files of a submission reach the program unchanged, and nothing else does."""

import base64
import hashlib
import io
import zipfile

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Status

pytestmark = pytest.mark.anyio

ECHO_ARGUMENTS = "import sys\nprint(sys.argv[1:])"


async def test_arguments_are_words_that_no_shell_has_seen(judge: Judge) -> None:
    """Quotes are split as a shell splits them; nothing is expanded, nothing runs."""
    result = await judge(
        "python", ECHO_ARGUMENTS, command_line_arguments="a 'b c' \"d e\" $HOME `id` $(id) ; | * -x"
    )

    expected = ["a", "b c", "d e", "$HOME", "`id`", "$(id)", ";", "|", "*", "-x"]
    assert f"{expected}\n" == result.stdout


async def test_arguments_in_a_list_are_taken_as_they_stand(judge: Judge) -> None:
    """A list is split already, new lines and quotes included."""
    arguments = ["", " ", "a\nb", "'", '"', "\\", "--", "é"]
    result = await judge("python", ECHO_ARGUMENTS, command_line_arguments=arguments)

    assert f"{arguments}\n" == result.stdout


async def test_allowed_compiler_option_reaches_the_compiler(judge: Judge) -> None:
    """An option of the allow-list is used."""
    source = "#include <stdio.h>\nint main(void) { puts(WORD); }"
    result = await judge("c", source, compiler_options=["-DWORD=__FILE__", "-O1"])

    assert (Status.ACCEPTED, "main.c\n") == (result.status, result.stdout)


async def test_stdin_of_16_mib_is_read_whole(judge: Judge) -> None:
    """The largest input arrives to the last byte, including bytes that are not text."""
    content = bytes(range(256)) * 65_536
    stdin = {"base64": base64.b64encode(content).decode()}
    result = await judge("bash", "sha256sum | cut -c -64", stdin=stdin)

    assert f"{hashlib.sha256(content).hexdigest()}\n" == result.stdout


async def test_stdin_that_is_never_read_does_no_harm(judge: Judge) -> None:
    """A program may ignore 16 MiB of input."""
    result = await judge("bash", "echo done", stdin="x" * (16 << 20))

    assert (Status.ACCEPTED, "done\n") == (result.status, result.stdout)


async def test_stdin_is_empty_by_default(judge: Judge) -> None:
    """Where nothing was sent, nothing can be read."""
    result = await judge("bash", "wc -c")

    assert "0\n" == result.stdout


async def test_stderr_is_kept_apart_unless_asked_for(judge: Judge) -> None:
    """The two streams are two fields, or one in the order of writing."""
    source = "echo out; echo err >&2; echo out"
    apart = await judge("bash", source)
    together = await judge("bash", source, redirect_stderr_to_stdout=True)

    assert ("out\nout\n", "err\n") == (apart.stdout, apart.stderr)
    assert ("out\nerr\nout\n", "") == (together.stdout, together.stderr)


async def test_output_that_is_no_text_comes_in_base64(judge: Judge) -> None:
    """Bytes are published as they were, and the encoding is named."""
    result = await judge("bash", r"printf '\xff\x00\x80'")

    assert ("base64", b"\xff\x00\x80") == (result.stdout_encoding, base64.b64decode(result.stdout))


async def test_additional_files_lie_beside_the_source(judge: Judge) -> None:
    """A list of files, text and base64, with directories."""
    files = [
        {"name": "answers.py", "content": "ANSWER = 42"},
        {"name": "data/one.bin", "content": base64.b64encode(b"\x00\x01").decode(), "encoding": "base64"},
    ]
    source = "from answers import ANSWER\nprint(ANSWER, open('data/one.bin', 'rb').read())"
    result = await judge("python", source, additional_files=files)

    assert "42 b'\\x00\\x01'\n" == result.stdout


async def test_additional_files_are_there_for_the_compiler_and_for_the_run(judge: Judge) -> None:
    """A header is compiled in, a data file is read at run time: both come from one ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word.h", '#define WORD "compiled "')
        archive.writestr("data.txt", "read")
    source = """
        #include <stdio.h>
        #include "word.h"
        int main(void) { char text[9]; fputs(WORD, stdout); puts(fgets(text, 9, fopen("data.txt", "r"))); }
    """
    result = await judge("c", source, additional_files=base64.b64encode(buffer.getvalue()).decode())

    assert (Status.ACCEPTED, "compiled read\n") == (result.status, result.stdout)


async def test_environment_has_nothing_of_the_daemons(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees the variables of its language, and no secret of the daemon."""
    monkeypatch.setenv("VERDICTD_BROKER__URL", "amqp://user:secret@127.0.0.1/")
    result = await judge("bash", "env | cut -d= -f1 | sort | tr '\\n' ' '")

    assert {"HOME", "LANG", "PATH"} <= set(result.stdout.split())
    assert "VERDICTD_BROKER__URL" not in result.stdout
