"""File system of a box: a small read-only root with the mounts of the directory rules."""

import fcntl
import os
import stat

from verdictd.sandbox.embedded import kernel
from verdictd.sandbox.embedded.faults import BoxError
from verdictd.sandbox.embedded.kernel import NO_DEVICES, NO_EXEC, NO_SETUID, READ_ONLY
from verdictd.sandbox.embedded.rules import Rule

DEVICES = ("null", "zero", "full", "random", "urandom")
DEVICE_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
TEMPORARY = "tmp"  # the directory of a box that holds its temporary directories
TMPFS_LIMITS = {"size": "256m", "nr_inodes": "64k"}  # without control groups, the only limit of this memory


def enter(rules: list[Rule], box_directory: str) -> None:
    """Replace the file system that this process sees by the box's; needs a mount namespace of its own."""
    kernel.privatise_mounts()
    box_fd = os.open(box_directory, os.O_RDONLY | os.O_DIRECTORY)
    # Everything from the host is opened before the new root hides a part of it.
    mounts = [(rule, mount) for rule in rules if (mount := _source(rule, box_fd)) is not None]
    root = _scaffold()
    kernel.attach_mount(root, box_fd)
    scaffolds = {os.fstat(root).st_dev: root}
    for rule, mount in mounts:
        try:
            kernel.attach_mount(mount, _mount_point(root, rule.inside, scaffolds))
        except OSError as problem:
            raise _failure(rule, problem) from problem
        if rule.devices_only:
            scaffolds[os.fstat(mount).st_dev] = mount
            _add_devices(mount)
    for scaffold in scaffolds.values():
        kernel.restrict_mount(scaffold, READ_ONLY, recursive=False)
    kernel.change_root(root)


def hide_path_of_input() -> None:
    """Open standard input again through a mount of its own, if it is a file with a name, open to read.

    That mount is read-only, also for the owner of the file, who may be the program's user. And nothing is
    around it: the path that the program sees is "/".
    """
    status = os.fstat(0)
    read_only = fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    if not read_only or not stat.S_ISREG(status.st_mode) or status.st_nlink == 0:
        return
    try:
        path = os.readlink("/proc/self/fd/0")  # noqa: PTH115 - importing pathlib takes long
        mount = kernel.clone_mount(path, kernel.HERE, recursive=False)
        if not os.path.samestat(os.fstat(mount), status):
            raise BoxError("Cannot open standard input again: its path leads to another file")
        kernel.restrict_mount(mount, READ_ONLY | NO_SETUID | NO_DEVICES | NO_EXEC, recursive=False)
        opened = os.open(f"/proc/self/fd/{mount}", os.O_RDONLY)
    except OSError as problem:
        raise BoxError(f"Cannot open standard input again: {problem.strerror}") from problem
    os.lseek(opened, os.lseek(0, 0, os.SEEK_CUR), os.SEEK_SET)
    os.dup2(opened, 0)
    os.close(opened)
    os.close(mount)


def _source(rule: Rule, box_fd: int) -> int | None:
    """Return the mount of a rule, not attached yet; None if the source is missing and the rule is `maybe`."""
    try:
        if rule.devices_only:
            return _scaffold()
        if "fs" in rule.options:
            return _filesystem(rule)
        return _directory(rule, box_fd)
    except FileNotFoundError as problem:
        if "maybe" in rule.options:
            return None
        raise _failure(rule, problem) from problem
    except OSError as problem:
        raise _failure(rule, problem) from problem


def _scaffold() -> int:
    """Return a tiny file system for mount points; it is made read-only once all are attached."""
    return kernel.new_filesystem("tmpfs", {"mode": "755", "size": "64k"}, NO_SETUID | NO_EXEC)


def _filesystem(rule: Rule) -> int:
    options = {"proc": {"hidepid": "2"}, "tmpfs": TMPFS_LIMITS}.get(rule.outside, {})
    return kernel.new_filesystem(rule.outside, options, _restrictions(rule) | NO_DEVICES)


def _directory(rule: Rule, box_fd: int) -> int:
    """Return the mount of a directory of the host, of the box, or for temporary files."""
    source = f"./{TEMPORARY}/{temporary_name(rule.inside)}" if "tmp" in rule.options else rule.outside
    dir_fd = box_fd if source.startswith("./") else kernel.HERE
    mount = kernel.clone_mount(source, dir_fd, recursive="norec" not in rule.options)
    if not stat.S_ISDIR(os.fstat(mount).st_mode):
        raise NotADirectoryError(20, os.strerror(20))
    kernel.restrict_mount(mount, _restrictions(rule), recursive=True)
    return mount


def temporary_name(inside: str) -> str:
    """Return the name of the temporary directory for a path in the box."""
    return inside.replace("%", "%25").replace("/", "%2F")


def _restrictions(rule: Rule) -> int:
    attributes = NO_SETUID
    if not rule.options & {"rw", "tmp"}:
        attributes |= READ_ONLY
    if "dev" not in rule.options:
        attributes |= NO_DEVICES
    if "noexec" in rule.options:
        attributes |= NO_EXEC
    return attributes


def _mount_point(root: int, path: str, scaffolds: dict[int, int]) -> int:
    """Open the directory to mount on, without following links; make it if it lies in a scaffold."""
    here = os.dup(root)
    for name in path.split("/"):
        above = here
        if os.fstat(above).st_dev in scaffolds and not _exists(name, above):
            os.mkdir(name, 0o755, dir_fd=above)
        here = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
        os.close(above)
    return here


def _exists(name: str, dir_fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def _add_devices(mount: int) -> None:
    """Put the harmless devices of the host into the box's /dev."""
    for name in DEVICES:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=mount))
        device = kernel.clone_mount(f"/dev/{name}", kernel.HERE, recursive=False)
        kernel.restrict_mount(device, NO_SETUID | NO_EXEC, recursive=False)
        kernel.attach_mount(device, os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=mount))
    for name, target in DEVICE_LINKS.items():
        os.symlink(f"/proc/self/{target}", name, dir_fd=mount)


def _failure(rule: Rule, problem: OSError) -> BoxError:
    source = rule.outside or rule.inside
    return BoxError(f"Cannot mount {source} on {rule.inside}: {problem.strerror}")
