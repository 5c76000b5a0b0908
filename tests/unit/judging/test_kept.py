"""A compilation comes back from the cache as it was, and an error only for a while."""

import time

import pytest

from verdictd.files import File
from verdictd.judging.compile import Compilation
from verdictd.judging.execution import Artifact
from verdictd.judging.kept import decode, encode
from verdictd.judging.languages import Language
from verdictd.judging.sources import Program
from verdictd.sandbox.model import Captured

JAVA = Language(name="java", source_file="Main.java", compile_cmd=("/bin/javac",), run_cmd=("/bin/java",))
DATA = File("data.bin", b"\0\n\xff", executable=True)
PROGRAM = Program(JAVA, b"class A", (DATA, File("lib/A.class", b"old")))
MADE = Artifact(
    [DATA],
    [File("lib/A.class", b"\xca\xfe\n"), File("\xfc.class", b"")],
    source="Main.java",
    main_class="lib.A",
)
FAILED = Compilation(None, Captured(b"line 1: wrong"), "The compiler exited with code 1.", repeatable=True)


@pytest.mark.parametrize(
    "compilation",
    [
        Compilation(MADE, Captured(b"Note: \n\xff", truncated=True), repeatable=True),
        Compilation(Artifact([*PROGRAM.files], []), Captured(), repeatable=True),
        FAILED,
    ],
)
def test_what_was_kept_is_what_was_compiled(compilation: Compilation) -> None:
    """With the files of this submission, less those that the compiler's take the place of."""
    assert compilation == decode(encode(compilation), PROGRAM)


@pytest.mark.parametrize("passed_s", [-1, 301])
def test_error_is_forgotten_soon(monkeypatch: pytest.MonkeyPatch, passed_s: float) -> None:
    """Also if the clock was set back."""
    kept = encode(FAILED)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + passed_s)

    assert None is decode(kept, PROGRAM)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b'{"made_at": 1}\nx', b"\xff" * 99])
def test_what_is_not_a_compilation_is_not_used(content: bytes) -> None:
    """Such as that of another version."""
    assert None is decode(content, PROGRAM)


def test_name_that_leads_out_of_a_box_is_not_used() -> None:
    """Nothing that is kept can write elsewhere."""
    made = Compilation(Artifact([], [File("../main", b"")]), repeatable=True)

    assert None is decode(encode(made), PROGRAM)
