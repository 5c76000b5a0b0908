"""Command lines of a language: from its declaration and a submission to an argument list."""

from collections.abc import Mapping, Sequence

from verdictd.judging.languages import Language

MAIN_CLASS = "{main_class}"
_OPTIONS = "{options}"
_SOURCE = "{source}"
_SOURCES = "{sources}"
# A JVM does not start with a stack of less than about 200 KiB.
_LEAST_STACK_KIB = 512
_LEAST_HEAP_MIB = 8


def compile_argv(language: Language, options: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return the compiler's command line, empty for a language without a compiler.

    `sources` are the names of the files to compile, the main source first.
    """
    if not language.compile_cmd:
        return []
    words = language.compile_cmd if _OPTIONS in language.compile_cmd else (*language.compile_cmd, _OPTIONS)
    lists = {_OPTIONS: options, _SOURCES: [as_operand(name) for name in sources]}
    argv: list[str] = []
    for word in words:
        argv += lists[word] if word in lists else [word.replace(_SOURCE, as_operand(sources[0]))]
    return argv


def run_values(
    language: Language, *, memory_kib: int, stack_kib: int, source: str = "", main_class: str = ""
) -> Mapping[str, str]:
    """Return what the placeholders in the command and the environment of a program stand for."""
    memory_mib = memory_kib // 1024
    # An eighth of the stack is left to the runtime.
    usable_kib = max(stack_kib * 7 // 8, _LEAST_STACK_KIB)
    heap_mib = memory_mib * language.heap_percent // 100 - language.headroom_mib
    return {
        "{memory_mib}": str(memory_mib),
        "{heap_mib}": str(max(heap_mib, _LEAST_HEAP_MIB)),
        "{stack_kib}": str(usable_kib),
        "{stack_bytes}": str(usable_kib * 1024),
        _SOURCE: as_operand(source or language.source_file),
        MAIN_CLASS: main_class,
    }


def run_argv(language: Language, arguments: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the command line that runs a program; the submission's own arguments are text."""
    return [*(_filled(word, values) for word in language.run_cmd), *arguments]


def run_environment(language: Language, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program."""
    own = {name: _filled(value, values) for name, value in language.run_environment.items()}
    return {**language.environment, **own}


def names_main_class(language: Language) -> bool:
    """Return whether the language runs the class with the main method, whatever its name."""
    return any(MAIN_CLASS in word for word in language.run_cmd)


def as_operand(name: str) -> str:
    """Return a file name in a form that no compiler takes for an option (`-o`) or a list (`@file`)."""
    return name if name[:1].isalnum() or name.startswith(("_", ".")) else f"./{name}"


def _filled(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word
