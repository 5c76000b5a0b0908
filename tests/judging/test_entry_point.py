"""A grader beside the submitted code: the entry point is what runs, and it uses what was submitted."""

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

JAVA = (
    'class Grader { public static void main(String[] a) { System.out.print("graded " + Solution.value()); } }'
)
PASCAL = """unit main; interface function value: integer; implementation
function value: integer; begin value := 42 end; end."""

GRADERS = {
    "c": (
        "c",
        "int value(void) { return 42; }",
        "grader.c",
        '#include <stdio.h>\nint value(void);\nint main(void) { printf("graded %d", value()); }',
    ),
    "c that includes the source": (
        "c",
        "static int value(void) { return 42; }",
        "grader.c",
        '#include <stdio.h>\n#include "main.c"\nint main(void) { printf("graded %d", value()); }',
    ),
    "cpp": (
        "cpp",
        "int value() { return 42; }",
        "lib/grader.cc",
        '#include <cstdio>\nint value();\nint main() { std::printf("graded %d", value()); }',
    ),
    "python": (
        "python",
        "value = 42\nif __name__ == '__main__': print('submitted')",
        "grader.py",
        "import main\nprint('graded', main.value, end='')",
    ),
    "python named as an option": (
        "python",
        "value = 42",
        "-c.py",
        "import main\nprint('graded', main.value, end='')",
    ),
    "java": (
        "java",
        "public class Solution { static int value() { return 42; } public static void main(String[] a) { } }",
        "Grader",
        JAVA,
    ),
    "javascript": (
        "javascript",
        "exports.value = 42; if (require.main === module) console.log('submitted')",
        "grader.js",
        "process.stdout.write('graded ' + require('./main.js').value)",
    ),
    "ruby": (
        "ruby",
        "VALUE = 42",
        "grader.rb",
        "require_relative 'main'\nprint 'graded ', VALUE",
    ),
    "php": ("php", "<?php $value = 42;", "grader.php", "<?php include 'main.php'; echo 'graded ', $value;"),
    "perl": ("perl", "$value = 42; 1;", "grader.pl", "require './main.pl'; print 'graded ', $value;"),
    "lua": ("lua", "return 42", "grader.lua", "io.write('graded ', (require('main')))"),
    "bash": ("bash", "value=42", "grader.sh", ". ./main.sh; echo -n graded $value"),
    "rust": (
        "rust",
        "pub fn value() -> i32 { 42 }",
        "grader.rs",
        'mod main; fn main() { print!("graded {}", main::value()); }',
    ),
    "pascal": (
        "pascal",
        PASCAL,
        "grader.pas",
        "uses main; begin write('graded ', value) end.",
    ),
}


@pytest.mark.parametrize("case", GRADERS.values(), ids=GRADERS.keys())
async def test_grader_runs_in_place_of_the_source(
    judge: Judge, host: Judgehost, case: tuple[str, str, str, str]
) -> None:
    """It finds the submitted code under the name that it has without a grader."""
    language, source, entry_point, grader = case
    known = host.registry.get(language)
    assert known is not None
    if known.missing:
        pytest.skip(f"{' and '.join(known.missing)} not installed")
    name = f"{entry_point}.java" if language == "java" else entry_point
    files = [{"name": name, "content": grader}]
    limits = {"cpu_time_limit": 10, "wall_time_limit": 60}
    result = await judge(language, source, additional_files=files, entry_point=entry_point, **limits)

    assert (Status.ACCEPTED, "graded 42") == (result.status, result.stdout), (
        result.message + result.compile_output + result.stderr
    )


async def test_class_without_a_main_method_is_a_compilation_error(judge: Judge) -> None:
    """The grader's author is told which one."""
    result = await judge("made classes", "echo no class file > Grader.class", entry_point="Grader")

    assert Status.COMPILATION_ERROR == result.status
    assert result.message.startswith("No class Grader has a main method")
