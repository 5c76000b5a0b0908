"""The command lines of compilers and programs, made of a declaration and a submission."""

import pytest

from verdictd.judging.commands import compile_argv, names_main_class, run_argv, run_environment, run_values
from verdictd.judging.languages import Language


def language(compile_cmd: str = "", run_cmd: str = "./main", **keys: object) -> Language:
    fields = {"name": "new", "source_file": "main.c", "compile_cmd": compile_cmd, "run_cmd": run_cmd, **keys}
    return Language(**fields)  # type: ignore[arg-type]  # as from a file


@pytest.mark.parametrize(
    ("compile_cmd", "expected"),
    [
        ("", []),
        ("cc main.c", ["cc", "main.c", "-a", "-b"]),
        ("cc {options} main.c", ["cc", "-a", "-b", "main.c"]),
        ("cc {sources} {options} -lm", ["cc", "X.c", "lib/y.c", "-a", "-b", "-lm"]),
        ("cc -o {source}.out {source}", ["cc", "-o", "X.c.out", "X.c", "-a", "-b"]),
    ],
)
def test_compiler_gets_options_and_sources_where_its_command_says(
    compile_cmd: str, expected: list[str]
) -> None:
    """Without {options} they come last."""
    assert expected == compile_argv(language(compile_cmd), ["-a", "-b"], ["X.c", "lib/y.c"])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.c", "a.c"),
        ("_a.c", "_a.c"),
        ("lib/-a.c", "lib/-a.c"),
        ("é.c", "é.c"),
        ("-o.c", "./-o.c"),
        ("@list.c", "./@list.c"),
        (" .c", "./ .c"),
    ],
)
def test_name_of_a_source_is_never_an_option(name: str, word: str) -> None:
    """A file name that a compiler could read as an option or as a list of options is written as a path."""
    assert ["cc", "main.c", word] == compile_argv(language("cc {sources} {options}"), [], ["main.c", name])


def test_runtime_is_told_the_limits_and_arguments_stay_untouched() -> None:
    """Placeholders in the command become values; those in the submission's own arguments are text."""
    own = language(run_cmd="java -Xmx{memory_mib}m -Xss{stack_kib}k {main_class} {other}")
    values = run_values(own, memory_kib=262_144, stack_kib=65_536, main_class="a.Main")

    assert ["java", "-Xmx256m", "-Xss57344k", "a.Main", "{other}", "{memory_mib}", "; id"] == run_argv(
        own, ["{memory_mib}", "; id"], values
    )


@pytest.mark.parametrize(("memory_mib", "heap_mib"), [(2, 8), (64, 20), (256, 200), (1_024, 922)])
def test_heap_leaves_to_the_runtime_what_it_needs(memory_mib: int, heap_mib: int) -> None:
    """A share of the limit and a fixed part are left, but a heap has 8 MiB at least."""
    values = run_values(
        language(heap_percent=94, headroom_mib=40), memory_kib=memory_mib * 1024, stack_kib=64
    )

    assert str(heap_mib) == values["{heap_mib}"]


def test_environment_of_the_program_has_the_limits_too() -> None:
    """Variables for the program alone come on top of those that the compiler has as well."""
    own = language(environment={"A": "{memory_mib}"}, run_environment={"LIMIT": "{heap_mib}MiB"})
    environment = run_environment(own, run_values(own, memory_kib=65_536, stack_kib=64))

    assert ("{memory_mib}", "64MiB") == (environment["A"], environment["LIMIT"])
    assert "LIMIT" not in own.environment


@pytest.mark.parametrize(("run_cmd", "named"), [("java {main_class}", True), ("java Main", False)])
def test_main_class_is_looked_for_where_a_command_names_it(run_cmd: str, *, named: bool) -> None:
    """No other language has class files that make sense."""
    assert named == names_main_class(language(run_cmd=run_cmd))
