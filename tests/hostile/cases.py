"""Submissions that mean harm, in groups, each with what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from verdictd.contract.result import Status

CANARY_WORDS: Final = "the canary's secret"
"""What files of the host have in them that no result may show."""

FINE: Final = frozenset({Status.ACCEPTED})
TIME: Final = frozenset({Status.TIME_LIMIT_EXCEEDED})
MEMORY: Final = frozenset({Status.MEMORY_LIMIT_EXCEEDED})
FILES: Final = frozenset({Status.OUTPUT_LIMIT_EXCEEDED})
COMPILE: Final = frozenset({Status.COMPILATION_ERROR})
INVALID: Final = frozenset({Status.INVALID_SUBMISSION})
CRASH: Final = frozenset(
    {Status.RUNTIME_ERROR_NZEC, Status.RUNTIME_ERROR_OTHER, Status.RUNTIME_ERROR_SIGSEGV}
)
ANY_VERDICT: Final = frozenset(Status) - {Status.INTERNAL_ERROR, Status.INVALID_SUBMISSION}
SHORT: Final = {"wall_time_limit": 1, "cpu_time_limit": 0.2, "cpu_extra_time": 0}

Check = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Case:
    """A submission and its verdicts; `{canary}` in its source is a file of the host."""

    group: str
    name: str
    language: str
    source: str
    verdicts: frozenset[Status]
    fields: dict[str, Any] = field(default_factory=dict)
    check: Check = lambda _: True


def says(text: str) -> Check:
    """Check that standard output is this text."""
    return lambda result: result["stdout"] == text


def cut_at(size: int) -> Check:
    """Check that standard output was cut."""
    return lambda result: len(result["stdout"]) <= size and bool(result["stdout_truncated"])


def files(**contents: str) -> dict[str, Any]:
    """Return additional files by name."""
    return {"additional_files": [{"name": name, "content": content} for name, content in contents.items()]}


C_MAIN = "int main(void) { return 0; }"
NESTED: Final = "import os\nos.chdir('{}')\nfor n in range({levels}): os.mkdir('d'); os.chdir('d')\n"
SYSCALLS = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"

FILES_AND_LINKS = [
    Case("files", "artifact is a link to a canary", "made", "ln -s {canary} main", COMPILE),
    Case("files", "artifact is a link to an environment", "made", "ln -s /proc/self/environ main", COMPILE),
    Case("files", "artifact is a pipe", "made", "mkfifo main", COMPILE),
    Case("files", "artifact is a folder", "made", "mkdir main", COMPILE),
    Case("files", "artifact has two names", "made", "echo x > other; ln other main", COMPILE),
    Case("files", "artifact is 10 GiB of nothing", "made", "truncate -s 10G main", COMPILE),
    Case("files", "source becomes a link", "made", "rm make.sh; ln -s {canary} make.sh; cat make.sh; false", COMPILE),
    Case("files", "standard output is read by name", "bash", "cat /proc/self/fd/1 < /dev/null; true", ANY_VERDICT, SHORT),
    Case("files", "canary is read", "bash", "cat {canary}; true", FINE, check=says("")),
    Case("files", "canary is written", "bash", "echo gone > {canary}; true", FINE),
    Case("files", "modes of zero", "bash", "mkdir d; touch d/f; chmod 0 d/f d .; true", ANY_VERDICT),
    Case("files", "1,500 folders in each other", "python", NESTED.format("/box", levels=1_500), FINE),
    Case(
        "files", "10,500 files: empty ones, and folders in each other in two places", "python",
        "for n in range(3500): open(f'/box/{n}', 'w').close()\n"
        + NESTED.format("/box", levels=3_500) + NESTED.format("/tmp", levels=3_500),  # noqa: S108 - in a box
        FILES, {"cpu_time_limit": 10},
    ),
    Case("files", "set-uid files", "bash", "cp /bin/true s; chmod 6777 s; ./s", FINE),
    Case("files", "names that are not text", "python", "open(b'\\xff\\n', 'w')", FINE),
    Case("files", "something left behind", "bash", "touch /tmp/left /box/left; touch /dev/shm/left; true", FINE),
    Case("files", "nothing left behind", "bash", "ls /tmp/left /box/left /dev/shm/left 2>/dev/null; true", FINE, check=says("")),
]  # fmt: skip

PROCESSES = [
    Case("processes", "fork bomb in C", "c", "#include <unistd.h>\nint main(void) { for (;;) fork(); }", TIME, SHORT),
    Case("processes", "fork bomb in a shell", "bash", ":() { : | : & }; :; sleep 9", ANY_VERDICT, SHORT),
    Case(
        "processes", "threads without end", "python",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()", ANY_VERDICT, SHORT,
    ),
    Case("processes", "a child that goes on", "bash", "setsid sleep 98761 >/dev/null 2>&1 </dev/null & true", FINE),
    Case("processes", "kill everybody", "bash", "kill -9 -1; sleep 0.1", ANY_VERDICT, SHORT),
    Case("processes", "kill the first process", "bash", "kill -9 1; sleep 0.1", ANY_VERDICT, SHORT),
    Case("processes", "kill the parent", "bash", "kill -9 $PPID; sleep 0.1", ANY_VERDICT, SHORT),
    Case("processes", "stops itself", "bash", "kill -STOP $$", TIME, {"wall_time_limit": 0.5}),
    Case(
        "processes", "ignores all signals", "python",
        "import signal\nfor n in {*range(1, 32)} - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        TIME, {"cpu_time_limit": 0.1, "cpu_extra_time": 0},
    ),
    Case(
        "processes", "a name that is not one", "python", SYSCALLS + "libc.prctl(15, b'a) 1 2', 0, 0, 0)\nprint('there')",
        FINE | {Status.RUNTIME_ERROR_OTHER},
    ),
    Case("processes", "16 busy children", "bash", "for i in $(seq 16); do while :; do :; done & done; wait", TIME, SHORT),
    Case(
        "processes", "children that nobody waits for", "bash",
        "for i in 1 2 3; do (setsid bash -c 'while :; do :; done' &) ; done; sleep 8", TIME,
        {"cpu_time_limit": 0.1, "cpu_extra_time": 0, "wall_time_limit": 10},
    ),
]  # fmt: skip

MEMORY_CASES = [
    Case(
        "memory", "100 GB that nobody touches", "c",
        "#include <stdlib.h>\nint main(void) { return malloc(100L << 30) == (void *) 1; }", ANY_VERDICT,
    ),
    Case(
        "memory", "all memory touched", "c",
        "#include <stdlib.h>\n#include <string.h>\nint main(void) { for (;;) memset(malloc(1 << 24), 1, 1 << 24); }", MEMORY,
        {"memory_limit": 65536},
    ),
    Case("memory", "endless recursion", "c", "int f(int n) { int a[99]; a[n % 99] = n; return f(n + 1) + a[n % 7]; }\nint main(void) { return f(0); }", ANY_VERDICT),
    Case("memory", "files in /dev/shm", "bash", "for i in $(seq 20); do head -c 15M /dev/zero > /dev/shm/$i; done; sleep 9", MEMORY | FILES, {"memory_limit": 65536}),
    Case(
        "memory", "memory in a file without a name", "python",
        "import os\nfor n in range(40): os.write(os.memfd_create('m'), bytes(15 << 20))\nprint('there')", MEMORY,
        {"memory_limit": 65536},
    ),
    Case(
        "memory", "children together", "bash",
        "for i in 1 2 3 4; do python3 -c 'import time; x = bytearray(50 << 20); time.sleep(3)' & done; wait", MEMORY,
        {"memory_limit": 131072},
    ),
]  # fmt: skip

OUTPUT = [
    Case("output", "without end", "bash", "yes", FILES, check=cut_at(4 << 20)),
    Case("output", "one line of 64 MiB", "bash", "head -c 64M /dev/zero | tr '\\0' x", FILES, check=cut_at(4 << 20)),
    Case("output", "bytes that are not text", "bash", "printf '\\xff\\0\\x1b[2J'", FINE),
    Case("output", "a file without end", "bash", "yes > file", FILES | CRASH | TIME),
    Case("output", "closed", "bash", "exec >&-; true", FINE, check=says("")),
    Case("output", "full errors beside an output", "bash", "head -c 1M /dev/zero >&2; echo out", FINE, check=says("out\n")),
    Case("output", "input that nobody reads", "bash", "true", FINE, {"stdin": "x" * (1 << 20)}),
]  # fmt: skip

COMPILING = [
    Case("compiling", "a macro bomb", "c", "#define A(x) x x x x x x x x x x\nA(A(A(A(A(A(A(A(A(A(int a;))))))))))\n" + C_MAIN, COMPILE),
    Case("compiling", "a template bomb", "cpp", "template<int n> struct A { A<n + 1> a; };\nA<0> a;\n" + C_MAIN, COMPILE),
    Case("compiling", "a large array", "c", "int a[1 << 30] = {1};\n" + C_MAIN, COMPILE),
    Case("compiling", "a device without end", "c", '#include "/dev/zero"\n' + C_MAIN, COMPILE),
    Case("compiling", "a terminal", "c", '#include "/dev/tty"\n' + C_MAIN, COMPILE),
    Case("compiling", "a canary included", "c", '#include "{canary}"\n' + C_MAIN, COMPILE),
    Case("compiling", "a canary assembled", "c", '__asm__(".incbin \\"{canary}\\"");\n' + C_MAIN, COMPILE),
    Case("compiling", "passwords", "c", '#include "/etc/shadow"\n' + C_MAIN, COMPILE),
    Case("compiling", "20 MB of messages", "made", "yes | head -c 20M; false", COMPILE),
    Case(
        "compiling", "an annotation processor", "java", "public class Main { public static void main(String[] a) { System.out.print(1); } }",
        FINE | COMPILE,
        files(**{"META-INF/services/javax.annotation.processing.Processor": "P", "P.java": "class P { static { System.exit(3); } }"}),
    ),
]  # fmt: skip

OPTIONS = [
    Case("options", f"compiler option {option}", "c", C_MAIN, INVALID, {"compiler_options": option})
    for option in (
        "-fplugin=x.so", "-specs=x", "@file", "-o ../x", "-B.", "-wrapper sh,-c", "-Wl,-T,x", "-include /etc/shadow", "-I/",
    )
] + [
    Case(
        "options", "arguments are no shell", "bash", 'printf "%s|" "$@"', FINE,
        {"command_line_arguments": "'; ls' '$(id)' '*' -- '`id`'"}, says("; ls|$(id)|*|--|`id`|"),
    ),
    Case("options", "a file above the box", "bash", "true", INVALID, files(**{"../x": "x"})),
    Case("options", "an absolute file", "bash", "true", INVALID, files(**{"/x": "x"})),
    Case("options", "a file in place of the source", "bash", "true", INVALID, files(**{"main.sh": "x"})),
    Case("options", "a name with NUL", "bash", "true", INVALID, files(**{"a\0b": "x"})),
    Case("options", "a name too long", "bash", "true", INVALID, files(**{"x" * 300: "x"})),
    Case("options", "a language that is not there", "nothing", "true", INVALID),
]  # fmt: skip

SECRETS = [
    Case("secrets", "the daemon's environment", "bash", "cat /proc/*/environ | tr '\\0' ' '", ANY_VERDICT, check=lambda r: "VERDICTD" not in r["stdout"]),
    Case("secrets", "memory of others", "bash", "cat /proc/1/mem /proc/1/maps /dev/mem /proc/kcore 2>/dev/null | head -c 100; true", ANY_VERDICT, check=says("")),
    Case("secrets", "the network", "python", "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)", CRASH),
    Case("secrets", "a namespace of its own", "python", SYSCALLS + "print(libc.unshare(0x10000000))", ANY_VERDICT, check=lambda r: r["stdout"] != "0\n"),
    Case("secrets", "a mount", "python", SYSCALLS + "print(libc.mount(b'/', b'/tmp', None, 4096, None))", ANY_VERDICT, check=lambda r: r["stdout"] != "0\n"),
    Case("secrets", "a tracer", "python", SYSCALLS + "print(libc.ptrace(16, 1, 0, 0))", ANY_VERDICT, check=lambda r: r["stdout"] != "0\n"),
]  # fmt: skip

TALKS: Final = {
    "interactor": {
        "language": "bash", "protocol": "kattis",
        "source_code": 'read -r said; echo here; while read -r said; do :; done; [ "$said" = secret ] && exit 42; exit 43',
    },
    "expected_output": "secret",
}  # fmt: skip
WRONG: Final = frozenset({Status.WRONG_ANSWER})

TALKING = [
    Case(
        "talking", "streams opened again and again", "python",
        "import os\nwhile True:\n    for name, mode in ('/dev/stdin', 0), ('/dev/stdout', 1): os.close(os.open(name, mode))",
        TIME, TALKS | {"cpu_time_limit": 0.1, "cpu_extra_time": 0},
    ),
    Case("talking", "pipes removed", "bash", "rm -rf /pipes; echo 1; read -r said", WRONG, TALKS),
    Case("talking", "pipes filled the wrong way", "bash", "yes > /pipes/in & cat /pipes/out >&2; wait", TIME | FILES | MEMORY, TALKS | SHORT),
    Case("talking", "the other box", "bash", "cat /box/data/* /proc/[0-9]*/root/box/data/* >&2; true", WRONG, TALKS, lambda r: "secret" not in r["stderr"]),
    Case("talking", "streams that do not wait", "python", "import os, time\nfor n in 0, 1: os.set_blocking(n, False)\nprint(1, flush=True); time.sleep(0.2)", WRONG, TALKS),
]  # fmt: skip

CASES: Final = [
    *FILES_AND_LINKS,
    *PROCESSES,
    *MEMORY_CASES,
    *OUTPUT,
    *COMPILING,
    *OPTIONS,
    *SECRETS,
    *TALKING,
]
