"""System call filter: refuses what namespaces do not separate, and what only attacks on the kernel need.

Keyrings, file locks and vsock would carry data from box to box; io_uring would bypass the filter. A call that
isolate refuses gets the same error here, so that a program behaves alike in both.
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

_NEW_NAMESPACES = 0x7E020000
_LOCKS = (6, 7, 37, 38, 1024, 1026)  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW, F_SETLEASE, F_NOTIFY
_AF_VSOCK = 40

# A filter cannot see the flags of clone3; with "not implemented" every C library falls back to clone.
_REFUSED = {
    errno.ENOSYS: (
        *("clone3", "flock", "keyctl", "add_key", "request_key"),
        *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    ),
    errno.EPERM: (
        *("userfaultfd", "bpf", "perf_event_open", "setns", "open_by_handle_at"),
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
}
_X86_64 = {
    "socket": 41,
    "socketpair": 53,
    "clone": 56,
    "fcntl": 72,
    "flock": 73,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "perf_event_open": 298,
    "open_by_handle_at": 304,
    "setns": 308,
    "bpf": 321,
    "userfaultfd": 323,
}
_AARCH64 = {
    "fcntl": 25,
    "flock": 32,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "unshare": 97,
    "socket": 198,
    "socketpair": 199,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "clone": 220,
    "perf_event_open": 241,
    "open_by_handle_at": 265,
    "setns": 268,
    "bpf": 280,
    "userfaultfd": 282,
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
    for error, names in _REFUSED.items():
        for name in names:
            code += [_step(_EQUAL, numbers[name], 0, 1), _step(_RETURN, _FAIL | error)]
    for name in ("clone", "unshare"):
        code += _refuse_by_argument(numbers[name], 0, _ANY_BIT, (_NEW_NAMESPACES,), errno.EPERM)
    for name in ("socket", "socketpair"):
        code += _refuse_by_argument(numbers[name], 0, _EQUAL, (_AF_VSOCK,), errno.EAFNOSUPPORT)
    code += _refuse_by_argument(numbers["fcntl"], 1, _EQUAL, _LOCKS, errno.EPERM)
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def _refuse_by_argument(
    number: int, argument: int, test: int, values: tuple[int, ...], error: int
) -> list[bytes]:
    """Return steps that fail a system call if the low 32 bits of an argument pass the test."""
    tests = [_step(_LOAD, _ARGUMENT + 8 * argument)]
    for value in values:
        tests += [_step(test, value, 0, 1), _step(_RETURN, _FAIL | error)]
    tests.append(_step(_RETURN, _ALLOW))
    return [_step(_EQUAL, number, 0, len(tests)), *tests]


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)
