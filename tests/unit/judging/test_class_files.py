"""The main method of a class file, of files that compilers make and of files that nobody should make."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.archives import archive, encrypted, overlapping
from verdictd.files import File
from verdictd.judging.class_files import Main, find_main_class, main_method

USUAL = (0x0009, "main", "([Ljava/lang/String;)V")


def class_file(*methods: tuple[int, str, str]) -> bytes:
    """A class file with these methods, a field, an interface and constants of every size."""
    texts = [text for method in methods for text in method[1:]]
    constants = [b"\x05" + bytes(8), b"\x07" + bytes(2), b"\x0f" + bytes(3), b"\x0a" + bytes(4)]
    constants += [b"\x01" + struct.pack(">H", len(text)) + text.encode() for text in [*texts, "field"]]
    first = 6  # the number of 8 bytes has two places
    field = first + len(texts)
    attribute = struct.pack(">HI", field, 3) + b"xyz"
    members = [
        struct.pack(">HHHH", method[0], first + 2 * at, first + 2 * at + 1, 1) + attribute
        for at, method in enumerate(methods)
    ]
    return b"".join(
        [
            struct.pack(">IHHH", 0xCAFEBABE, 0, 61, field + 1),
            *constants,
            struct.pack(">HHHHH", 0x21, 1, 1, 1, 1),
            struct.pack(">HHHHH", 1, 0, field, field, 0),
            struct.pack(">H", len(members)),
            *members,
        ]
    )


@pytest.mark.parametrize(
    ("methods", "main"),
    [
        ([USUAL], Main.USUAL),
        ([(0x0089, "main", USUAL[2])], Main.USUAL),
        ([(0x0001, "<init>", "()V"), USUAL], Main.USUAL),
        ([(0x0008, "main", USUAL[2])], Main.UNUSUAL),
        ([(0x0001, "main", "()V")], Main.UNUSUAL),
        ([(0x000A, "main", USUAL[2])], Main.NONE),
        ([(0x0009, "main", "(I)V")], Main.NONE),
        ([(0x0009, "Main", USUAL[2])], Main.NONE),
        ([], Main.NONE),
    ],
)
def test_main_method_is_found_by_name_descriptor_and_access(
    methods: list[tuple[int, str, str]], main: Main
) -> None:
    """The usual one is public and static, and takes the arguments."""
    assert main == main_method(class_file(*methods))


@given(st.binary() | st.binary().map(lambda end: class_file(USUAL)[:40] + end))
def test_file_that_is_not_a_class_has_no_main_method(content: bytes) -> None:
    """No content makes the search fail."""
    assert isinstance(main_method(content), Main)


def test_class_file_cut_anywhere_is_no_fault() -> None:
    """A file may end in the middle."""
    whole = class_file(USUAL)
    for length in range(len(whole)):
        assert isinstance(main_method(whole[:length]), Main), length


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Main.class"], "Main"),
        (["a/b/Main.class"], "a.b.Main"),
        (["A.class", "Main.class"], "Main"),
        (["A.class", "Z.class"], "Z"),
        (["A.class", "B.class"], "A"),
        (["Outer$Inner.class"], "Outer$Inner"),
        (["-X.class", "@x.class"], None),
        ([], None),
    ],
)
def test_main_class_is_the_one_of_the_source_or_the_first(names: list[str], found: str | None) -> None:
    """Of several, the one named as the source comes first, then the order of the source."""
    files = [File(name, class_file(USUAL)) for name in names]

    assert found == find_main_class(
        files, source="Main.java", declarations="class Y {} class Z {} class A {}"
    )


def test_usual_main_method_comes_before_an_unusual_one() -> None:
    """Older releases of Java start only the usual one."""
    files = [File("Main.class", class_file((1, "main", "()V"))), File("Z.class", class_file(USUAL))]

    assert "Z" == find_main_class(files, source="Main.java", declarations="")


def jar(*names: str) -> File:
    """A jar of classes with a main method."""
    return File("main.jar", archive(*((name, class_file(USUAL)) for name in names)))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["kotlin/Runtime.class", "org/example/MainKt.class"], "org.example.MainKt"),
        (["AnotherKt.class", "MainKt.class"], "MainKt"),
        (["AnotherKt.class", "Solution.class"], "Solution"),
        (["META-INF/versions/9/Main.class", "MainKt.txt"], None),
    ],
)
def test_main_class_is_found_in_a_jar(names: list[str], found: str | None) -> None:
    """kotlinc puts the functions of main.kt into MainKt, and a runtime beside it."""
    assert found == find_main_class([jar(*names)], source="main.kt", declarations="class Solution")


@pytest.mark.parametrize(
    "content", [b"", b"PK", jar("MainKt.class").content[:-1], overlapping(), encrypted()]
)
def test_damaged_jar_has_no_main_class(content: bytes) -> None:
    """It comes out of a box."""
    assert find_main_class([File("main.jar", content)], source="main.kt", declarations="") is None
