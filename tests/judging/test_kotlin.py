"""Kotlin as its users write it: packages, several files, and a main method wherever Kotlin has one."""

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


@pytest.fixture(autouse=True)
def _needs_kotlinc(host: Judgehost) -> None:
    language = host.registry.get("kotlin")
    assert language is not None
    if language.missing:
        pytest.skip(f"{' and '.join(language.missing)} not installed")


PACKAGE = """
package org.example
import shapes.area
data class Size(val a: Int, val b: Int)
fun main(args: Array<String>) { val (a, b) = Size(6, 7); print(area(a, b)) }
"""
AREA = "package shapes\nfun area(a: Int, b: Int) = a * b"
OBJECT = "object Main { @JvmStatic fun main(args: Array<String>) { print(42) } }"
COMPANION = "class Solution { companion object { @JvmStatic fun main(args: Array<String>) { print(42) } } }"

# kotlinc takes many seconds: a program tries several things at once.
PROGRAMS: dict[str, tuple[str, dict[str, str]]] = {
    "main in a package, others beside": (
        PACKAGE,
        {"shapes/area.kt": AREA, "another.kt": "fun main() { print(41) }"},
    ),
    "main of an object": (OBJECT, {}),
    "main of a companion": (COMPANION, {}),
}


@pytest.mark.parametrize("case", PROGRAMS)
async def test_program_runs_wherever_its_main_function_is(judge: Judge, case: str) -> None:
    """Whatever kotlinc takes is found in its jar, and started."""
    source, files = PROGRAMS[case]
    additional = [{"name": name, "content": content} for name, content in files.items()]
    result = await judge("kotlin", source, additional_files=additional, **LIMITS)

    assert (Status.ACCEPTED, "42") == (result.status, result.stdout), result.compile_output + result.stderr


async def test_source_without_main_function_is_compilation_error(judge: Judge) -> None:
    """There is nothing to run, and the message says what is missing."""
    result = await judge("kotlin", "fun start() { }", **LIMITS)

    assert (Status.COMPILATION_ERROR, Cause.COMPILE) == (result.status, result.cause)
    assert "main method" in result.message


LIVE = """
fun main(arguments: Array<String>) {
    val blocks = List(4 * arguments[0].toInt()) { block -> IntArray(65536) { block } }
    print(blocks.size / 4)
}
"""


@pytest.mark.parametrize(("limit_mib", "live_mib"), [(64, 12), (256, 120)])
async def test_live_data_of_half_the_limit_fits_beside_the_jvm(
    judge: Judge, limit_mib: int, live_mib: int
) -> None:
    """As in Java."""
    result = await judge(
        "kotlin", LIVE, command_line_arguments=[str(live_mib)], memory_limit=limit_mib * 1024, **LIMITS
    )

    assert (Status.ACCEPTED, str(live_mib)) == (result.status, result.stdout), result.stderr
