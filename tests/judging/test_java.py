"""Java as its users write it: any class, package and main class, several files, and the heap of a JVM."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status
from verdictd.files import File
from verdictd.judging.class_files import find_main_class
from verdictd.judging.commands import compile_argv
from verdictd.judging.judgehost import Judgehost
from verdictd.judging.languages import Language, Registry
from verdictd.judging.sources import source_name, top_level

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


LIMITS: dict[str, Any] = {"cpu_time_limit": 10, "wall_time_limit": 60}
MAIN = 'public static void main(String[] args) { System.out.print("ran"); }'
ADDER = "package shapes; public class Adder { public static int add(int a, int b) { return a + b; } }"
HIDDEN_ADDER = "class Hidden { static int add(int a, int b) { return a + b; } }"
TEXT_BLOCK = 'class A { String s = """\n} public class B { \\""" " """; }'
LITERALS = """class A { String s = "} public class B {"; char c = '"'; }"""

PROGRAMS = {
    "public class of another name": f"public class Solution {{ {MAIN} }}",
    "class that is not public": f"class Anything {{ {MAIN} }}",
    "final public class": f"final public class A {{ {MAIN} }}",
    "public abstract class": f"public abstract strictfp class A {{ {MAIN} }}",
    "annotated public class": f'@SuppressWarnings({{"a", "b"}}) public @Deprecated class A {{ {MAIN} }}',
    "generic public class": f"public class A<T extends Comparable<T>> {{ {MAIN} }}",
    "public interface": f"public interface A {{ {MAIN} }}",
    "public enum": f"public enum A {{ ONE, TWO; {MAIN} }}",
    "public record": f"public record A(int x, int y) {{ {MAIN} }}",
    "public sealed class": f"public sealed class A permits B {{ {MAIN} }} final class B extends A {{ }}",
    "annotation type beside": f"public @interface Mark {{ }} class Main {{ {MAIN} }}",
    "package": f"package org.example.contest; public class Solution {{ {MAIN} }}",
    "package without public class": f"package a.b; class Solution {{ {MAIN} }}",
    "class in a comment": f'// public class A {{\n/* public class B " */ public class C {{ {MAIN} }}',
    "class in a string": f"{LITERALS} public class C {{ {MAIN} }}",
    "class in a text block": f"{TEXT_BLOCK} public class C {{ {MAIN} }}",
    "nested public class": f"public class Outer {{ public static class Inner {{ }} {MAIN} }}",
    "public class in a class before": f"class A {{ public class Inner {{ }} }} public class B {{ {MAIN} }}",
    "main in a nested class": f"public class Outer {{ public static class Inner {{ {MAIN} }} }}",
    "main in another class": f"public class Data {{ int x; }} class Runner {{ {MAIN} }}",
    "main in the last class": f"class A {{ }} class B {{ }} class C {{ {MAIN} }}",
    "main of the public class": (
        f"class A {{ public static void main(String[] a) {{ }} }} public class Z {{ {MAIN} }}"
    ),
    "first of several mains": (
        f"class Z {{ {MAIN} }} class A {{ public static void main(String[] a) {{ }} }}"
    ),
    "variable arguments": f"public class A {{ {MAIN} }}".replace("[]", "..."),
    "name that is not ASCII": f"public class Größe {{ {MAIN} }}",
    "dollar in the name": f"public class A$B {{ {MAIN} }}",
    "many spaces and lines": f"public\n\n  class\n\t A\n{{ {MAIN} }}",
    "comment between the words": f"public /* the */ class // one\n A {{ {MAIN} }}",
    "other method named main": f"class A {{ void main(int x) {{ }} }} class B {{ {MAIN} }}",
    "anonymous classes": f"class A {{ Runnable r = () -> {{ new Object() {{ }}; }}; }} class B {{ {MAIN} }}",
}


async def test_program_runs_wherever_its_main_method_is(judge: Judge) -> None:
    """Class, package and main method may have any name and place that javac takes."""
    result = await judge(
        "java", f"package org.example.contest; {PROGRAMS['main in a nested class']}", **LIMITS
    )

    assert (Status.ACCEPTED, "ran") == (result.status, result.stdout), result.compile_output + result.stderr


@pytest.fixture(scope="module")
def java_tools() -> Iterator[Callable[..., str]]:
    """A virtual machine that compiles and runs programs; it returns what these print."""
    with subprocess.Popen(
        [
            "/usr/bin/java",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            Path(__file__).parent / "JavaTools.java",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None

        def ask(*words: str | Path) -> str:
            print(*words, sep="\t", file=requests, flush=True)
            return answers.readline().removesuffix("\n")

        yield ask
        requests.close()


def test_file_and_main_class_of_any_program_are_found(java_tools: Callable[..., str], tmp_path: Path) -> None:
    """javac takes the source under the name that it gets, and the class that is found is the one to run."""
    java = Registry.load().get("java")
    assert java is not None
    said = {name: compiled_and_run(java_tools, java, PROGRAMS[name], tmp_path / name) for name in PROGRAMS}

    assert dict.fromkeys(PROGRAMS, "ran") == said


def compiled_and_run(java_tools: Callable[..., str], java: Language, source: str, folder: Path) -> str:
    """Return what a program prints, or what javac says of it."""
    content = source.encode()
    folder.mkdir()
    file = folder / source_name(java, content)
    file.write_bytes(content)
    options = [word for word in compile_argv(java, (), [file.name])[1:-1] if not word.startswith("-J")]
    options[options.index("-d") + 1] = str(folder)
    messages = java_tools("compile", *options, file)
    made = [File(str(one.relative_to(folder)), one.read_bytes()) for one in folder.rglob("*.class")]
    found = find_main_class(made, source=file.name, declarations=top_level(content))
    return messages if found is None else java_tools("run", folder, found)


def printing(expression: str, imports: str = "") -> str:
    """A main class that prints the value of an expression."""
    main = f"public static void main(String[] args) throws Exception {{ System.out.print({expression}); }}"
    return f"{imports} public class Main {{ {main} }}"


USES_ALL = printing(
    'Adder.add(Hidden.add(Six.X, 1), Option.X + Names.X) + Files.readString(Path.of("data/in.txt"))',
    "import shapes.Adder; import numbers.Six; import java.nio.file.*;",
)
SERVICES = ("javax.annotation.processing.Processor", "com.sun.source.util.Plugin")
FILES = {
    "beside a main class": (
        USES_ALL,
        {
            "src/Adder.java": ADDER,  # a folder that is not its package
            "numbers/Six.java": "package numbers; public class Six { public static int X = 6; }",
            "x.java": HIDDEN_ADDER,
            "-version.java": "class Option { static int X = 20; }",
            "@list.java": "class Names { static int X = -23; }",
            "data/in.txt": "2",
        },
    ),
    "main class among the additional files, processors and plugins that are not run": (
        "public class Answer { static int value() { return 42; } }",
        {
            "Main.java": printing("Answer.value()"),
            **{f"META-INF/services/{service}": "Absent" for service in SERVICES},  # javac would fail
        },
    ),
}


@pytest.mark.parametrize(("source", "files"), FILES.values(), ids=FILES.keys())
async def test_additional_sources_are_compiled_and_there_at_run_time(
    judge: Judge, source: str, files: dict[str, str]
) -> None:
    """Class files survive in their directories."""
    additional = [{"name": name, "content": content} for name, content in files.items()]
    result = await judge("java", source, additional_files=additional, **LIMITS)

    assert (Status.ACCEPTED, "42") == (result.status, result.stdout), result.compile_output + result.stderr


async def test_source_without_main_method_is_compilation_error(judge: Judge) -> None:
    """There is nothing to run, and the message says what is missing."""
    private = "class A { private static void main(String[] a) { } }"
    of_a_number = "class B { public static void main(int a) { } }"
    result = await judge("java", f"public class Main {{ }} {private} {of_a_number}", **LIMITS)

    assert (Status.COMPILATION_ERROR, Cause.COMPILE) == (result.status, result.cause)
    assert "main method" in result.message


async def test_error_names_the_file_of_the_class(judge: Judge) -> None:
    """javac's messages have the name that the student's own file has."""
    result = await judge("java", "public class Shop { int x = y; }", **LIMITS)

    assert Status.COMPILATION_ERROR == result.status
    assert "Shop.java:1: error" in result.compile_output


async def test_source_made_to_be_slow_to_read_is_compilation_error(judge: Judge) -> None:
    """It delays nobody: it is only one that does not compile."""
    result = await judge("java", "public @a" * 100_000 + "{" * 90_000, **LIMITS)

    assert Status.COMPILATION_ERROR == result.status


LIVE = """
    import java.util.*;
    public class Live {
        public static void main(String[] arguments) {
            List<int[]> blocks = new ArrayList<>();
            for (int i = 0; i < 4 * Integer.parseInt(arguments[0]); i++) {
                int[] block = new int[65536];
                Arrays.fill(block, i);
                blocks.add(block);
            }
            System.out.print(blocks.size() / 4);
        }
    }
"""


MEMORY = {
    (64, 12): Status.ACCEPTED,
    (256, 120): Status.ACCEPTED,
    (512, 256): Status.ACCEPTED,
    (64, 64): Status.MEMORY_LIMIT_EXCEEDED,
    (256, 256): Status.MEMORY_LIMIT_EXCEEDED,
}
"""Limit and live data in MiB, and the verdict."""


async def test_half_of_the_limit_fits_beside_the_jvm_and_all_of_it_does_not(judge: Judge) -> None:
    """The heap leaves to the JVM what it needs itself; beyond it, the JVM's own error is the verdict."""
    tests = [
        {"command_line_arguments": [str(live_mib)], "limits": {"memory_limit": limit_mib * 1024}}
        for limit_mib, live_mib in MEMORY
    ]
    fields = {"tests": tests, "stop_on_failure": False, "return_output": "all"}
    result = await judge("java", LIVE, **fields, **LIMITS)

    assert MEMORY == dict(zip(MEMORY, [test.status for test in result.tests], strict=True)), result.stderr
    for (limit_mib, live_mib), test in zip(MEMORY, result.tests, strict=True):
        if test.status is Status.ACCEPTED:
            assert (None, str(live_mib)) == (test.cause, test.stdout)
            assert test.memory is not None
            assert test.memory <= limit_mib * 1024
        else:
            assert Cause.MEMORY == test.cause


async def test_garbage_is_collected_within_the_limit(judge: Judge) -> None:
    """Ten times the limit may be allocated, if it is not kept."""
    source = """
        public class Garbage {
            public static void main(String[] arguments) {
                long sum = 0;
                for (int i = 0; i < 640; i++) sum += new byte[1 << 20].length >> 20;
                System.out.print(sum);
            }
        }
    """
    result = await judge("java", source, memory_limit=64 * 1024, **LIMITS)

    assert (Status.ACCEPTED, "640") == (result.status, result.stdout)
