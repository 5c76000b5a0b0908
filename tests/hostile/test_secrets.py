"""Secrets: what one submission leaves is not seen by the next one in the same box, nor in another box."""

from collections.abc import AsyncIterator, Mapping

import pytest

from judging.conftest import Judge, judge_on
from support.boxes import boxes
from verdictd.contract.result import Status
from verdictd.judging.judgehost import open_judgehost
from verdictd.settings import SandboxSettings, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ADD_KEY, REQUEST_KEY = {"x86_64": (248, 249), "aarch64": (217, 218)}[os.uname().machine]
def key(keyring, name):
    libc.syscall(ADD_KEY, b"user", name, b"x", 1, ctypes.c_long(keyring))
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        pass
"""
LEAVE: Mapping[str, tuple[str, str]] = {
    "key in the keyring of the user": ("key(-4, b'left')", "print(open('/proc/keys').read())"),
    "key in the session keyring of the user": ("key(-5, b'left')", "print(open('/proc/keys').read())"),
    "key in the session keyring": ("key(-3, b'left')", "print(open('/proc/keys').read())"),
    "key that was asked for": (
        "libc.syscall(REQUEST_KEY, b'user', b'left', b'x', ctypes.c_long(-4))",
        "print(open('/proc/keys').read())",
    ),
    "file in /box": ("open('left', 'w')", "print(os.listdir('.'))"),
    "file in /tmp": ("open('/tmp/left', 'w')", "print(os.listdir('/tmp'))"),
    "file in /dev/shm": ("open('/dev/shm/left', 'w')", "print(os.listdir('/dev/shm'))"),
    "shared memory of System V": (
        "libc.shmget(0x6c656674, 4096, 0o1666)",
        "print('left' if libc.shmget(0x6c656674, 1, 0) >= 0 else '')",
    ),
    "semaphore of System V": (
        "libc.semget(0x6c656674, 1, 0o1666)",
        "print('left' if libc.semget(0x6c656674, 1, 0) >= 0 else '')",
    ),
    "message queue of POSIX": (
        "libc.mq_open(b'/left', 0o102, 0o666, None)",
        "print('left' if libc.mq_open(b'/left', 0) >= 0 else '')",
    ),
    "extended attribute": (
        "attempt(os.setxattr, '/usr/bin/env', 'user.left', b'x')",
        "print(os.listxattr('/usr/bin/env'))",
    ),
    "write hint of a shared file": (
        "import fcntl, struct; attempt(fcntl.fcntl, os.open('/usr/bin/env', 0), 1036, struct.pack('Q', 5))",
        (
            "import fcntl, struct\nfound = []\n"
            "attempt(lambda: found.append(fcntl.fcntl(os.open('/usr/bin/env', 0), 1035, bytes(8))))\n"
            "print('left' if struct.pack('Q', 5) in found else '')"
        ),
    ),
    "process in the background": (
        (
            "os.fork() or (os.setsid(), [os.close(fd) for fd in range(3)],"
            " os.execv('/bin/sh', ['left', '-c', 'sleep 60; exit']))"
        ),
        "print([open(f'/proc/{n}/cmdline').read() for n in os.listdir('/proc') if n.isdigit()])",
    ),
}


@pytest.fixture(scope="module")
async def judge(isolate: str) -> AsyncIterator[Judge]:
    """A judgehost with one box."""
    with boxes(1) as numbers:
        settings = Settings(sandbox=SandboxSettings(isolate=isolate, boxes=1, first_box=numbers.start))
        async with open_judgehost(settings) as host:
            yield judge_on(host, settings)


async def test_next_submission_sees_nothing_that_was_left(judge: Judge) -> None:
    """The first program leaves all these things, the second looks for them in the same box."""
    first = await judge("python", "\n".join([CALLS, *(leave for leave, _ in LEAVE.values())]))
    looks = [f"print('\\n== {name}')\n{look}" for name, (_, look) in LEAVE.items()]
    second = await judge("python", "\n".join([CALLS, *looks]))
    seen = dict(part.split("\n", 1) for part in second.stdout.split("\n== ")[1:])

    assert [Status.ACCEPTED] * 2 == [first.status, second.status], (first.stderr, second.stderr)
    assert LEAVE.keys() == seen.keys()
    assert [] == [name for name, text in seen.items() if "left" in text]


async def test_key_is_gone_after_a_restart(isolate: str) -> None:
    """A key of a program whose daemon ended at once is cleared by the next daemon, in the same box."""
    looked = ""
    with boxes(1) as numbers:
        settings = Settings(sandbox=SandboxSettings(isolate=isolate, boxes=1, first_box=numbers.start))
        for program in ("key(-4, b'left')", "print(open('/proc/keys').read())"):
            async with open_judgehost(settings) as host:
                looked = (await judge_on(host, settings)("python", CALLS + program)).stdout

    assert "left" not in looked


async def test_dev_has_no_device_of_the_host(judge: Judge) -> None:
    """Only harmless devices, under the names that programs know."""
    result = await judge(
        "bash", "ls -A /dev; echo x > /dev/null; head -c1 /dev/urandom | wc -c; ls -A /dev/shm"
    )

    usual = "fd full null random shm stderr stdin stdout urandom zero 1"
    assert (usual.split(), "") == (result.stdout.split(), result.stderr)
