"""The embedded sandbox's system call filter, run by a small interpreter of the kernel's filter language."""

import errno
import struct

import pytest

from verdictd.sandbox.embedded.seccomp import program

X86_64 = ("x86_64", 0xC000003E)
AARCH64 = ("aarch64", 0xC00000B7)
I386 = 0x40000003

ALLOWED = 0x7FFF0000
KILLED = 0x80000000
NEW_USER = 0x10000000
THREAD = 0x3D0F00


def failed(error: int) -> int:
    return 0x00050000 | error


def verdict(machine: str, architecture: int, number: int, *arguments: int) -> int:
    """Return the answer of a machine's filter to one system call."""
    code = program(machine)
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("IIQ6Q", number, architecture, 0, *padded)
    accumulator = position = 0
    while True:
        operation, if_true, if_false, value = struct.unpack_from("HBBI", code, 8 * position)
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, value)
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x35:
                position += if_true if accumulator >= value else if_false
            case 0x45:
                position += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)


@pytest.mark.parametrize(
    ("machine", "number", "arguments", "expected"),
    [
        (X86_64, 0, (), ALLOWED),  # read
        (X86_64, 56, (THREAD,), ALLOWED),  # clone of a thread
        (X86_64, 56, (NEW_USER | 17,), failed(errno.EPERM)),
        (X86_64, 435, (), failed(errno.ENOSYS)),  # clone3
        (X86_64, 272, (NEW_USER,), failed(errno.EPERM)),  # unshare
        (X86_64, 272, (0x400,), ALLOWED),  # unshare of the table of files
        (X86_64, 41, (40,), failed(errno.EAFNOSUPPORT)),  # socket(AF_VSOCK)
        (X86_64, 41, (2,), ALLOWED),  # socket(AF_INET)
        (X86_64, 72, (3, 6), failed(errno.EPERM)),  # fcntl(F_SETLK)
        (X86_64, 72, (3, 1), ALLOWED),  # fcntl(F_GETFD)
        (X86_64, 72, (3, 1 << 32 | 6), failed(errno.EPERM)),  # the kernel reads 32 bits of it
        (X86_64, 72, (3, 1036), failed(errno.EPERM)),  # fcntl(F_SET_RW_HINT), kept in the file's inode
        (X86_64, 72, (3, 1099), failed(errno.EPERM)),  # a command that nobody knows yet
        (X86_64, 73, (), failed(errno.ENOSYS)),  # flock
        (X86_64, 253, (), failed(errno.ENOSYS)),  # inotify_init
        (X86_64, 294, (), failed(errno.ENOSYS)),  # inotify_init1
        (X86_64, 300, (), failed(errno.ENOSYS)),  # fanotify_init
        (X86_64, 41, (16,), ALLOWED),  # socket(AF_NETLINK), to list the interfaces
        (X86_64, 41, (42,), failed(errno.EAFNOSUPPORT)),  # socket(AF_QIPCRTR), which has no namespace
        (X86_64, 41, (1 << 32 | 38,), failed(errno.EAFNOSUPPORT)),  # socket(AF_ALG)
        (X86_64, 53, (1,), ALLOWED),  # socketpair(AF_UNIX)
        (X86_64, 16, (3, 0x5401), ALLOWED),  # ioctl(TCGETS)
        (X86_64, 16, (3, 0xC0506617), failed(errno.EPERM)),  # ioctl(FS_IOC_ADD_ENCRYPTION_KEY)
        (X86_64, 327, (3, 0, 0, 0, 0, 8), failed(errno.EOPNOTSUPP)),  # preadv2(RWF_NOWAIT)
        (X86_64, 327, (3, 0, 0, 0, 0, 0), ALLOWED),  # preadv2
        (X86_64, 103, (), failed(errno.EPERM)),  # syslog
        (X86_64, 451, (), failed(errno.ENOSYS)),  # cachestat
        (X86_64, 456, (), ALLOWED),  # futex_requeue
        (X86_64, 457, (), failed(errno.ENOSYS)),  # statmount
        (X86_64, 467, (), failed(errno.ENOSYS)),  # open_tree_attr
        (X86_64, 5000, (), failed(errno.ENOSYS)),  # a call that nobody knows yet
        (X86_64, 272, (0x80,), failed(errno.EPERM)),  # unshare of the time
        (X86_64, 250, (), failed(errno.ENOSYS)),  # keyctl
        (X86_64, 425, (), failed(errno.ENOSYS)),  # io_uring_setup
        (X86_64, 165, (), failed(errno.EPERM)),  # mount
        (X86_64, 321, (), failed(errno.EPERM)),  # bpf
        (X86_64, 101, (), ALLOWED),  # ptrace
        (X86_64, 0x40000000, (), KILLED),  # read of the x32 kind
        (AARCH64, 63, (), ALLOWED),  # read
        (AARCH64, 220, (NEW_USER | 17,), failed(errno.EPERM)),  # clone
        (AARCH64, 25, (3, 37), failed(errno.EPERM)),  # fcntl(F_OFD_SETLK)
        (AARCH64, 198, (40,), failed(errno.EAFNOSUPPORT)),  # socket(AF_VSOCK)
        (AARCH64, 40, (), failed(errno.EPERM)),  # mount
        (AARCH64, 26, (), failed(errno.ENOSYS)),  # inotify_init1
        (AARCH64, 467, (), failed(errno.ENOSYS)),  # open_tree_attr
        (AARCH64, 219, (), failed(errno.ENOSYS)),  # keyctl
    ],
)
def test_system_call_is_judged(
    machine: tuple[str, int], number: int, arguments: tuple[int, ...], expected: int
) -> None:
    """Calls that would cross from box to box or attack the kernel fail; ordinary calls do not."""
    assert expected == verdict(*machine, number, *arguments)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_32_bit_code_is_killed(machine: str) -> None:
    """The numbers of another architecture mean other calls, so its code does not run at all."""
    assert KILLED == verdict(machine, I386, 1)


def test_unknown_machine_has_no_filter() -> None:
    """On an architecture whose numbers we do not know, nothing is filtered wrongly."""
    assert b"" == program("riscv64")
