import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.language_programs import PROGRAMS
from support.waiting import wait_until
from verdictd.judging.commands import run_environment, run_values
from verdictd.judging.languages import LanguagesError, Registry, refused_option
from verdictd.judging.versions import version

pytestmark = pytest.mark.anyio

Write = Callable[[str], Path]

NEW = 'name = "new"\nsource_file = "main.new"\nrun_cmd = "bash main.new"\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the operator's file of languages."""

    def write(text: str) -> Path:
        file = tmp_path / "own.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture(scope="module")
def packaged() -> Registry:
    return Registry.load()


def test_sixteen_languages_are_packaged(packaged: Registry) -> None:
    """
    The package declares these languages, each with a reference program, a version command and test programs.
    """
    names = {language.name for language in packaged if language.reference and language.version_cmd}

    assert set(PROGRAMS) == names
    assert 16 == len(packaged) == len(names)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("python", "python"),
        ("PYTHON", "python"),
        ("py", "python"),
        (".py", "python"),
        ("python3", "python"),
        ("C++", "cpp"),
        ("Js", "javascript"),
        ("c#", "csharp"),
        ("sh", "bash"),
    ],
)
def test_language_is_found_by_name_alias_and_extension(packaged: Registry, word: str, name: str) -> None:
    """A submission may ask for a language by its name, an alias or its file extension, in any case."""
    language = packaged.get(word)

    assert language is not None
    assert name == language.name


def test_unknown_language_is_none(packaged: Registry) -> None:
    """What nobody declared is not found."""
    assert packaged.get("cobol") is None
    assert packaged.get("") is None


def test_file_of_the_prototype_works_as_it_stands(write: Write) -> None:
    """The six keys of the prototype suffice; an empty compile_cmd means that nothing is compiled."""
    file = write("""
        [[languages]]
        name = "Python"
        source_file = "program.py"
        file_extension = "py"
        compile_cmd = ""
        run_cmd = "/usr/bin/python3 program.py"
        allow_network = true

        [[languages]]
        name = "C (GCC)"
        source_file = "program.c"
        file_extension = "c"
        compile_cmd = "/usr/bin/gcc program.c -o 'a program'"
        run_cmd = "'./a program'"
        allow_network = false
    """)
    registry = Registry.load(file)
    python, c = registry.get("py"), registry.get("c")

    assert python is not None
    assert (True, (), ("/usr/bin/python3", "program.py")) == (
        python.allow_network,
        python.compile_cmd,
        python.run_cmd,
    )
    assert c is not None
    assert ("/usr/bin/gcc", "program.c", "-o", "a program") == c.compile_cmd
    assert ("./a program",) == c.run_cmd
    assert (False, ()) == (c.allow_network, c.missing)


def test_table_of_tables_names_each_language_by_its_key(write: Write) -> None:
    """`[languages.NAME]` is another way to write `[[languages]]`."""
    file = write('[languages.shell2]\nsource_file = "main.sh"\nrun_cmd = "bash main.sh"')
    language = Registry.load(file).get("shell2")

    assert language is not None
    assert ("/usr/bin/bash", "main.sh") == language.run_cmd


def test_table_without_run_cmd_changes_only_what_it_holds(packaged: Registry, write: Write) -> None:
    """An operator changes one key of a packaged language without repeating the others."""
    file = write("""
        [[language]]
        name = "Go"
        allow_network = true
        environment = { GOFLAGS = "-p=1" }
        compile_limits = { cpu_time_s = 7 }
    """)
    before, after = packaged.get("go"), Registry.load(file).get("go")

    assert before is not None
    assert after is not None
    assert (False, True) == (before.allow_network, after.allow_network)
    assert {**before.environment, "GOFLAGS": "-p=1"} == after.environment
    assert (7, 120) == (after.compile_limits.cpu_time_s, after.compile_limits.wall_time_s)
    assert before.compile_cmd == after.compile_cmd


def test_table_with_run_cmd_keeps_what_the_runtime_needs(packaged: Registry, write: Write) -> None:
    """
    Whoever knows no more than the prototype's keys still gets a JVM that starts; the commands are their own.
    """
    file = write("""[[language]]
        name = "Java 8"
        source_file = "Main.java"
        file_extension = "java"
        run_cmd = "bash Main.java"
    """)
    java, own = packaged.get("java"), Registry.load(file).get("java")

    assert java is not None
    assert own is not None
    assert ("Java 8", (), (), ()) == (own.name, own.compile_cmd, own.artifacts, own.version_cmd)
    assert (java.directories, java.extra_processes, False) == (
        own.directories,
        own.extra_processes,
        own.address_space,
    )
    assert java.compiler_options == own.compiler_options


def test_word_of_the_operator_is_taken_from_the_packaged_languages(write: Write) -> None:
    """An alias moves to the operator's language; a packaged language whose name is taken is gone."""
    registry = Registry.load(write(f'[[language]]\n{NEW}aliases = ["PY", "cpp"]'))
    names = {word: language.name for word in ("py", "cpp", "python") if (language := registry.get(word))}

    assert {"py": "new", "cpp": "new", "python": "python"} == names
    assert registry.get("c++") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[language]", "own.toml: Expected"),
        ("[[lingo]]", "own.toml: lingo: a languages file can contain only [[language]] tables"),
        ("language = 1", "own.toml: language: a languages file can contain only"),
        ("language = [1]", "own.toml: language: a languages file can contain only"),
        ('[language]\nname = "x"', "own.toml: language: a languages file can contain only"),
        ('[[language]]\nname = "new"', "language new: source_file: "),
        (f"[[language]]\n{NEW}compile = 1", "language new: compile: "),
        (f"[[language]]\n{NEW}allow_network = 'yes'", "language new: allow_network: "),
        (f"[[language]]\n{NEW}extra_processes = true", "language new: extra_processes: "),
        (f"[[language]]\n{NEW}extra_processes = -1", "language new: extra_processes: "),
        (
            f"[[language]]\n{NEW}compile_limits = {{ memory_kib = '1' }}",
            "language new: compile_limits.memory_kib: ",
        ),
        (
            f"[[language]]\n{NEW}compile_limits = {{ cpu_time_s = nan }}",
            "language new: compile_limits.cpu_time_s: ",
        ),
        (
            f'[[language]]\n{NEW}compile_cmd = "gcc \'x"',
            "language new: compile_cmd: No closing quotation",
        ),
        (f'[[language]]\n{NEW}compile_cmd = "gcc \\u0000"', "language new: compile_cmd: "),
        (f"[[language]]\n{NEW}compiler_options = ['-O[']", "language new: compiler_options.0: "),
        (f"[[language]]\n{NEW}artifacts = ['../main']", "language new: artifacts.0: "),
        (f"[[language]]\n{NEW}artifacts = ['/box/main']", "language new: artifacts.0: "),
        (f"[[language]]\n{NEW}source_name = 'class'", "language new: source_name: "),
        (f"[[language]]\n{NEW}source_extensions = ['../c']", "language new: source_extensions.0: "),
        (f"[[language]]\n{NEW}heap_percent = 101", "language new: heap_percent: "),
        (f"[[language]]\n{NEW}out_of_memory = ['(']", "language new: out_of_memory.0: "),
        (f"[[language]]\n{NEW}directories = ['/opt/../etc']", "language new: directories.0: "),
        (f"[[language]]\n{NEW}directories = ['/opt:rw']", "language new: directories.0: "),
        (f"[[language]]\n{NEW}directories = ['/']", "language new: directories.0: "),
        (f"[[language]]\n{NEW}environment = {{ A = '' }}", "language new: environment.A: "),
        ('[[language]]\nname = "new"\nsource_file = "../x"\nrun_cmd = "x"', "language new: source_file: "),
        ('[[language]]\nname = "new"\nsource_file = "x"\nrun_cmd = ""', "language new: run_cmd: "),
        (f"[[language]]\n{NEW}[[language]]\n{NEW}", "language new: new is already a name or alias of new"),
        (
            f"[[language]]\n{NEW}[[language]]\n{NEW}".replace('"new"', '"other"', 1) + 'aliases = ["OTHER"]',
            "language new: other is already a name or alias of other",
        ),
    ],
)
def test_wrong_file_names_itself_the_language_and_the_key(write: Write, text: str, message: str) -> None:
    """A wrong file of languages ends the start; the message leads to the place."""
    with pytest.raises(LanguagesError) as caught:
        Registry.load(write(text))

    assert message in str(caught.value)


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """A file that the operator names must exist."""
    with pytest.raises(LanguagesError, match=r"absent\.toml"):
        Registry.load(tmp_path / "absent.toml")


def test_commands_are_words_with_nothing_expanded(write: Write) -> None:
    """Quotes group as in a shell; variables, globs, pipes and back quotes mean themselves."""
    file = write(f"[[language]]\n{NEW}".replace("bash main.new", "bash '$HOME' $HOME * | `id` 'a b'"))
    language = Registry.load(file).get("new")

    assert language is not None
    assert ("$HOME", "$HOME", "*", "|", "`id`", "a b") == language.run_cmd[1:]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "c",
            [
                "-O2",
                "-std=c11",
                "-Wall",
                "-Wno-unused",
                "-DN=10",
                "-DDEBUG",
                "-UDEBUG",
                "-lm",
                "-pthread",
                "-g",
            ],
        ),
        ("cpp", ["-std=c++20", "-O3", "-Wextra", "-fno-exceptions", "-fsanitize=address,undefined"]),
        ("java", ["-Xlint:all", "-Xlint:-serial,unchecked", "--release=11"]),
        ("rust", ["-Copt-level=3", "-Aunused_variables"]),
        ("csharp", ["-optimize+", "-define:A;B", "-r:System.Numerics"]),
        ("haskell", ["-O2", "-Wall", "-XLambdaCase"]),
        ("pascal", ["-O3", "-Mdelphi", "-dDEBUG", "-Cr"]),
        ("go", ["-trimpath"]),
    ],
)
def test_usual_compiler_option_is_allowed(packaged: Registry, name: str, options: list[str]) -> None:
    """What courses and contests pass to compilers is in the allow-lists."""
    language = packaged.get(name)

    assert language is not None
    assert refused_option(language, options) is None


@pytest.mark.parametrize("name", ["c", "cpp"])
@pytest.mark.parametrize(
    "option",
    [
        "-fplugin=x.so",
        "-specs=x",
        "--specs=x",
        "@file",
        "-o",
        "-o../x",
        "../x",
        "-B.",
        "-wrapper",
        "-Wl,-rpath,.",
        "-Wp,-MD,x",
        "-Wa,--defsym",
        "-Xlinker",
        "main2.c",
        "-I/etc",
        "-include/etc/passwd",
        "-l../x",
        "-L.",
        "-T/x",
        "-x",
        "-DA=`id`",
        "-DA\n-o",
        "-O2\n",
        "-O2 -o x",
        " -O2",
        "-O\uff12",
        "-Wall-\u00e9",
        "-",
        "",
    ],
)
def test_dangerous_compiler_option_is_refused(packaged: Registry, name: str, option: str) -> None:
    """A word that does not match the allow-list as a whole is refused, wherever it stands."""
    language = packaged.get(name)

    assert language is not None
    assert option == refused_option(language, ["-O2", option, "-g"])


def test_language_without_allow_list_refuses_every_option(packaged: Registry) -> None:
    """What an operator did not allow is not allowed."""
    python = packaged.get("python")

    assert python is not None
    assert "-O" == refused_option(python, ["-O"])


def test_environment_and_directories_have_a_base(packaged: Registry) -> None:
    """Every language has PATH, a HOME that it can write to and the links through /etc/alternatives."""
    assert {("/usr/local/bin:/usr/bin:/bin", "/tmp")} == {  # noqa: S108 - the box's own
        (language.environment["PATH"], language.environment["HOME"]) for language in packaged
    }
    assert {"/etc/alternatives:maybe"} == {language.directories[0] for language in packaged}


def test_installed_program_is_named_by_its_path(packaged: Registry) -> None:
    """The sandbox does not search PATH, so a bare program name becomes a path."""
    bash = packaged.get("bash")

    assert bash is not None
    assert ("/usr/bin/bash", ()) == (bash.run_cmd[0], bash.missing)
    assert bash in packaged.available


def test_absent_program_is_named_and_its_language_not_available(write: Write) -> None:
    """What is not installed is not offered, and `missing` says what would have to be."""
    registry = Registry.load(write(f'[[language]]\n{NEW}compile_cmd = "no-such-compiler x"'))
    language = registry.get("new")

    assert language is not None
    assert ("no-such-compiler",) == language.missing
    assert language not in registry.available


@pytest.mark.parametrize(("bound", "missing"), [(True, False), (False, True)])
def test_program_outside_the_box_is_missing_unless_bound(
    tmp_path: Path, write: Write, *, bound: bool, missing: bool
) -> None:
    """A program that no box can see counts as not installed, even where a visible link leads to it."""
    program = tmp_path / "interpreter"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    directories = [str(tmp_path)] if bound else []
    text = f"[[language]]\n{NEW}directories = {directories}".replace("bash main.new", str(program))
    language = Registry.load(write(text)).get("new")

    assert language is not None
    assert missing == (str(program) in language.missing)


async def test_version_is_the_line_that_names_it(packaged: Registry) -> None:
    """The version command runs on the host; notes around the version are left out."""
    bash = packaged.get("bash")

    assert bash is not None
    assert "GNU bash, version " in (await version(bash) or "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("bash -c 'echo warning: 17 things; echo tool 1.2 >&2; exit 1'", "tool 1.2"),
        ("bash -c 'echo openjdk version 25'", "openjdk version 25"),
        ("bash -c 'echo nothing'", None),
        ("no-such-program --version", None),
        ("", None),
    ],
)
async def test_version_of_other_shapes(write: Write, command: str, expected: str | None) -> None:
    """
    A number with a dot, or the word version with a number, makes the line; without such a line there is None.
    """
    language = Registry.load(write(f'[[language]]\n{NEW}version_cmd = "{command}"')).get("new")

    assert language is not None
    assert expected == await version(language)


async def test_version_command_that_hangs_is_ended_with_its_children(tmp_path: Path, write: Write) -> None:
    """A version is not worth waiting for, and nothing that its command started stays behind."""
    note = tmp_path / "child"
    command = f"bash -c 'sleep 60 & echo $! > {note}; wait'"
    language = Registry.load(write(f'[[language]]\n{NEW}version_cmd = "{command}"')).get("new")
    assert language is not None
    started_at = time.monotonic()
    found = await version(language, limit_s=2)

    assert found is None
    assert time.monotonic() - started_at < 30
    await wait_until(lambda: not _runs(int(note.read_text())))  # a signal is not an end yet


def _runs(pid: int) -> bool:
    """Return True while a process runs; one that has ended may be a zombie for a moment."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("java Main", ("-XX:-UsePerfData", "Main")),
        ("/usr/bin/java -Xmx1m Main", ("-XX:-UsePerfData", "-Xmx1m", "Main")),
        ("javac Main.java", ("-J-XX:-UsePerfData", "Main.java")),
        ("bash java", ("java",)),
    ],
)
def test_jvm_of_an_operators_language_keeps_no_performance_data(
    write: Write, command: str, expected: tuple[str, ...]
) -> None:
    """Otherwise it would complain on standard output about a file that it cannot lock."""
    text = f'[[language]]\nname = "new"\nsource_file = "x"\nrun_cmd = "{command}"'
    language = Registry.load(write(text)).get("new")

    assert language is not None
    assert expected == language.run_cmd[1:]


def test_environment_has_the_limits_of_the_submission(packaged: Registry) -> None:
    """Placeholders in values are replaced as in commands: seven eighths of the stack limit."""
    ruby = packaged.get("ruby")

    assert ruby is not None
    environment = run_environment(ruby, run_values(ruby, memory_kib=262_144, stack_kib=65_536))
    assert str(56 * 1024 * 1024) == environment["RUBY_THREAD_VM_STACK_SIZE"]
    assert ruby.environment["PATH"] == environment["PATH"]
