"""Names of source files, and the sources among the files of a submission."""

import time

import pytest

from verdictd.files import File
from verdictd.judging.languages import Language, Registry
from verdictd.judging.sources import source_files, source_name, top_level


def packaged(name: str) -> Language:
    language = Registry.load().get(name)
    assert language is not None
    return language


JAVA = packaged("java")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("public class A { }", "A.java"),
        ("public class A<T> { }", "A.java"),
        ("public final class A { }", "A.java"),
        ("final public class A { }", "A.java"),
        ("public non-sealed class A { }", "A.java"),
        ("public\n\tinterface\n A { }", "A.java"),
        ("public @interface A { }", "A.java"),
        ("public enum A { }", "A.java"),
        ("public record A(int x) { }", "A.java"),
        ("public @Deprecated @a.B(c = {1, 2}) strictfp class A { }", "A.java"),
        ("/** public class B */ public /**/ class /**/ A { }", "A.java"),
        ('@X("public class B") public class A { }', "A.java"),
        ("class B { public class C { } } public class A { }", "A.java"),
        ("public class Größe { }", "Größe.java"),
        ("public class $A_1 { }", "$A_1.java"),
        ("\ufeffpublic class A { }", "A.java"),
        ("class A { }", "Main.java"),
        ("class A { public class B { } }", "Main.java"),
        ("notpublic class A { }", "Main.java"),
        ("public classA { }", "Main.java"),
        ("public", "Main.java"),
        ("", "Main.java"),
        ("\0\xff", "Main.java"),
        ("public class " + "A" * 300, "Main.java"),
    ],
)
def test_source_has_the_name_of_its_public_class(source: str, name: str) -> None:
    """Only a declaration at the top level counts, not one in a comment, a literal or a class."""
    assert name == source_name(JAVA, source.encode())


def test_language_without_a_pattern_has_one_name() -> None:
    """Elsewhere the name of the source file is fixed."""
    assert "main.cpp" == source_name(packaged("cpp"), b"public class A { }")


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("a { b { c } d } e", "a {} e"),
        ("a (b { c }) d", "a () d"),
        ("a /* { */ b // {\nc", "a   b  \nc"),
        ('a "{\\"{" b', "a   b"),
        ("a '{' '\\'' b", "a     b"),
        ('a """ { " \\""" } """ b', "a   b"),
        ('a "not closed {\nb { c', "a  \nb {"),
        ("a } b } c { d", "a } b } c {"),
        ("a /* never closed {", "a  "),
    ],
)  # fmt: skip
def test_top_level_is_the_text_outside_of_everything(source: str, kept: str) -> None:
    """Brackets themselves stay, so that a declaration does not run into the next one."""
    assert kept == top_level(source.encode())


@pytest.mark.parametrize(
    "pattern", ["public ", "public @a", "{", "/*", '"""', "'", '"\n', "(}", "\\", "public final "]
)
def test_source_made_to_be_slow_is_read_in_linear_time(pattern: str) -> None:
    """A megabyte of anything takes about a second at most."""
    started = time.process_time()
    source_name(JAVA, pattern.encode() * (1_048_576 // len(pattern)))

    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("language", "files", "expected"),
    [
        ("c", {"f.c": "", "f.h": "", "data.txt": "", "lib/g.c": "", "h.cpp": ""}, ["main", "f.c", "lib/g.c"]),
        ("cpp", {"f.cc": "", "g.cpp": "", "h.c": "", "i.hpp": ""}, ["main", "f.cc", "g.cpp", "h.c"]),
        ("c", {"f.c": "", "g.c": '#include "f.c"'}, ["main", "g.c"]),
        ("c", {"lib/f.c": "", "g.h": '  # include "f.c"'}, ["main"]),
        ("c", {"lib\\f.c": "", "f.c": "", "g.h": '// #include "f.c"'}, ["main", "lib\\f.c", "f.c"]),
        ("java", {"a/B.java": "", "a/B.class": "", "c.kt": ""}, ["main", "a/B.java"]),
        ("python", {"a.py": ""}, ["main", "a.py"]),
    ],
)  # fmt: skip
def test_sources_are_the_files_with_an_extension_of_the_language(
    language: str, files: dict[str, str], expected: list[str]
) -> None:
    """Headers and data are not compiled, nor what another file includes."""
    given = [File("main", b""), *(File(name, content.encode()) for name, content in files.items())]

    assert expected == source_files(packaged(language), given, "main")


@pytest.mark.parametrize(
    ("grader", "expected"),
    [
        ("int value();", ["grader.cpp", "main.cpp", "other.cc"]),
        ('#include "main.cpp"', ["grader.cpp", "other.cc"]),
    ],
)
def test_entry_point_is_the_first_of_the_sources(grader: str, expected: list[str]) -> None:
    """What was submitted is compiled beside it, or as a part of it."""
    names = {"main.cpp": "", "other.cc": "", "grader.cpp": grader}
    files = [File(name, content.encode()) for name, content in names.items()]

    assert expected == source_files(packaged("cpp"), files, "grader.cpp")
