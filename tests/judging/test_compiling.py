"""Compilers and runtimes as users meet them: several sources, many messages, no program, no more memory."""

import re
from typing import Any

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Cause, Status
from verdictd.judging.judgehost import Judgehost

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def host(host_with_groups: Judgehost) -> Judgehost:
    """A judgehost with control groups, where they work."""
    return host_with_groups


LIMITS: dict[str, Any] = {"cpu_time_limit": 10, "wall_time_limit": 60}
C_MAIN = """
#include <stdio.h>
#include "parts.h"
#include "included.c"
int main(void) { printf("%d", folder() + option() + list() + space() + included()); }
"""
C_FILES = {
    "parts.h": "int folder(void); int option(void); int list(void); int space(void);",
    "included.c": "int included(void) { return 2; }",
    "lib/folder.c": "int folder(void) { return 10; }",
    "-o.c": "int option(void) { return 10; }",
    "@list.c": "int list(void) { return 10; }",
    "a space.c": "int space(void) { return 10; }",
}
CPP_MAIN = """
#include <cstdio>
int cc(); int cpp(); int cxx();
int main() { std::printf("%d", cc() + cpp() + cxx()); }
"""
CPP_FILES = {f"{name}.{name}": f"int {name}() {{ return 14; }}" for name in ("cc", "cpp", "cxx")}
GO_MAIN = 'package main\nimport "fmt"\nfunc main() { fmt.Print(value()) }'
PASCAL_UNIT = """unit helper; interface function value: integer; implementation
function value: integer; begin value := 42 end; end."""

SEVERAL = {
    "c of files with odd names, a header, and one that is included": ("c", C_MAIN, C_FILES),
    "cpp of all endings": ("cpp", CPP_MAIN, CPP_FILES),
    "go": ("go", GO_MAIN, {"value.go": "package main\nfunc value() int { return 42 }"}),
    "go with a folder": (
        "go",
        GO_MAIN.replace('"fmt"', '("fmt"; "./lib")').replace("value()", "lib.Value()"),
        {"lib/v.go": "package lib\nfunc Value() int { return 42 }"},
    ),
    "pascal": ("pascal", "uses helper; begin write(value) end.", {"helper.pas": PASCAL_UNIT}),
    "rust": (
        "rust",
        'mod helper; fn main() { print!("{}", helper::value()); }',
        {"helper.rs": "pub fn value() -> i32 { 42 }"},
    ),
    "haskell": (
        "haskell",
        "import Helper\nmain = putStr (show value)",
        {"Helper.hs": "module Helper where\nvalue :: Int\nvalue = 42"},
    ),
    "csharp": (
        "csharp",
        "class P { static void Main() { System.Console.Write(Helper.Value); } }",
        {"Helper.cs": "public class Helper { public static int Value = 42; }"},
    ),
}  # fmt: skip


def skip_unless_installed(host: Judgehost, name: str) -> None:
    language = host.registry.get(name)
    assert language is not None
    if language.missing:
        pytest.skip(f"{' and '.join(language.missing)} not installed")


@pytest.mark.parametrize(("language", "source", "files"), SEVERAL.values(), ids=SEVERAL.keys())
async def test_additional_sources_are_a_part_of_the_program(
    judge: Judge, host: Judgehost, language: str, source: str, files: dict[str, str]
) -> None:
    """Each is compiled once, whatever its name; headers and included files are not compiled by themselves."""
    skip_unless_installed(host, language)
    additional = [{"name": name, "content": content} for name, content in files.items()]
    result = await judge(language, source, additional_files=additional, **LIMITS)

    assert (Status.ACCEPTED, "42") == (result.status, result.stdout), result.compile_output + result.stderr


async def test_many_messages_are_cut_and_the_program_runs(judge: Judge) -> None:
    """Hundreds of unused functions are as many warnings, not an error."""
    source = "".join(f"static int never_called_{n}(int a) {{ int unused; }}\n" for n in range(500))
    result = await judge("c", f"{source}int main(void) {{ }}", compiler_options="-Wall -Wextra -O0")

    assert (Status.ACCEPTED, 65_536, True) == (
        result.status,
        len(result.compile_output.encode()),
        result.compile_output_truncated,
    )
    assert "never_called_0" in result.compile_output


async def test_messages_without_end_are_compilation_error(judge: Judge) -> None:
    """There is a bound all the same."""
    result = await judge("made", "yes", **LIMITS)

    assert (Status.COMPILATION_ERROR, True) == (result.status, result.compile_output_truncated)
    assert "bytes of messages" in result.message


NOT_PROGRAMS = {
    "text": ("printf hello > main", "neither an ELF program nor a script"),
    "archive": ("printf '!<arch>\\n' > main", "neither an ELF program nor a script"),
    "object file": ("echo 'int x;' > x.c; gcc -c x.c -o main", "an object file"),
    "shortened": ("head -c 40 /bin/true > main", "cut short"),
    "missing interpreter": ("printf '#!/no/such\\n' > main", "'/no/such' does not exist"),
    "empty": ("touch main", "neither an ELF program nor a script"),
    "nothing": ("true", "did not produce"),
}


@pytest.mark.parametrize(("script", "reason"), NOT_PROGRAMS.values(), ids=NOT_PROGRAMS.keys())
async def test_artifact_that_cannot_be_executed_is_compilation_error(
    judge: Judge, script: str, reason: str
) -> None:
    """The compiler's file is looked at before it is run."""
    result = await judge("made", script)

    assert (Status.COMPILATION_ERROR, Cause.COMPILE) == (result.status, result.cause)
    assert reason in result.message


async def test_go_package_without_main_is_compilation_error(judge: Judge, host: Judgehost) -> None:
    """`go build` makes an archive of it, and calls that success."""
    skip_unless_installed(host, "go")
    result = await judge("go", "package foo")

    assert (Status.COMPILATION_ERROR, Cause.COMPILE) == (result.status, result.cause)


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("language", ["bash", "made"])
async def test_text_of_a_failed_execution_is_not_believed(judge: Judge, language: str, stream: int) -> None:
    """A program that prints it, even after removing its own file, is one that ran and exited with 127."""
    program = f"""rm -f main main.sh; echo 'execve("./main"): Exec format error' >&{stream}; exit 127"""
    source = program
    if language == "made":
        source = f"cat > main <<'END'\n#!/bin/bash\n{program}\nEND"
    result = await judge(language, source)

    assert (Status.RUNTIME_ERROR_NZEC, Cause.EXIT_CODE, 127) == (
        result.status,
        result.cause,
        result.exit_code,
    )


async def test_artifacts_in_folders_are_there_at_run_time(judge: Judge) -> None:
    """A language without a list of artifacts keeps all files, with their directories."""
    script = "mkdir -p a/b; echo deep > a/b/c; printf '#!/bin/bash\\ncat a/b/c' > main"
    result = await judge("made whole", script)

    assert (Status.ACCEPTED, "deep\n") == (result.status, result.stdout)


@pytest.mark.parametrize(
    "options",
    [["-fopenmp", "-march=native", "-std=c++20", "-Ofast", "-pthread", "-mavx2"], ["-static"]],
    ids=["dynamic", "static"],
)
async def test_options_of_contests_compile_and_run(judge: Judge, options: list[str]) -> None:
    """What contests pass to g++ is allowed, and works in a box."""
    source = """
        #include <cstdio>
        int main() {
            long sum = 0;
            #pragma omp parallel for reduction(+:sum)
            for (int i = 0; i < 100; i++) sum += i;
            std::printf("%ld", sum);
        }
    """
    result = await judge("cpp", source, compiler_options=options, **LIMITS)

    assert (Status.ACCEPTED, "4950") == (result.status, result.stdout), result.compile_output


LAST_WORDS = {
    "python": "raise MemoryError",
    "cpp": "#include <new>\nint main() { throw std::bad_alloc(); }",
    "javascript": "const kept = []; for (;;) kept.push([kept.length + 0.5, {}]);",
    "ruby": "raise NoMemoryError",
    "php": "<?php for ($kept = [];;) $kept[] = str_repeat('x', 1 << 20);",
    "lua": "error('not enough memory')",
    "perl": 'print STDERR "Out of memory!\\n"; exit 1;',
    "rust": "fn main() { std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; 9]>()); }",
    "haskell": "main = print (length xs + sum xs) where xs = [1 .. 100000000 :: Int]",
    "pascal": "begin runerror(203) end.",
    "csharp": "class P { static void Main() { throw new System.OutOfMemoryException(); } }",
}  # fmt: skip


@pytest.mark.parametrize("language", LAST_WORDS)
async def test_runtime_that_gets_no_more_memory_is_memory_limit_exceeded(
    judge: Judge, host: Judgehost, language: str
) -> None:
    """Its last words decide, whatever exit code or signal it ends with."""
    skip_unless_installed(host, language)
    result = await judge(language, LAST_WORDS[language], memory_limit=65_536, **LIMITS)

    assert (Status.MEMORY_LIMIT_EXCEEDED, Cause.MEMORY) == (result.status, result.cause), result.stderr


@pytest.mark.parametrize("ending", ["0", "11"])
async def test_words_of_a_program_that_did_not_fail_for_memory_mean_nothing(
    judge: Judge, ending: str
) -> None:
    """A program may print anything: only a failure with these last words is one for lack of memory."""
    end = "" if ending == "0" else f"os.kill(os.getpid(), {ending})"
    source = f"import os, sys\nprint('MemoryError', file=sys.stderr, flush=True)\n{end}"
    result = await judge("python", source)

    expected = Status.ACCEPTED if ending == "0" else Status.RUNTIME_ERROR_SIGSEGV
    assert (expected, "MemoryError\n") == (result.status, result.stderr)


LIVE = {
    "python": "import sys\nb = [bytearray(b'x') * (1 << 20) for _ in range(int(sys.argv[1]))]\nprint(len(b))",
    "javascript": """
        const blocks = [];
        for (let i = 0; i < process.argv[2]; i++) blocks.push(new Array(131072).fill(i + 0.5));
        console.log(blocks.length);
    """,
    "go": """
        package main
        import ("fmt"; "os"; "strconv")
        func main() {
            count, _ := strconv.Atoi(os.Args[1])
            blocks := [][]int64{}
            for i := 0; i < 16 * count; i++ {
                block := make([]int64, 8192)
                for j := range block { block[j] = int64(j) }
                blocks = append(blocks, block)
            }
            fmt.Println(len(blocks) / 16)
        }
    """,
    "ruby": "blocks = ARGV[0].to_i.times.map { |i| 'x' * (1 << 20) + i.to_s }\nputs blocks.size",
    "php": "<?php for ($i = 0; $i < $argv[1]; $i++) $b[] = str_repeat('x', 1 << 20) . $i; echo count($b);",
    "lua": "local b = {} for i = 1, tonumber(arg[1]) do b[i] = string.rep('x', 1048576) .. i end print(#b)",
}  # fmt: skip


MEMORY = {
    "half": (128, 60, Status.ACCEPTED),
    "more": (64, 80, Status.MEMORY_LIMIT_EXCEEDED),
    "half of much": (512, 250, Status.ACCEPTED),
    "more than the default": (256, 280, Status.MEMORY_LIMIT_EXCEEDED),
}
"""Limit in MiB, live data in MiB, and the verdict."""
SIZED = {"javascript", "go"}
"""Runtimes that are told the limit, and size their heap by it."""


@pytest.mark.parametrize(
    ("language", "memory"),
    [
        (language, size)
        for language in LIVE
        for size in MEMORY
        if size in {"half", "more"} or language in SIZED
    ],
)
async def test_half_of_the_memory_limit_can_be_live_data(
    judge: Judge, host: Judgehost, language: str, memory: str
) -> None:
    """Half of the limit fits into every runtime, and more than the limit into none."""
    skip_unless_installed(host, language)
    limit_mib, live_mib, status = MEMORY[memory]
    arguments = [str(live_mib)]
    result = await judge(
        language, LIVE[language], command_line_arguments=arguments, memory_limit=limit_mib * 1024, **LIMITS
    )

    assert status == result.status, result.stderr
    if status is Status.ACCEPTED:
        assert [str(live_mib)] == re.findall(r"\d+", result.stdout)
