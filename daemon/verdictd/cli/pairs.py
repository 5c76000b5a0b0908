"""A directory of input and answer files, read as the tests of a submission."""

import re
from itertools import chain
from pathlib import Path

from verdictd.cli.contents import (
    TestData,
    UnusableFiles,
    in_natural_order,
    listed,
    names_of_tests,
)

_KINDS = "*.in with *.out or *.ans, or input*.txt with output*.txt"
_ANSWER_ENDINGS = (".out", ".ans")
_ANSWER = re.compile(r".*\.(out|ans)|output.*\.txt", re.DOTALL)


def read_pairs(directory: Path, data: TestData) -> list[dict[str, object]]:
    """Return a test for each pair of files, in the order in which people count.

    Raises UnusableFiles for a file without its other half, and for files that have no room in a message.
    """
    found = {file.name: file for file in directory.iterdir() if file.is_file()}
    inputs = sorted(filter(_answer_names, found), key=in_natural_order)
    if not inputs:
        raise UnusableFiles(f"{directory}: no tests: {_KINDS}")
    pairs = [(found[name], found[_answer(directory, name, found)]) for name in inputs]
    _refuse_answers_alone(directory, found, {answer.name for _, answer in pairs})
    data.check(str(directory), chain.from_iterable(pairs))
    names = names_of_tests([_test_name(name) for name in inputs])
    return [
        {
            "name": name,
            "stdin": data.of(directory, given.name),
            "expected_output": data.of(directory, answer.name),
        }
        for name, (given, answer) in zip(names, pairs, strict=True)
    ]


def _answer_names(name: str) -> tuple[str, ...]:
    """Return the names that the answer to an input may have; none if the file is not an input."""
    if name.endswith(".in"):
        return tuple(name.removesuffix(".in") + ending for ending in _ANSWER_ENDINGS)
    numbered = re.fullmatch(r"input(.*\.txt)", name)
    return (f"output{numbered[1]}",) if numbered else ()


def _answer(directory: Path, name: str, found: dict[str, Path]) -> str:
    wanted = _answer_names(name)
    answers = [answer for answer in wanted if answer in found]
    if not answers:
        raise UnusableFiles(f"{directory / name}: no answer beside it: {' or '.join(wanted)}")
    if len(answers) > 1:
        raise UnusableFiles(f"{directory / name}: two answers beside it: {' and '.join(answers)}")
    return answers[0]


def _refuse_answers_alone(directory: Path, found: dict[str, Path], used: set[str]) -> None:
    alone = sorted(filter(_ANSWER.fullmatch, found.keys() - used), key=in_natural_order)
    if alone:
        raise UnusableFiles(f"{directory}: answers without an input: {listed(alone)}")


def _test_name(name: str) -> str:
    return name.removesuffix(".in") if name.endswith(".in") else name.removesuffix(".txt")
