"""Programs open their standard streams again by name, in every language, and nobody else can."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from judging.conftest import Judge
from support.waiting import wait_until
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

LIMITS: Mapping[str, object] = {"cpu_time_limit": 10, "wall_time_limit": 60, "memory_limit": 524_288}
INPUTS = ("", "one\nzwei drei\n\nñ\n" + "".join(f"line {number:099}\n" for number in range(2_000)))
"""Empty, and more than three pipes hold."""

INTERPRETERS = {
    "bash": "bash",
    "javascript": "node",
    "lua": "lua",
    "perl": "perl",
    "php": "php",
    "python": "python3",
    "ruby": "ruby",
}
NEXT = "next"
EACH = """#!/bin/bash
for way; do
    perl -e 'sysseek STDIN, 0, 0'
    echo {next}; echo {next} >&2
    {command} $way || echo "exited with $?" >&2
done
"""
"""Goes through several ways, each with the streams of the program itself, and the input from its start."""

C_WAYS = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
static void copy(FILE *file) {{
    static char bytes[65536];
    size_t count;
    if (!file) {{ perror("open"); exit(1); }}
    while ((count = fread(bytes, 1, sizeof bytes, file))) fwrite(bytes, 1, count, stdout);
}}
static void copy_memory(void) {{
    struct stat status;
    if (fstat(0, &status)) exit(1);
    if (!status.st_size) return;
    char *text = mmap(0, status.st_size, PROT_READ, MAP_SHARED, 0, 0);
    if (text == MAP_FAILED) exit(2);
    fwrite(text, 1, status.st_size, stdout);
}}
static void print(FILE *file) {{
    if (!file) exit(1);
    fputs("x\\n", file);
}}
int main(int count, char **words) {{
    switch (atoi(words[1])) {{ {ways} }}
}}
"""
CPP_WAYS = """
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
int main(int count, char **words) {{
    switch (atoi(words[1])) {{ {ways} }}
}}
"""
RUST_WAYS = """
use std::io::{{Read, Write}};
fn copy(mut opened: impl Read) {{
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes).unwrap();
    std::io::stdout().write_all(&bytes).unwrap();
}}
fn main() {{
    match std::env::args().nth(1).unwrap().parse::<usize>().unwrap() {{ {ways} _ => panic!() }}
}}
"""
JAVA_WAYS = """
import java.io.*;
import java.nio.file.*;
import java.util.*;
public class Main {{
    interface Way {{ void go(PrintStream out) throws Exception; }}
    static final Way[] WAYS = {{ {ways} }};
    public static void main(String[] arguments) throws Exception {{
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, "UTF-8");
        for (String word : arguments) {{
            new FileInputStream(FileDescriptor.in).getChannel().position(0);
            out.println("{next}");
            out.flush();
            System.err.println("{next}");
            WAYS[Integer.parseInt(word)].go(out);
            out.flush();
        }}
    }}
}}
"""
COMPILED = {
    "c": ("gcc -w -x c", C_WAYS, "case {number}: {{ {source} break; }}"),
    "cpp": ("g++ -x c++", CPP_WAYS, "case {number}: {{ {source} break; }}"),
    "rust": ("rustc", RUST_WAYS, "{number} => {{ {source}; }}"),
}
"""Compiler, program, and a way in it."""
READERS: Mapping[str, tuple[str, str]] = {
    "python open(0)": ("python", "print(open(0).read(), end='')"),
    "python /dev/stdin": ("python", "print(open('/dev/stdin').read(), end='')"),
    "python /dev/fd/0": ("python", "print(open('/dev/fd/0').read(), end='')"),
    "python /proc/self/fd/0": ("python", "print(open('/proc/self/fd/0').read(), end='')"),
    "python sys.stdin": ("python", "import sys\nfor line in sys.stdin: print(line, end='')"),
    "python input": (
        "python",
        "try:\n    while True: print(input())\nexcept EOFError: pass",
    ),
    "python one os.read": (
        "python",
        "import os, sys\nsys.stdout.buffer.write(os.read(0, os.fstat(0).st_size))",
    ),
    "python seek": ("python", "f = open(0); f.read(); f.seek(0); print(f.read(), end='')"),
    "python fileinput": ("python", "import fileinput\nfor line in fileinput.input(): print(line, end='')"),
    "python select": (
        "python",
        ("import select, sys\nwhile select.select([0], [], []) and (line := sys.stdin.readline()):"
        " print(line, end='')"),
    ),
    "python thread of asyncio": (
        "python",
        ("import asyncio, sys\nasync def main():\n"
        "    while text := await asyncio.to_thread(sys.stdin.read, 9999): print(text, end='')\n"
        "asyncio.run(main())"),
    ),
    "node /dev/stdin": ("javascript", "process.stdout.write(require('fs').readFileSync('/dev/stdin'))"),
    "node /proc/self/fd/0": ("javascript",
        "const fs = require('fs')\nprocess.stdout.write(fs.readFileSync('/proc/self/fd/0'))",
   ),
    "node 0": ("javascript", "process.stdout.write(require('fs').readFileSync(0, 'utf8'))"),
    "node stream of /dev/stdin": (
        "javascript",
        "require('fs').createReadStream('/dev/stdin').pipe(process.stdout)",
    ),
    "node pipe": ("javascript", "process.stdin.pipe(process.stdout)"),
    "node events": (
        "javascript",
        ("let text = ''\nprocess.stdin.on('data', data => text += data)\n"
        "process.stdin.on('end', () => process.stdout.write(text))\nprocess.stdin.setEncoding('utf8')"),
    ),
    "node readable": (
        "javascript",
        ("process.stdin.on('readable', () => { let data; while ((data = process.stdin.read()) !== null)"
        " process.stdout.write(data) })"),
    ),
    "node readline": (
        "javascript",
        ("const lines = []\nrequire('readline').createInterface({ input: process.stdin })"
        ".on('line', line => lines.push(line + '\\n'))"
        ".on('close', () => process.stdout.write(lines.join('')))"),
    ),
    "node for await": (
        "javascript",
        ("(async () => { const lines = []\nfor await (const line of require('readline')"
        ".createInterface({ input: process.stdin })) lines.push(line + '\\n')\n"
        "process.stdout.write(lines.join('')) })()"),
    ),
    "bash cat": ("bash", "cat /dev/stdin"),
    "bash cat -": ("bash", "cat -"),
    "bash /proc/self/fd/0": ("bash", "cat < /proc/self/fd/0"),
    "bash tac": ("bash", "tac /dev/stdin | tac"),
    "bash read": ("bash", 'while IFS= read -r line; do echo "$line"; done'),
    "bash read from /dev/stdin": ("bash", 'while IFS= read -r line; do echo "$line"; done < /dev/stdin'),
    "bash mapfile": ("bash", 'mapfile lines < /dev/stdin; printf %s "${lines[@]}"'),
    "bash awk": ("bash", "awk 1 /dev/stdin"),
    "bash sed": ("bash", "sed '' /dev/stdin"),
    "bash twice": ("bash", "wc -l < /dev/stdin > /dev/null; cat /dev/stdin"),
    "perl <>": ("perl", "print while <>"),
    "perl STDIN": ("perl", "print while <STDIN>"),
    "perl /dev/stdin": ("perl", "open(my $in, '<', '/dev/stdin') or die $!; print while <$in>"),
    "perl &STDIN": ("perl", "open(my $in, '<&', \\*STDIN) or die $!; local $/; print <$in> // ''"),
    "ruby STDIN": ("ruby", "print STDIN.read"),
    "ruby gets": ("ruby", "while line = gets; print line; end"),
    "ruby ARGF": ("ruby", "ARGF.each_line { |line| print line }"),
    "ruby $stdin": ("ruby", "$stdin.each_line { |line| print line }"),
    "ruby /dev/stdin": ("ruby", "print File.read('/dev/stdin')"),
    "ruby IO.read": ("ruby", "print IO.readlines('/dev/stdin').join"),
    "php php://stdin": ("php", "<?php echo file_get_contents('php://stdin');"),
    "php STDIN": ("php", "<?php while (($line = fgets(STDIN)) !== false) echo $line;"),
    "php file": ("php", "<?php echo implode('', file('php://stdin'));"),
    "php php://fd": ("php", "<?php $in = fopen('php://fd/0', 'r'); echo stream_get_contents($in);"),
    "lua io.read": ("lua", "io.write(io.read('a'))"),
    "lua io.lines": ("lua", "for line in io.lines() do print(line) end"),
    "lua /dev/stdin": ("lua", "io.write(assert(io.open('/dev/stdin')):read('a'))"),
    "java System.in": ("java", "out -> System.in.transferTo(out)"),
    "java FileReader": (
        "java",
        ('out -> { BufferedReader in = new BufferedReader(new FileReader("/dev/stdin"));'
        " for (String line; (line = in.readLine()) != null;) out.println(line); }"),
    ),
    "java Files": ("java", 'out -> out.write(Files.readAllBytes(Paths.get("/dev/stdin")))'),
    "java Scanner": (
        "java",
        ('out -> { Scanner in = new Scanner(System.in, "UTF-8");'
        " while (in.hasNextLine()) out.println(in.nextLine()); }"),
    ),
    "c stdin": ("c", "copy(stdin);"),
    "c fopen": ("c", 'copy(fopen("/dev/stdin", "r"));'),
    "c freopen": ("c", 'copy(freopen("/dev/stdin", "r", stdin));'),
    "c /proc/self/fd/0": ("c", 'copy(fopen("/proc/self/fd/0", "rb"));'),
    "c fseek": ("c", "fseek(stdin, 9, SEEK_CUR); rewind(stdin); copy(stdin);"),
    "c mmap": ("c", "copy_memory();"),
    "cpp ifstream": (
        "cpp",
        ('std::ifstream in("/dev/stdin"); if (!in) return 1;'
        " if (in.peek() != EOF) std::cout << in.rdbuf();"),
    ),
    "cpp cin": (
        "cpp",
        ("std::ios::sync_with_stdio(false);"
        " for (std::string line; std::getline(std::cin, line);) std::cout << line << '\\n';"),
    ),
    "rust stdin": ("rust", "copy(std::io::stdin())"),
    "rust /dev/stdin": ("rust", 'copy(std::fs::File::open("/dev/stdin").unwrap())'),
}  # fmt: skip


WRITERS: Mapping[str, tuple[str, str, str, str]] = {
    "python /dev/stdout": ("python", "open('/dev/stdout', 'w').write('x\\n')", "x\n", ""),
    "python append": ("python", "open('/dev/stdout', 'a').write('x\\n')", "x\n", ""),
    "python open(1)": ("python", "open(1, 'w').write('x\\n')", "x\n", ""),
    "python /dev/fd/1": ("python", "open('/dev/fd/1', 'w').write('x\\n')", "x\n", ""),
    "python /dev/stderr": ("python", "open('/dev/stderr', 'w').write('x\\n')", "", "x\n"),
    "python /proc/self/fd/2": ("python", "open('/proc/self/fd/2', 'w').write('x\\n')", "", "x\n"),
    "bash tee": ("bash", "echo x | tee /dev/stdout", "x\nx\n", ""),
    "bash tee /dev/stderr": ("bash", "echo x | tee /dev/stderr", "x\n", "x\n"),
    "bash > /dev/stdout": ("bash", "echo x > /dev/stdout", "x\n", ""),
    "bash > /dev/stderr": ("bash", "echo x > /dev/stderr", "", "x\n"),
    "bash >> /dev/stderr": ("bash", "/bin/echo x >> /dev/stderr", "", "x\n"),
    "bash > /dev/fd/2": ("bash", "sh -c 'echo x > /dev/fd/2'", "", "x\n"),
    "bash exec": ("bash", "exec 3<> /dev/stdout; echo x >&3", "x\n", ""),
    "bash dd": ("bash", "echo x | dd of=/dev/stdout status=none", "x\n", ""),
    "bash substitution": ("bash", "echo x > >(cat); wait", "x\n", ""),
    "awk > /dev/stderr": ("bash", "awk 'BEGIN { print \"x\" > \"/dev/stderr\" }'", "", "x\n"),
    "node /dev/stdout": ("javascript", "require('fs').writeFileSync('/dev/stdout', 'x\\n')", "x\n", ""),
    "node 1": ("javascript", "require('fs').writeFileSync(1, 'x\\n')", "x\n", ""),
    "node append": ("javascript", "require('fs').appendFileSync('/dev/stderr', 'x\\n')", "", "x\n"),
    "node stream": ("javascript", "require('fs').createWriteStream('/dev/stdout').end('x\\n')", "x\n", ""),
    "perl /dev/stdout": ("perl", "open(my $out, '>', '/dev/stdout') or die; print $out qq(x\\n)", "x\n", ""),
    "ruby /dev/stderr": ("ruby", "File.write('/dev/stderr', \"x\\n\")", "", "x\n"),
    "php php://stderr": ("php", "<?php file_put_contents('php://stderr', \"x\\n\");", "", "x\n"),
    "php STDERR": ("php", '<?php fwrite(STDERR, "x\\n");', "", "x\n"),
    "lua /dev/stdout": ("lua", "assert(io.open('/dev/stdout', 'w')):write('x\\n')", "x\n", ""),
    "lua io.output": ("lua", "io.output('/dev/stderr') io.write('x\\n')", "", "x\n"),
    "c print to fopen": ("c", 'print(fopen("/dev/stdout", "w"));', "x\n", ""),
    "c print to freopen": ("c", 'print(freopen("/dev/stdout", "w", stdout));', "x\n", ""),
    "c print to freopen of stderr": ("c", 'print(freopen("/dev/stdout", "w", stderr));', "x\n", ""),
    "c print to /dev/stderr": ("c", 'print(fopen("/dev/stderr", "a"));', "", "x\n"),
    "cpp ofstream": ("cpp", 'std::ofstream("/dev/stdout") << "x\\n";', "x\n", ""),
    "java FileWriter": ("java", 'out -> Files.writeString(Path.of("/dev/stderr"), "x\\n")', "", "x\n"),
    "rust /dev/stdout": ("rust", 'std::fs::write("/dev/stdout", "x\\n").unwrap()', "x\n", ""),
}  # fmt: skip


LANGUAGES = sorted({language for language, *_ in (*READERS.values(), *WRITERS.values())})


@pytest.mark.parametrize("language", LANGUAGES)
async def test_streams_are_opened_by_every_name(judge: Judge, host: Judgehost, language: str) -> None:
    """The input is read whole, whatever its size; what is written by name is in that stream of the result."""
    _require(host, language)
    readers = {name: source for name, (of, source) in READERS.items() if of == language}
    writers = {name: source for name, (of, source, *_) in WRITERS.items() if of == language}
    empty, much = ({name: (brief(text), "") for name in readers} for text in INPUTS)
    empty |= {name: WRITERS[name][2:] for name in writers}
    tests = [
        {"stdin": text, "command_line_arguments": [str(number) for number in range(len(expected))]}
        for text, expected in zip(INPUTS, (empty, much), strict=True)
    ]
    fields = submission(language, [*readers.values(), *writers.values()])
    result = await judge(**fields, tests=tests, return_output="all", **LIMITS)

    assert [Status.ACCEPTED] * 2 == [test.status for test in result.tests], result.compile_output
    for expected, test in zip((empty, much), result.tests, strict=True):
        streams = zip(parts(test.stdout), parts(test.stderr), strict=True)
        assert expected == dict(zip(expected, streams, strict=True))


def submission(language: str, sources: Sequence[str]) -> dict[str, Any]:
    """Return a program that goes through the ways whose numbers are its arguments."""
    if language == "java":
        return {"language": "java", "source_code": JAVA_WAYS.format(ways=", ".join(sources), next=NEXT)}
    if command := INTERPRETERS.get(language):
        each = EACH.format(next=NEXT, command=command)
        files = [{"name": str(number), "content": source} for number, source in enumerate(sources)]
        return {"language": "bash", "source_code": each, "additional_files": files}
    compiler, program, way = COMPILED[language]
    ways = " ".join(way.format(number=number, source=source) for number, source in enumerate(sources))
    files = [
        {"name": "way.txt", "content": program.format(ways=ways)},
        {"name": "main", "content": EACH.format(next=NEXT, command="./way")},
    ]
    return {"language": "made whole", "source_code": f"{compiler} -o way way.txt", "additional_files": files}


def parts(stream: str) -> list[str]:
    """Return the part of each way of a stream."""
    return [brief(part) for part in stream.split(f"{NEXT}\n")[1:]]


def brief(text: str) -> str:
    """Return a short text as it is, of a long one what tells it from others."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text if len(text) < 1_000 else f"{len(text)} characters {digest}"


async def test_redirected_stderr_keeps_the_order_of_writing(judge: Judge) -> None:
    """Both streams are one pipe, also for a program that opens them by name."""
    source = "for n in 1 2 3; do echo o$n > /dev/stdout; echo e$n > /dev/stderr; echo p$n; echo f$n >&2; done"
    result = await judge("bash", source, redirect_stderr_to_stdout=True)

    expected = "".join(f"o{n}\ne{n}\np{n}\nf{n}\n" for n in (1, 2, 3))
    assert (expected, "") == (result.stdout, result.stderr)


async def test_output_by_name_is_bounded(judge: Judge) -> None:
    """The limit on output holds for a stream that was opened again."""
    result = await judge("bash", "yes > /dev/stdout", max_output_size=64, **LIMITS)

    assert Status.OUTPUT_LIMIT_EXCEEDED == result.status
    assert 64 * 1024 == len(result.stdout)


CHANGES = """
import os
def open_and_write(): os.write(os.open("/dev/stdin", os.O_WRONLY), b"x")
def chmod_and_write(): os.chmod("/dev/stdin", 0o666); os.write(os.open("/dev/stdin", os.O_RDWR), b"x")
def write(): os.write(0, b"x")
def truncate(): os.truncate("/dev/stdin", 0)
def chmod_and_extend(): os.fchmod(0, 0o666); os.truncate("/dev/stdin", 99)
for change in open_and_write, chmod_and_write, write, truncate, chmod_and_extend:
    try:
        change()
        print(change.__name__)
    except OSError:
        pass
    print(open("/dev/stdin").read())
"""


async def test_standard_input_cannot_be_changed(judge: Judge) -> None:
    """The input is sealed: also for a program that could give itself the right to write."""
    result = await judge("python", CHANGES, stdin="input")

    assert "input\n" * 5 == result.stdout


async def test_second_opening_begins_at_the_start(judge: Judge) -> None:
    """The input is a regular file: each opening has a position of its own, a descriptor goes on."""
    source = "read -r first; echo $first; cat /dev/stdin; cat"
    result = await judge("bash", source, stdin="one\ntwo\n")

    assert "one\none\ntwo\ntwo\n" == result.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look with the eyes of another user")
async def test_streams_are_open_to_nobody_else(judge: Judge) -> None:
    """Another user of the host finds the program, but cannot open its streams by their names in /proc."""
    mark = f"verdictd-streams-{os.getpid()}"
    running = asyncio.ensure_future(
        judge("bash", f"exec -a {mark} sleep 60", stdin="secret", wall_time_limit=120)
    )
    try:
        await wait_until(lambda: _find(mark) is not None)
        process = _find(mark)
        attempts = [f"cat /proc/{process}/fd/0", *(f"echo x > /proc/{process}/fd/{fd}" for fd in (1, 2))]
        looker = await asyncio.create_subprocess_exec(
            shutil.which("setpriv") or "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "sh", "-c", "; ".join(f"{{ {attempt}; }} 2> /dev/null && echo opened" for attempt in attempts),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        seen, _ = await looker.communicate()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert b"" == seen


def _find(mark: str) -> str | None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().startswith(mark.encode() + b"\0"):
                    return entry.name
            except OSError:
                continue
    return None


def _require(host: Judgehost, language: str) -> None:
    declared = host.registry.get(language)
    assert declared is not None
    if declared.missing:
        pytest.skip(f"{' and '.join(declared.missing)} not installed")
