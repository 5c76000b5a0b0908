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
from verdictd.judging.languages import Registry
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


IN_A_BOX = ("package", "main in a nested class")


@pytest.mark.parametrize("name", IN_A_BOX)
async def test_program_runs_wherever_its_main_method_is(judge: Judge, name: str) -> None:
    """Class, package and main method may have any name and place that javac takes."""
    result = await judge("java", PROGRAMS[name], **LIMITS)

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


@pytest.mark.parametrize("source", PROGRAMS.values(), ids=PROGRAMS)
def test_file_and_main_class_of_any_program_are_found(
    java_tools: Callable[..., str], source: str, tmp_path: Path
) -> None:
    """javac takes the source under the name that it gets, and the class that is found is the one to run."""
    java = Registry.load().get("java")
    assert java is not None
    content = source.encode()
    file = tmp_path / source_name(java, content)
    file.write_bytes(content)
    options = [word for word in compile_argv(java, (), [file.name])[1:-1] if not word.startswith("-J")]
    options[options.index("-d") + 1] = str(tmp_path)
    messages = java_tools("compile", *options, file)
    made = [File(str(one.relative_to(tmp_path)), one.read_bytes()) for one in tmp_path.rglob("*.class")]
    found = find_main_class(made, source=file.name, declarations=top_level(content))

    assert "ran" == java_tools("run", tmp_path, str(found)), messages


def printing(expression: str, imports: str = "") -> str:
    """A main class that prints the value of an expression."""
    main = f"public static void main(String[] args) throws Exception {{ System.out.print({expression}); }}"
    return f"{imports} public class Main {{ {main} }}"


USES_ALL = printing(
    'Adder.add(Hidden.add(3, 4), Option.X + Names.X) + Files.readString(Path.of("data/in.txt"))',
    "import shapes.Adder; import java.nio.file.*;",
)
FILES = {
    "beside a main class": (
        USES_ALL,
        {
            "src/Adder.java": ADDER,  # a folder that is not its package
            "x.java": HIDDEN_ADDER,
            "-version.java": "class Option { static int X = 20; }",
            "@list.java": "class Names { static int X = -23; }",
            "data/in.txt": "2",
        },
    ),
    "in the folder of the package": (
        printing("Adder.add(20, 22)", "import shapes.Adder;"),
        {"shapes/Adder.java": ADDER},
    ),
    "main class among the additional files": (
        "public class Answer { static int value() { return 42; } }",
        {"Main.java": printing("Answer.value()")},
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


@pytest.mark.parametrize(("limit_mib", "live_mib"), [(64, 12), (256, 120), (1_024, 512)])
async def test_live_data_of_half_the_limit_fits_beside_the_jvm(
    judge: Judge, limit_mib: int, live_mib: int
) -> None:
    """The heap leaves to the JVM what it needs itself, 64 MiB included."""
    result = await judge(
        "java", LIVE, command_line_arguments=[str(live_mib)], memory_limit=limit_mib * 1024, **LIMITS
    )

    assert (Status.ACCEPTED, str(live_mib)) == (result.status, result.stdout), result.stderr
    assert result.memory is not None
    assert result.memory <= limit_mib * 1024


@pytest.mark.parametrize(("limit_mib", "live_mib"), [(64, 64), (256, 256)])
async def test_live_data_of_the_limit_is_memory_limit_exceeded(
    judge: Judge, limit_mib: int, live_mib: int
) -> None:
    """The JVM's own OutOfMemoryError is the verdict, not an exit code."""
    result = await judge(
        "java", LIVE, command_line_arguments=[str(live_mib)], memory_limit=limit_mib * 1024, **LIMITS
    )

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause)


async def test_garbage_is_collected_within_the_limit(judge: Judge) -> None:
    """Ten times the limit may be allocated, if it is not kept."""
    source = """
        public class Garbage {
            public static void main(String[] arguments) {
                long sum = 0;
                for (int i = 0; i < 2560; i++) sum += new byte[1 << 20].length >> 20;
                System.out.print(sum);
            }
        }
    """
    result = await judge("java", source, **LIMITS)

    assert (Status.ACCEPTED, "2560") == (result.status, result.stdout)


async def test_processors_and_plugins_of_a_submission_are_not_run(judge: Judge) -> None:
    """javac looks for them among the additional files; it would fail, as it could not start these."""
    services = ("javax.annotation.processing.Processor", "com.sun.source.util.Plugin")
    files = [{"name": f"META-INF/services/{service}", "content": "Absent"} for service in services]
    result = await judge("java", f"class A {{ {MAIN} }}", additional_files=files, **LIMITS)

    assert (Status.ACCEPTED, "ran") == (result.status, result.stdout), result.compile_output
