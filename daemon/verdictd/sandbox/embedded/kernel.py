"""System calls that Python's standard library lacks. A failure is an OSError, as in `os`.

Mounts are made and attached by descriptor (Linux 5.12 and newer), so that no path is looked up twice and no
symbolic link decides where a mount is attached.
"""

import ctypes
import errno
import os
import struct

NEW_NAMESPACE_MOUNT = 0x00020000
NEW_NAMESPACE_CGROUP = 0x02000000
NEW_NAMESPACE_UTS = 0x04000000
NEW_NAMESPACE_IPC = 0x08000000
NEW_NAMESPACE_USER = 0x10000000
NEW_NAMESPACE_PID = 0x20000000
NEW_NAMESPACE_NET = 0x40000000

READ_ONLY = 1
NO_SETUID = 2
NO_DEVICES = 4
NO_EXEC = 8

HERE = -100  # AT_FDCWD: paths are relative to the working directory
_EMPTY_PATH = 0x1000
_RECURSIVE = 0x8000
_PRIVATE = 1 << 18
_DETACH = 2
_CLOSE_ON_EXEC = 4

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

# These numbers are the same on every architecture.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
_CLOSE_RANGE = 436
_MOUNT_SETATTR = 442

_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_HIDDEN_SIGNALS = (32, 33)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def call(function: str, *arguments: object) -> int:
    """Call a function of the C library with integers, byte strings or ctypes objects."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(getattr(_libc, function)(*words))
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def stop_ignoring_hidden_signals() -> None:
    """Reset the two signals that the C library reserves; a parent process such as make may ignore them."""
    number = _RT_SIGACTION.get(os.uname().machine)
    if number is not None:
        for hidden in _HIDDEN_SIGNALS:
            call("syscall", number, hidden, bytes(32), None, 8)


def keyctl(operation: int, *arguments: int) -> int:
    """Work on a keyring of this thread; raises OSError also where the kernel has no keys."""
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return call("syscall", number, operation, *arguments)


def unshare(flags: int) -> None:
    """Move this process to new namespaces; a new pid namespace begins with the next child."""
    call("unshare", flags)


def enter_user_namespace(uid: int, gid: int) -> None:
    """Gain all capabilities within a new user namespace, in which the caller's only user is `uid`."""
    outer_uid, outer_gid = os.getuid(), os.getgid()
    unshare(NEW_NAMESPACE_USER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def die_with_parent() -> None:
    """Ask to be killed when the parent ends, in whatever way."""
    call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)


def hide_memory() -> None:
    """Forbid unprivileged processes to trace this process or to read its /proc entry."""
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)


def drop_bounding_set() -> None:
    """Make it impossible to gain any capability by executing a file."""
    for capability in range(64):
        try:
            call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:  # beyond the last capability of this kernel
            if not capability:
                raise
            return


def forbid_new_privileges() -> None:
    """Disable set-uid bits and file capabilities from now on."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Drop all capabilities at once."""
    header = ctypes.create_string_buffer(struct.pack("II", _CAPABILITY_VERSION_3, 0))
    call("capset", header, ctypes.create_string_buffer(24))


def close_on_exec(first: int) -> None:
    """Mark every descriptor from `first` on as close-on-exec."""
    call("syscall", _CLOSE_RANGE, first, 0xFFFFFFFF, _CLOSE_ON_EXEC)


class Program:
    """A program ready for execve; prepared in advance, so that executing it needs almost no memory."""

    def __init__(self, arguments: list[bytes], environment: dict[bytes, bytes]) -> None:
        variables = [name + b"=" + value for name, value in environment.items()]
        self._path = arguments[0]
        self._arguments = (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None)
        self._environment = (ctypes.c_char_p * (len(variables) + 1))(*variables, None)

    def execute(self) -> None:
        """Replace this process by the program; raises OSError if that fails."""
        call("execve", self._path, self._arguments, self._environment)


def privatise_mounts() -> None:
    """Stop the propagation of mounts between this namespace and the host's."""
    attributes = struct.pack("QQQQ", 0, 0, _PRIVATE, 0)
    call("syscall", _MOUNT_SETATTR, HERE, b"/", _RECURSIVE, attributes, len(attributes))


def clone_mount(path: str, dir_fd: int, *, recursive: bool) -> int:
    """Return a copy of the mount at `path`, not attached anywhere."""
    flags = 1 | os.O_CLOEXEC | (_RECURSIVE if recursive else 0)
    return call("syscall", _OPEN_TREE, dir_fd, os.fsencode(path), flags)


def new_filesystem(kind: str, options: dict[str, str], attributes: int) -> int:
    """Return a new file system, not attached anywhere."""
    context = call("syscall", _FSOPEN, kind.encode(), 1)
    try:
        for key, value in options.items():
            call("syscall", _FSCONFIG, context, 1, key.encode(), value.encode(), 0)
        call("syscall", _FSCONFIG, context, 6, None, None, 0)
        return call("syscall", _FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def restrict_mount(mount: int, attributes: int, *, recursive: bool) -> None:
    """Restrict a mount and, if recursive, everything mounted below it."""
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = _EMPTY_PATH | (_RECURSIVE if recursive else 0)
    call("syscall", _MOUNT_SETATTR, mount, b"", flags, packed, len(packed))


def attach_mount(mount: int, point: int) -> None:
    """Mount over the directory (or file) that `point` is open on."""
    call("syscall", _MOVE_MOUNT, mount, b"", point, b"", 0x04 | 0x40)


def change_root(root: int) -> None:
    """Make the mount the root of this namespace, and detach the old root."""
    os.fchdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", _DETACH)
    os.chdir("/")
