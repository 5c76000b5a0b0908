"""System call filter: refuses what namespaces do not separate, and what only attacks on the kernel need.

The kernel keeps keys, file locks, watches of files and sockets of some families for all boxes together: they
would carry data from box to box, or to the next submission. io_uring would bypass the filter. A call that
isolate refuses gets the same error here, so that a program behaves alike in both.

Every call up to the newest that is known here has been considered. Newer ones do not exist for programs, as
on an older kernel. Only the socket families and fcntl commands that are listed pass.
"""

import ctypes
import errno
import os
import struct

from verdictd.sandbox.embedded import kernel

_LOAD = 0x20
_EQUAL = 0x15
_AT_LEAST = 0x35
_ANY_BIT = 0x45
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_FAIL = 0x00050000

_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENT = 16
_X32 = 0x40000000

_NEWEST = 456  # futex_requeue, Linux 6.7; from 424 on, numbers are the same on every architecture

_NEW_NAMESPACES = 0x7E020000
_NEW_TIME_NAMESPACE = 0x80  # for clone, these bits are the signal
_FAMILIES = (
    1,
    2,
    10,
    16,
)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: each has its own in every network namespace
_COMMANDS = (
    *(0, 1, 2, 3, 4, 1027, 1028, 1030),  # descriptors and their flags: F_DUPFD to F_DUPFD_CLOEXEC
    *(8, 9, 10, 11, 15, 16, 17),  # signals on input: F_SETOWN to F_GETOWNER_UIDS
    *(5, 36, 1025),  # F_GETLK, F_OFD_GETLK, F_GETLEASE: no program has locks
    *(1031, 1032, 1033, 1034),  # sizes of pipes, and seals
)
# FS_IOC_ADD_ENCRYPTION_KEY gives a key to a whole file system; TIOCSTI and TIOCLINUX type into a terminal.
_IOCTLS = (0xC0506617, 0x5412, 0x541C)
_RWF_NOWAIT = 0x8  # tells whether others have read the same part of a file before

# A filter cannot see the flags of clone3; with "not implemented" every C library falls back to clone.
_REFUSED = {
    errno.ENOSYS: (
        *("clone3", "flock", "keyctl", "add_key", "request_key"),
        *("inotify_init1", "inotify_add_watch", "fanotify_init", "fanotify_mark"),
        *("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup"),
        *("cachestat", "memfd_secret"),
    ),
    errno.EPERM: (
        *("userfaultfd", "bpf", "perf_event_open", "setns", "open_by_handle_at"),
        *("syslog", "quotactl", "quotactl_fd"),
        *("mount", "umount2", "pivot_root", "mount_setattr", "open_tree", "move_mount"),
        *("fsopen", "fsconfig", "fsmount", "fspick"),
    ),
}
_COMMON = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "cachestat": 451,
}
_X86_64 = {
    "ioctl": 16,
    "socket": 41,
    "socketpair": 53,
    "clone": 56,
    "fcntl": 72,
    "flock": 73,
    "syslog": 103,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "quotactl": 179,
    "io_setup": 206,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "inotify_init": 253,
    "inotify_add_watch": 254,
    "unshare": 272,
    "inotify_init1": 294,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "fanotify_mark": 301,
    "open_by_handle_at": 304,
    "setns": 308,
    "bpf": 321,
    "userfaultfd": 323,
    "preadv2": 327,
}
_AARCH64 = {
    "io_setup": 0,
    "fcntl": 25,
    "inotify_init1": 26,
    "inotify_add_watch": 27,
    "ioctl": 29,
    "flock": 32,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "quotactl": 60,
    "unshare": 97,
    "syslog": 116,
    "socket": 198,
    "socketpair": 199,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "clone": 220,
    "perf_event_open": 241,
    "fanotify_init": 262,
    "fanotify_mark": 263,
    "open_by_handle_at": 265,
    "setns": 268,
    "bpf": 280,
    "userfaultfd": 282,
    "preadv2": 286,
}
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}


def install() -> None:
    """Filter this process and all its descendants; do nothing on an unknown architecture."""
    code = program(os.uname().machine)
    if code:
        buffer = ctypes.create_string_buffer(code, len(code))
        length = len(code) // 8
        kernel.call("prctl", 22, 2, struct.pack("HP", length, ctypes.addressof(buffer)), 0, 0)


def program(machine: str) -> bytes:
    """Return the filter for an architecture in the kernel's format; empty if it is unknown."""
    if machine not in _MACHINES:
        return b""
    architecture, own = _MACHINES[machine]
    numbers = _COMMON | own
    code = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, architecture, 1, 0), _step(_RETURN, _KILL)]
    code += [_step(_LOAD, _NUMBER), _step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    code += [_step(_AT_LEAST, _NEWEST + 1, 0, 1), _step(_RETURN, _FAIL | errno.ENOSYS)]
    for error, names in _REFUSED.items():
        for name in names:
            code += [_step(_EQUAL, numbers[name], 0, 1), _step(_RETURN, _FAIL | error)]
    if "inotify_init" in numbers:  # newer architectures have inotify_init1 alone
        code += [_step(_EQUAL, numbers["inotify_init"], 0, 1), _step(_RETURN, _FAIL | errno.ENOSYS)]
    code += _refuse(numbers["clone"], 0, _ANY_BIT, (_NEW_NAMESPACES,), errno.EPERM)
    code += _refuse(numbers["unshare"], 0, _ANY_BIT, (_NEW_NAMESPACES | _NEW_TIME_NAMESPACE,), errno.EPERM)
    code += _refuse(numbers["ioctl"], 1, _EQUAL, _IOCTLS, errno.EPERM)
    code += _refuse(numbers["preadv2"], 5, _ANY_BIT, (_RWF_NOWAIT,), errno.EOPNOTSUPP)
    for name in ("socket", "socketpair"):
        code += _allow(numbers[name], 0, _FAMILIES, errno.EAFNOSUPPORT)
    code += _allow(numbers["fcntl"], 1, _COMMANDS, errno.EPERM)
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def _refuse(number: int, argument: int, test: int, values: tuple[int, ...], error: int) -> list[bytes]:
    """Return steps that fail a system call if an argument passes the test with one of the values."""
    return _judge(number, argument, test, values, if_true=_FAIL | error, if_false=_ALLOW)


def _allow(number: int, argument: int, values: tuple[int, ...], error: int) -> list[bytes]:
    """Return steps that fail a system call unless an argument is one of the values."""
    return _judge(number, argument, _EQUAL, values, if_true=_ALLOW, if_false=_FAIL | error)


def _judge(
    number: int, argument: int, test: int, values: tuple[int, ...], *, if_true: int, if_false: int
) -> list[bytes]:
    """Return steps that test the low 32 bits of an argument: the kernel ignores the others of these."""
    tests = [_step(_LOAD, _ARGUMENT + 8 * argument)]
    for value in values:
        tests += [_step(test, value, 0, 1), _step(_RETURN, if_true)]
    tests.append(_step(_RETURN, if_false))
    return [_step(_EQUAL, number, 0, len(tests)), *tests]


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)
