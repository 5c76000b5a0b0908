"""`tokens` and `floats` agree with the default validator of Kattis' problemtools."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from verdictd.contract.checker import Comparison, FloatsChecker, TokensChecker
from verdictd.judging.checkers.comparison import compare

Validator = Callable[[Comparison, bytes, bytes], bool]

_RIGHT, _WRONG = 42, 43
_PAIRS = 5
"""In an example. `--hypothesis-profile=thorough` has 2,000 examples of each kind."""


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Validator:
    """The validator as a function: whether it takes an output."""
    program = os.environ.get("VERDICTD_TEST_DEFAULT_VALIDATOR") or _packaged()
    if program is None:
        pytest.skip(
            "no validator: install problemtools (the extra `oracle`), or name one in "
            "VERDICTD_TEST_DEFAULT_VALIDATOR"
        )
    directory = tmp_path_factory.mktemp("validator")
    (directory / "input").touch()

    def accepts(checker: Comparison, output: bytes, expected: bytes) -> bool:
        (directory / "answer").write_bytes(expected)
        (directory / "output").write_bytes(output)
        argv: list[str | Path] = [program, directory / "input", directory / "answer", directory]
        with (directory / "output").open("rb") as stdin:
            code = subprocess.run(
                [*argv, *options(checker)], stdin=stdin, check=False, close_fds=False
            ).returncode
        assert code in {_RIGHT, _WRONG}
        return code == _RIGHT

    return accepts


def _packaged() -> str | None:
    """The program in the wheel of problemtools, if that is installed."""
    package = importlib.util.find_spec("problemtools")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).parent / "support" / "default_validator"
    return str(program) if os.access(program, os.X_OK) else None


def options(checker: Comparison) -> list[str]:
    """The options that mean this checker."""
    words: list[str] = []
    if isinstance(checker, FloatsChecker):
        words += ["float_absolute_tolerance", repr(checker.absolute)]
        words += ["float_relative_tolerance", repr(checker.relative)]
    if isinstance(checker, FloatsChecker | TokensChecker) and checker.case_sensitive:
        words.append("case_sensitive")
    return words


SPACE = st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"\v", b"\f", b"\r", b"  ", b" \n\n"])
SPACE_OR_NONE = st.just(b"") | SPACE
DIGITS = st.text("0123456789", min_size=1, max_size=4) | st.sampled_from(["0" * 400, "9" * 400, "1" * 5_000])
SIGN = st.sampled_from(["", "", "-", "+"])
EXPONENT = st.sampled_from(
    ["", "", "e", "E+", "e-", "e0", "e1", "E-1", "e308", "e309", "e-330", "e5.", "e+-1", "p1", "e" + "9" * 20]
)
DECIMAL = st.tuples(SIGN, st.just("") | DIGITS, st.sampled_from(["", "."]), st.just("") | DIGITS, EXPONENT)
HEXADECIMAL = st.tuples(
    SIGN,
    st.sampled_from(["0x", "0X"]),
    st.text("019afAF.", max_size=4),
    st.sampled_from(["", "p", "p+", "p1", "P-2", "p2000", "p-2000", "p1.", "e1"]),
)
SPELLINGS = (DECIMAL | HEXADECIMAL).map("".join)
WORDS = st.sampled_from(
    [
        "inf",
        "-INF",
        "infinity",
        "nan",
        "NaN",
        "nan(1)",
        "1_0",
        "1,0",
        "1f",
        "1e400",
        "Yes",
        "YES",
        "1\0x",
        "\0x",
    ]
)
TOKENS = (
    st.floats(-1e3, 1e3).map(repr).map(str.encode)
    | SPELLINGS.map(str.encode)
    | WORDS.map(str.encode)
    | st.binary(min_size=1, max_size=3)
    | st.sampled_from(["É", "é", "٣", "\u00a0"]).map(str.encode)
).filter(lambda token: re.search(rb"\s|^$", token) is None)
ERRORS = st.sampled_from([0, 9e-7, 1e-6, 1.1e-6, -1e-6, 0.1])


@st.composite
def near(draw: DrawFn, token: bytes) -> bytes:
    """The same token, a number near it, another spelling, another case, or anything else."""
    match draw(st.integers(0, 7)):
        case 0 | 1:
            try:
                value = float(token)
            except ValueError:
                return token
            return repr(value * (1 + draw(ERRORS)) + draw(ERRORS)).encode()
        case 2:
            return token.swapcase()
        case 3:
            return token + draw(st.sampled_from([b"0", b".", b".0", b"e0", b"\0x", b"x"]))
        case 4:
            return draw(TOKENS)
        case _:
            return token


@st.composite
def pairs(draw: DrawFn) -> tuple[bytes, bytes]:
    """An output, and an expected output that is nearly the same."""
    tokens = draw(st.lists(TOKENS, max_size=3))
    others = [draw(near(token)) for token in tokens]
    others = draw(st.sampled_from([others] * 8 + [others[:-1], [*others, b"0"]]))
    return draw(spaced(others)), draw(spaced(tokens))


@st.composite
def spaced(draw: DrawFn, tokens: list[bytes]) -> bytes:
    """The tokens with white space between them, and perhaps around them."""
    text = draw(SPACE_OR_NONE)
    for token in tokens[:-1]:
        text += token + draw(SPACE)
    return text + b"".join(tokens[-1:]) + draw(SPACE_OR_NONE)


TOLERANCES = st.sampled_from([0.0, 1e-9, 1e-6, 0.5, 1e9])
CHECKERS = {
    "tokens": st.builds(TokensChecker, type=st.just("tokens"), case_sensitive=st.booleans()),
    "floats": st.builds(
        FloatsChecker,
        type=st.just("floats"),
        absolute=TOLERANCES,
        relative=TOLERANCES,
        case_sensitive=st.booleans(),
    ),
}


@pytest.mark.parametrize("kind", CHECKERS)
def test_verdict_is_that_of_the_default_validator(validator: Validator, kind: str) -> None:
    """White space, numbers in all spellings, tolerances, case, NUL bytes and bytes that are not text."""

    @given(CHECKERS[kind], st.lists(pairs(), min_size=_PAIRS, max_size=_PAIRS))
    def agree(checker: Comparison, outputs: list[tuple[bytes, bytes]]) -> None:
        ours = [compare(checker, BytesIO(output), BytesIO(expected)) is None for output, expected in outputs]
        # Pairs that are right are so together: what is left costs a process each.
        right = [pair for pair, accepted in zip(outputs, ours, strict=True) if accepted]
        output, expected = (b"\n".join(texts) for texts in zip(*right, strict=True)) if right else (b"", b"")

        assert validator(checker, output, expected)
        for pair, accepted in zip(outputs, ours, strict=True):
            assert accepted or not validator(checker, *pair)

    agree()
