"""Directories of input and answer files: pairs become tests, and what is not a pair is named."""

import hashlib
from pathlib import Path

import pytest

from verdictd.cli.contents import TestData, UnusableFiles
from verdictd.cli.pairs import read_pairs


def directory(path: Path, *names: str) -> Path:
    """A directory with these files; each has its name as its content."""
    for name in names:
        (path / name).write_text(name)
    return path


def names(path: Path) -> list[object]:
    return [test["name"] for test in read_pairs(path, TestData(1_000))]


def test_pairs_are_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    """10 comes after 9 and 02; the kinds of pairs may be mixed, and other files are left alone."""
    pairs = ("10.in", "10.out", "02.in", "02.ans", "1.in", "1.out", "input9.txt", "output9.txt")

    assert ["1", "02", "10", "input9"] == names(directory(tmp_path, *pairs, "README", "1.png"))


def test_pair_is_a_test_with_input_and_expected_output(tmp_path: Path) -> None:
    """Text stays text, and other bytes go in base64."""
    (tmp_path / "a.in").write_bytes(b"\xff")
    (tmp_path / "a.out").write_text("caf\xe9\n")

    assert [{"name": "a", "stdin": {"base64": "/w=="}, "expected_output": "caf\xe9\n"}] == read_pairs(
        tmp_path, TestData(1_000)
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("\xe9 1+.in", "\xe9 1+.out"), ["- 1-"]),
        (("+.in", "+.out", "-.in", "-.out"), ["1--", "2--"]),
        (("n" * 90 + ".in", "n" * 90 + ".out"), ["n" * 64]),
        (("n" * 90 + "1.in", "n" * 90 + "1.out", "n" * 90 + "2.in", "n" * 90 + "2.out"), None),
    ],
)
def test_names_are_those_that_tests_may_have(
    files: tuple[str, ...], expected: list[str] | None, tmp_path: Path
) -> None:
    """Each is unique, has 64 characters at most, and none that is refused."""
    found = names(directory(tmp_path, *files))

    assert found == (expected or [f"{number}-{'n' * 62}" for number in (1, 2)])


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), ": no tests: *.in with *.out or *.ans, or input*.txt with output*.txt"),
        (("1.in", "1.out", "2.in"), "/2.in: no answer beside it: 2.out or 2.ans"),
        (("input.txt",), "/input.txt: no answer beside it: output.txt"),
        (("1.in", "1.out", "1.ans"), "/1.in: two answers beside it: 1.out and 1.ans"),
        (("1.in", "1.out", "3.out", "2.ans"), ": answers without an input: 2.ans, 3.out"),
        (("1.in", "1.out", *(f"{n}.ans" for n in range(2, 20))), "10.ans, 11.ans and 8 more"),
    ],
)
def test_file_without_its_other_half_is_named(files: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A test that is left out by mistake would be a wrong verdict."""
    with pytest.raises(UnusableFiles) as raised:
        read_pairs(directory(tmp_path, *files), TestData(1_000))

    assert str(raised.value).endswith(said)


def test_more_than_a_message_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The sizes of the files say it; a hole costs nothing here, and would fill the memory."""
    with (directory(tmp_path, "1.in", "1.out") / "1.in").open("r+b") as file:
        file.truncate(1 << 42)
    with pytest.raises(UnusableFiles) as raised:
        read_pairs(tmp_path, TestData(16 << 20))

    assert f"{tmp_path}: 4096 GiB together; a message may have 16 MiB (limits.message_bytes)" in str(
        raised.value
    )


def test_link_is_named_by_what_it_stands_for(tmp_path: Path) -> None:
    """No judge box follows links; one to a file that judge boxes do not have is refused."""
    (directory(tmp_path, "1.in", "1.out", "2.out") / "2.in").symlink_to("1.in")
    found = read_pairs(tmp_path, TestData(1, "sums"))
    (tmp_path / "2.in").unlink()
    (tmp_path / "2.in").symlink_to("/etc/passwd")

    assert [{"file": "sums/1.in"}] * 2 == [test["stdin"] for test in found]
    with pytest.raises(UnusableFiles, match=r"2\.in: a link to /etc/passwd, outside of"):
        read_pairs(tmp_path, TestData(1, "sums"))


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("sums", {"file": "sums/1.in"}),
        (".", {"file": "1.in"}),
        (
            "https://files.example/a%20b/",
            {"sha256": hashlib.sha256(b"1.in").hexdigest(), "url": "https://files.example/a%20b/1.in"},
        ),
    ],
)
def test_files_of_a_place_are_named_and_not_sent(tmp_path: Path, place: str, given: dict[str, str]) -> None:
    """Whatever their size, as only their names are in the message."""
    tests = read_pairs(directory(tmp_path, "1.in", "1.out"), TestData(max_bytes=0, place=place))

    assert [given] == [test["stdin"] for test in tests]
