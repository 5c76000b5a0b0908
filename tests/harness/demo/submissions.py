"""Submissions of the demo: programs as their users write them, each with the verdict that it must get."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from verdictd.contract.result import Status


@dataclass(frozen=True, slots=True)
class Case:
    """One message of the demo; its id is the AMQP message_id."""

    id: str
    language: str
    body: bytes
    expected: Status
    after: str | None = None
    """Id of the submission whose result is waited for first."""
    cancelled: bool = False
    """Whether it is cancelled as soon as it is sent."""


def case(
    id_: str, language: str, source: str, expected: Status, *, after: str | None = None, **fields: Any
) -> Case:
    """Return a submission with the fields of the wire contract."""
    body = {"language": language, "source_code": source, **fields}
    return Case(id_, language, orjson.dumps(body), expected, after)


PYTHON_SUM: Final = """\
import sys

print(sum(map(int, sys.stdin.read().split())))
"""

PYTHON_BIG: Final = """\
rows = []
while True:
    rows.append(bytearray(1_000_000))
"""

C_PRIMES: Final = """\
#include <stdio.h>

int main(void)
{
    int limit, count = 0;
    if (scanf("%d", &limit) != 1) return 1;
    for (int n = 2; n < limit; n++) {
        int d = 2;
        while (d * d <= n && n % d != 0) d++;
        count += d * d > n;
    }
    printf("%d\\n", count);
    return 0;
}
"""

C_BIG: Final = """\
#include <stdlib.h>
#include <string.h>

int main(void)
{
    for (char *block; (block = malloc(1 << 20)); ) memset(block, 1, 1 << 20);
    return 1;
}
"""

C_SEGFAULT: Final = "int main(void) { *(volatile int *)0 = 1; return 0; }"
C_DIVISION: Final = "int main(int argc, char **argv) { volatile int zero = 0; return argc / zero; }"
C_BIG_FILE: Final = """\
#include <stdio.h>

int main(void)
{
    FILE *file = fopen("big", "w");
    for (;;) fputs("0123456789", file);
}
"""

CPP_SORT: Final = """\
#include <algorithm>
#include <iostream>
#include <iterator>
#include <ranges>
#include <vector>

int main()
{
    std::vector<int> numbers(std::istream_iterator<int>(std::cin), {});
    std::ranges::sort(numbers);
    for (int number : numbers) std::cout << number << ' ';
}
"""

CPP_THROW: Final = '#include <stdexcept>\nint main() { throw std::runtime_error("nobody catches this"); }'

C_SQUARE: Final = """\
#include <stdio.h>

int main(void)
{
    unsigned n;
    if (scanf("%u", &n) != 1) return 1;
    printf("%d\\n", (int)(n * n));
    return 0;
}
"""

SQUARES: Final = tuple((n, "small") for n in range(1, 11)) + tuple(
    (n, "large") for n in range(40_000, 50_000, 1_000)
)

BASH_SUM: Final = """\
total=0
while read -r number; do total=$((total + number)); done
echo "$total"
"""

JAVASCRIPT_SUM: Final = """\
const numbers = require("fs").readFileSync(0, "utf8").trim().split(/\\s+/).map(Number);
console.log(numbers.reduce((sum, number) => sum + number, 0));
"""

JAVA_FIBONACCI: Final = """\
import java.util.Scanner;

public class Main {
    public static void main(String[] arguments) {
        long a = 0, b = 1;
        for (int n = new Scanner(System.in).nextInt(); n > 0; n--) {
            long next = a + b;
            a = b;
            b = next;
        }
        System.out.println(a);
    }
}
"""

SUM_CHECKER = """\
import sys

wanted, given = (list(map(int, open(name).read().split())) for name in sys.argv[1:3])
right = len(given) == 2 and sum(given) == wanted[0]
print("ok" if right else "wrong answer", "two numbers with this sum", file=sys.stderr)
sys.exit(0 if right else 1)
"""
"""Any two numbers with the sum are right; it speaks the protocol of testlib.h."""

GUESSES = """\
low, high = 1, 1000
while True:
    guess = (low + high) // 2
    print(guess, flush=True)
    answer = input()
    if answer == "right":
        break
    low, high = (guess + 1, high) if answer == "more" else (low, guess - 1)
"""

GUESSED_NUMBER = """\
import sys
from pathlib import Path

secret, allowed = (int(Path(name).read_text()) for name in sys.argv[1:3])
for _ in range(allowed):
    guess = int(sys.stdin.readline() or 0)
    if guess == secret:
        print("right", flush=True)
        sys.exit(42)
    print("more" if guess < secret else "less", flush=True)
sys.exit(43)
"""
"""Talks to the program by the protocol of Kattis: its input is the number, its answer the guesses allowed."""

SUBMISSIONS: Final = (
    case("python-hello", "py", 'print("hello world")', Status.ACCEPTED, expected_output="hello world"),
    case("python-sum", "python", PYTHON_SUM, Status.ACCEPTED, stdin="1 2 3\n4\n", expected_output="10"),
    case("python-wrong", "python", "print(41)", Status.WRONG_ANSWER, expected_output="42"),
    case("python-slow", "python", "while True: pass", Status.TIME_LIMIT_EXCEEDED, cpu_time_limit=0.5),
    case("python-big", "python", PYTHON_BIG, Status.MEMORY_LIMIT_EXCEEDED, memory_limit=65_536),
    case("python-exit-3", "python", "raise SystemExit(3)", Status.RUNTIME_ERROR_NZEC),
    case("c-primes", "c", C_PRIMES, Status.ACCEPTED, stdin="100000", expected_output="9592"),
    case("c-five-runs", "c", C_PRIMES, Status.ACCEPTED, stdin="100", expected_output="25", number_of_runs=5),
    case("c-not-compiling", "c", "int main(void) { return missing; }", Status.COMPILATION_ERROR),
    case("c-big", "c", C_BIG, Status.MEMORY_LIMIT_EXCEEDED, memory_limit=65_536),
    case("c-null-pointer", "c", C_SEGFAULT, Status.RUNTIME_ERROR_SIGSEGV),
    case("c-division", "c", C_DIVISION, Status.RUNTIME_ERROR_SIGFPE),
    case("c-big-file", "c", C_BIG_FILE, Status.RUNTIME_ERROR_SIGXFSZ, max_file_size=1_024),
    case(
        "c-twenty-tests",
        "c",
        C_SQUARE,
        Status.WRONG_ANSWER,
        tests=[{"stdin": f"{n}", "expected_output": f"{n * n}", "group": group} for n, group in SQUARES],
        groups=[
            {"name": "small", "points": 40, "scoring": "all_or_nothing"},
            {"name": "large", "points": 60, "requires": ["small"]},
        ],
    ),
    case(
        "python-third",
        "python",
        "print(1 / 3)",
        Status.ACCEPTED,
        expected_output="0.333333",
        checker={"type": "floats", "absolute": 1e-6},
    ),
    case(
        "python-any-sum",
        "python",
        "print(40, 2)",
        Status.ACCEPTED,
        stdin="42",
        checker={"type": "program", "language": "python", "source_code": SUM_CHECKER, "protocol": "testlib"},
    ),
    case(
        "python-guesses",
        "python",
        GUESSES,
        Status.ACCEPTED,
        tests=[{"stdin": f"{secret}", "expected_output": "10"} for secret in (1, 500, 731)],
        interactor={"language": "python", "source_code": GUESSED_NUMBER, "protocol": "kattis"},
    ),
    case(
        "cpp-sort",
        "cpp",
        CPP_SORT,
        Status.ACCEPTED,
        compiler_options="-std=c++20 -O2",
        stdin="3 1 2",
        expected_output="1 2 3",
    ),
    case(
        "cpp-sort-again",
        "cpp",
        CPP_SORT,
        Status.ACCEPTED,
        compiler_options="-std=c++20 -O2",
        after="cpp-sort",
        stdin="42 7",
        expected_output="7 42",
    ),
    case("cpp-exception", "cpp", CPP_THROW, Status.RUNTIME_ERROR_SIGABRT),
    case("bash-sum", "bash", BASH_SUM, Status.ACCEPTED, stdin="40\n2\n", expected_output="42"),
    case("bash-sleep", "bash", "sleep 60", Status.TIME_LIMIT_EXCEEDED, wall_time_limit=1),
    case("bash-yes", "bash", "yes", Status.OUTPUT_LIMIT_EXCEEDED, max_output_size=64),
    case("javascript-sum", "js", JAVASCRIPT_SUM, Status.ACCEPTED, stdin="40 2", expected_output="42"),
    case(
        "java-fibonacci", "java", JAVA_FIBONACCI, Status.ACCEPTED, stdin="50", expected_output="12586269025"
    ),
    case(
        "perl-reverse", "perl", "print scalar reverse <>", Status.ACCEPTED, stdin="24", expected_output="42"
    ),
    case("ruby-sum", "ruby", "puts (1..6).sum * 2", Status.ACCEPTED, expected_output="42"),
    case("php-repeat", "php", '<?php echo str_repeat("42", 2);', Status.ACCEPTED, expected_output="4242"),
    case("lua-sum", "lua", "print(6 * 7)", Status.ACCEPTED, expected_output="42"),
    case("unknown-language", "klingon", "Qapla'", Status.INVALID_SUBMISSION),
    case("out-of-bounds", "python", "print(42)", Status.INVALID_SUBMISSION, cpu_time_limit=1_000_000),
    Case(
        "bash-cancelled",
        "bash",
        orjson.dumps({"language": "bash", "source_code": "sleep 60", "wall_time_limit": 70}),
        Status.CANCELLED,
        cancelled=True,
    ),
    case("python-too-late", "python", "print(42)", Status.EXPIRED, deadline="2026-01-01T00:00:00Z"),
    Case("not-json", "", b'{"language": "python", "source_code": ', Status.INVALID_SUBMISSION),
)
