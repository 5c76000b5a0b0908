"""A box as programs expect it: names, users, time, the network, their own name, their stack, their text."""

import base64
import os
from collections.abc import Mapping

import pytest

from judging.conftest import Judge
from verdictd.contract.result import Status
from verdictd.judging.judgehost import Judgehost
from verdictd.sandbox.etc import HOME

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

LIMITS: Mapping[str, object] = {"cpu_time_limit": 10, "wall_time_limit": 60, "memory_limit": 524_288}

JAVA = """
import java.net.InetAddress;
public class Main {
    public static void main(String[] arguments) throws Exception {
        System.out.println(InetAddress.getByName("localhost").isLoopbackAddress());
        System.out.println(InetAddress.getLocalHost() != null);
        System.out.println(System.getProperty("user.name") + " at " + System.getProperty("user.home"));
    }
}
"""
CONTENTS: Mapping[str, tuple[str, str, str]] = {
    "localhost": ("python", "import socket; print(socket.gethostbyname('localhost'))", "127.0.0.1"),
    "own host name": (
        "python",
        "import socket; print(socket.gethostbyname(socket.gethostname()))",
        "127.0.0.1",
    ),
    "server on localhost": (
        "python",
        ("import socket\nserver = socket.create_server(('localhost', 0))\n"
        "client = socket.create_connection(('localhost', server.getsockname()[1])); print('connected')"),
        "connected",
    ),
    "localhost of node": (
        "javascript",
        "require('dns').lookup('localhost', 4, (error, address) => console.log(error || address))",
        "127.0.0.1",
    ),
    "localhost, user and home of java": ("java", JAVA, f"true\ntrue\nbox at {HOME}"),
    "service": ("python", "import socket; print(socket.getservbyname('https', 'tcp'))", "443"),
    "protocol": ("perl", "print scalar getprotobyname('tcp')", "6"),
    "user by number": ("python", "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)", "box"),
    "user by name": ("python", "import os, pwd; print(pwd.getpwnam('box').pw_uid == os.getuid())", "True"),
    "user of getpass": ("python", "import getpass; print(getpass.getuser())", "box"),
    "group": ("python", "import os, grp; print(grp.getgrgid(os.getgid()).gr_name)", "box"),
    "user of node": ("javascript", "console.log(require('os').userInfo().username)", "box"),
    "user of ruby": ("ruby", "require 'etc'; puts Etc.getpwuid.name", "box"),
    "user of perl": ("perl", "print scalar getpwuid($<)", "box"),
    "whoami": ("bash", "whoami", "box"),
    "home": ("bash", 'cd && touch here && [ "$HOME" = ~box ] && [ "$PWD" = "$HOME" ] && echo fine', "fine"),
    "home without the variable": ("bash", "unset HOME; echo ~", HOME),
    "working directory": ("bash", "pwd; touch here && echo fine", "/box\nfine"),
    "time zone": ("bash", "date +%Z", "UTC"),
    "time zone of node": ("javascript", "console.log(new Date(0).getHours())", "0"),
    "other time zone": ("python", "import zoneinfo; print(zoneinfo.ZoneInfo('Asia/Tokyo'))", "Asia/Tokyo"),
    "unknown name": (
        "python",
        "import socket\ntry: socket.gethostbyname('a.test')\nexcept socket.gaierror as e: print(e.errno)",
        "-2",
    ),
    "name of bash": ("bash", 'echo "$0"; . "$0.inc"', "./main.sh\nincluded"),
    "name of perl": ("perl", "print $0", "./main.pl"),
    "name of ruby": ("ruby", "puts $0, __FILE__ == $PROGRAM_NAME", "./main.rb\ntrue"),
    "name of lua": ("lua", "print(arg[0])", "./main.lua"),
    "name of python": ("python", "import sys; print(__file__, sys.argv[0])", "/box/main.py main.py"),
    "name of node": ("javascript", "console.log(__filename)", "/box/main.js"),
    "name of php": ("php", "<?php echo __FILE__, ' ', $argv[0];", "/box/main.php main.php"),
    "name of c": ("c", "#include <stdio.h>\nint main(int c, char **v) { puts(v[0]); }", "./main"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTENTS)
async def test_box_has_what_programs_look_for(judge: Judge, case: str) -> None:
    """A program finds names, its user, its home, the time and itself."""
    language, source, expected = CONTENTS[case]
    files = [{"name": "main.sh.inc", "content": "echo included"}]
    result = await judge(language, source, additional_files=files, expected_output=expected, **LIMITS)

    assert (Status.ACCEPTED, "") == (result.status, result.stderr), result.stdout


async def test_etc_has_nothing_of_the_hosts(judge: Judge) -> None:
    """Only files of ours, and the folders that languages name, are below /etc; nobody can write there."""
    script = (
        "ls /etc; cat /etc/passwd /etc/hosts; touch /etc/x /etc/passwd /etc/alternatives/x; rm -rf /etc/hosts"
    )
    result = await judge("bash", script)

    listed = set(result.stdout.split("root:")[0].split())
    assert {
        "alternatives", "group", "hosts", "localtime", "nsswitch.conf", "os-release", "passwd", "protocols",
        "resolv.conf", "services", "timezone",
    } == listed  # fmt: skip
    assert 4 == result.stderr.count("cannot")
    assert "127.0.0.1 localhost" in result.stdout


async def test_etc_does_not_tell_what_ran_before(judge: Judge) -> None:
    """The folders of one language are not there for the next, nor is what comes with the network."""
    for language, source, fields in (
        ("php", "<?php", {}),
        ("networked", "", {"enable_network": True}),
    ):
        assert Status.ACCEPTED == (await judge(language, source, **fields, **LIMITS)).status
    results = [await judge("bash", "ls -d /etc/*/") for _ in range(3)]

    assert ["/etc/alternatives/\n"] * 3 == [result.stdout for result in results]


async def test_boxes_know_only_their_own_user(judge: Judge) -> None:
    """Each box names its own user id, and the three users that every system has."""
    result = await judge("bash", "grep -c . /etc/passwd; grep $(id -u) /etc/passwd | cut -d: -f1,6")

    assert "3\nbox:/tmp\n" == result.stdout


CANNOT_WORK: Mapping[str, tuple[str, str]] = {
    "flock": ("python", "import fcntl; fcntl.flock(open('file', 'w'), fcntl.LOCK_EX)"),
    "lockf": ("python", "import fcntl; fcntl.lockf(open('file', 'w'), fcntl.LOCK_EX)"),
    "SQLite on a file": (
        "python",
        "import sqlite3; sqlite3.connect('file.db').execute('create table t (n)')",
    ),
    "LOCK_EX of PHP": ("php", "<?php exit(file_put_contents('file', 'x', LOCK_EX) === false ? 1 : 0);"),
    "network": ("bash", "echo > /dev/tcp/192.0.2.1/80"),
    "writing to /usr": ("bash", "touch /usr/x"),
    "writing to /": ("bash", "touch /x"),
    "terminal": ("bash", "echo > /dev/tty"),
    "terminals of streams": ("bash", "[ -t 0 ] || [ -t 1 ] || [ -t 2 ]"),
}


@pytest.mark.parametrize("case", CANNOT_WORK)
async def test_documented_limits_of_a_box_are_met(judge: Judge, case: str) -> None:
    """The contract says that these do not work."""
    language, source = CANNOT_WORK[case]
    result = await judge(language, source)

    assert Status.RUNTIME_ERROR_NZEC == result.status


async def test_sqlite_works_in_memory(judge: Judge) -> None:
    """A database that is not a file needs no lock."""
    source = "import sqlite3; print(*sqlite3.connect(':memory:').execute('select 42').fetchone())"
    result = await judge("python", source)

    assert (Status.ACCEPTED, "42\n") == (result.status, result.stdout)


DEEP: Mapping[str, str] = {
    "ruby": "def f(n) n == 0 ? 0 : 1 + f(n - 1) end\nputs f(100_000)",
    "perl": "no warnings; sub f { my $n = shift; return $n ? 1 + f($n - 1) : 0 } print f(100_000), qq(\\n);",
    "php": "<?php function f($n) { return $n ? 1 + f($n - 1) : 0; } echo f(100_000), PHP_EOL;",
    "lua": "local function f(n) return n == 0 and 0 or 1 + f(n - 1) end print(f(100000))",
    "javascript": "const f = n => n ? 1 + f(n - 1) : 0; console.log(f(100_000))",
    "java": "public class Main { static int f(int n) { return n == 0 ? 0 : 1 + f(n - 1); }"
    " public static void main(String[] a) { System.out.println(f(100_000)); } }",
    "c": "#include <stdio.h>\nint f(int n) { volatile int m = n; return m ? 1 + f(m - 1) : 0; }\n"
    'int main(void) { printf("%d\\n", f(100000)); }',
    "python": "import sys\nsys.setrecursionlimit(10**6)\nf = lambda n: n and 1 + f(n - 1)\nprint(f(100_000))",
}


@pytest.mark.parametrize("language", DEEP)
async def test_recursion_may_use_the_stack_limit(judge: Judge, language: str) -> None:
    """A hundred thousand calls fit into the default stack of 64 MiB, in every runtime."""
    result = await judge(language, DEEP[language], expected_output="100000")

    assert (Status.ACCEPTED, "") == (result.status, result.stderr)


async def test_ruby_threads_fit_beside_each_other(judge: Judge) -> None:
    """Each thread reserves a stack of its own, and uses what it needs of it."""
    source = "threads = (1..50).map { |n| Thread.new { sleep; n } }\nputs threads.size"
    result = await judge("ruby", source, expected_output="50")

    assert (Status.ACCEPTED, "") == (result.status, result.stderr)


async def test_ruby_stack_ends_at_a_small_limit(judge: Judge) -> None:
    """The stack limit of the submission bounds the recursion."""
    source = "def f(n) n == 0 ? 0 : 1 + f(n - 1) end\nputs f(100_000)"
    result = await judge("ruby", source, stack_limit=4_096)

    assert Status.RUNTIME_ERROR_NZEC == result.status
    assert "SystemStackError" in result.stderr


BOM = "\ufeff"
WINDOWS: Mapping[str, tuple[str, str]] = {
    "bash": ("bash", 'if true\nthen\n  x=4\n  echo "${x}2"\nfi\n. ./more.sh\n'),
    "python": ("python", "if True:\n    print('''42\n43''')\n"),
    "javascript": ("javascript", "#!/usr/bin/env node\nconsole.log(`42\n43`)\n"),
    "java": (
        "java",
        (
            "public class Main {\n  public static void main(String[] a) {\n"
            '    System.out.print("""\n42\n43\n""");\n  }\n}\n'
        ),
    ),
    "php": ("php", "<?php\necho <<<E\n42\n43\nE;\n"),
    "php after a shebang": ("php", "#!/usr/bin/php\n<?php\ndeclare(strict_types=1);\necho '42\n43';\n"),
    "perl": ("perl", "#!/usr/bin/perl -w\nprint <<E;\n42\n43\nE\n"),
    "ruby": ("ruby", "#!/usr/bin/env ruby\nputs <<E\n42\n43\nE\n"),
    "lua": ("lua", "#!/usr/bin/lua\nprint([[42\n43]])\n"),
    "c": ("c", '#include <stdio.h>\n#define TEXT "42" \\\n  "\\n43"\nint main(void) { puts(TEXT); }\n'),
    "cpp": ("cpp", '#include <cstdio>\n// comment \\\nint x;\nint main() { std::puts("42\\n43"); }\n'),
}


@pytest.mark.parametrize(
    ("case", "mark"), [*((case, BOM) for case in WINDOWS), ("bash", ""), ("python", ""), ("c", "")]
)
async def test_source_from_windows_is_judged_as_one_from_unix(judge: Judge, case: str, mark: str) -> None:
    """CR LF and a byte order mark change nothing, in the source and in files beside it that are sources."""
    language, source = WINDOWS[case]
    more = [{"name": "more.sh", "content": f"{mark}echo 43\r\n"}]
    result = await judge(
        language,
        mark + source.replace("\n", "\r\n"),
        additional_files=more,
        expected_output="42\n43",
        **LIMITS,
    )

    assert (Status.ACCEPTED, "", "") == (result.status, result.stderr, result.compile_output)


async def test_files_that_are_no_sources_stay_as_they_are(judge: Judge) -> None:
    """Data with CR LF reaches the program byte for byte."""
    content = b"\xef\xbb\xbfa\r\nb\r\n"
    files = [{"name": "data.txt", "content": base64.b64encode(content).decode(), "encoding": "base64"}]
    result = await judge(
        "bash", "cat data.txt | base64; base64", additional_files=files, stdin=content.decode()
    )

    assert [content] * 2 == [base64.b64decode(line) for line in result.stdout.split()]


async def test_program_can_use_names_while_the_host_has_a_strict_umask(judge: Judge, host: Judgehost) -> None:
    """The files below /etc are readable in a box, whatever the umask of the service."""
    before = os.umask(0o077)
    try:
        async with host.pool.lease() as box:
            box.etc._written = None  # noqa: SLF001 - to have them written now
        results = [
            await judge("bash", "whoami; getent hosts localhost > /dev/null && echo fine") for _ in (1, 2)
        ]
    finally:
        os.umask(before)

    assert ["box\nfine\n"] * 2 == [result.stdout for result in results]
