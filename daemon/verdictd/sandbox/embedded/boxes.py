"""Directories of boxes: their place, their owner, their locks and their cleaning.

A box is a directory with `box` (the working directory), `tmp` (temporary directories) and `state` (the user
who initialised it, and its control groups). The locks lie elsewhere: they guard the user id and the control
groups of a box, which are the same whatever directory the boxes are kept in.

"""

# Importing pathlib takes longer than everything else that happens here:
# ruff: noqa: PTH102, PTH103, PTH106, PTH123
from __future__ import annotations

import fcntl
import os
import time

from verdictd.sandbox.embedded import groups, kernel, trees
from verdictd.sandbox.embedded.faults import BoxError
from verdictd.sandbox.embedded.mounts import TEMPORARY, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from verdictd.sandbox.embedded.rules import Rule

# In a range that systemd's table of user ids assigns to nobody, because all processes of the user are killed.
FIRST_UID = 2_000_000_000
DYING_KEEPER_S = 5.0  # time that a killed keeper has to release the lock

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class BoxDirectory:
    """One box, locked by this process; `owner` is the user who runs this process."""

    def __init__(self, number: int, *, wait: bool) -> None:
        self.owner = os.getuid()
        self.uid = FIRST_UID + number
        self.has_own_user = self.owner == 0
        boxes, locks = enter(self.uid)
        self._lock = _lock(f"{locks}/{number}", wait=wait)
        self.directory = f"{boxes}/{number}"
        self._state_path = f"{self.directory}/state"
        self._group_name = f"verdictd-box-{number}"

    def initialise(self, *, cg: bool) -> None:
        """Make the box, or reset an existing one."""
        self._clear()
        group = groups.find(self._group_name) if cg else None
        if group:
            group.create(None)  # to fail now if that is not possible
            group.remove()
        os.mkdir(f"{self.directory}/{TEMPORARY}", 0o700)
        os.mkdir(f"{self.directory}/box", 0o700)
        words = [str(self.owner), *(group.directories if group else ())]
        # The last step: a box without this file was not fully initialised.
        with open(self._state_path, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(f"{word}\n" for word in words))

    def clean_up(self) -> None:
        """Remove the box and everything in it."""
        self._clear()
        os.rmdir(self.directory)

    def require(self, *, cg: bool) -> groups.Group | None:
        """Return the box's control group; raises BoxError unless this user initialised it in this mode."""
        state = self._state()
        if not state:
            with_groups = "--cg " if cg else ""
            raise BoxError(f"Box not found, did you run `isolate {with_groups}--init'?")
        self._require_owner(state)
        if bool(state[1:]) != cg:
            raise BoxError("This box was initialized with an incompatible control group mode")
        return groups.Group(state[1:]) if cg else None

    def lend(self, rules: list[Rule]) -> None:
        """Make the box's own user the owner of its files."""
        self._hand_over(self.uid)
        for rule in rules:
            if "tmp" in rule.options:
                self._make_temporary(temporary_name(rule.inside))

    def take_back(self) -> None:
        """Make the caller the owner of the files, and remove what is neither a file nor a directory."""
        self._hand_over(self.owner if self.has_own_user else self.uid)

    def _hand_over(self, uid: int) -> None:
        top = os.open(f"{self.directory}/box", _DIRECTORY)
        try:
            trees.hand_over(top, uid, guest=self.uid)
        finally:
            os.close(top)

    def _make_temporary(self, name: str) -> None:
        """Make a directory for temporary files, unless an earlier run has made it; its files stay."""
        path = f"{self.directory}/{TEMPORARY}/{name}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
        os.chown(path, self.uid, self.uid)

    def _clear(self) -> None:
        """Kill leftover processes and remove all files; a partly cleared directory is not a box any more."""
        state = self._state()
        if state:
            self._require_owner(state)
        if self.has_own_user:
            _kill_all_of(self.uid)
        if state[1:]:
            groups.Group(state[1:]).remove()
        os.makedirs(self.directory, exist_ok=True)
        top = os.open(self.directory, _DIRECTORY)
        try:
            os.fchmod(top, 0o700)  # without the set-group-id bit that the parent directory may pass on
            if state:
                os.unlink("state", dir_fd=top)
            trees.empty(top)
        finally:
            os.close(top)

    def _state(self) -> list[str]:
        """Return the initialising user and the control groups; empty if the box is not initialised."""
        try:
            with open(self._state_path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def _require_owner(self, state: list[str]) -> None:
        if state[0] != str(self.owner):
            raise BoxError(f"This box belongs to a different user (uid {state[0]})")


def enter(uid: int) -> tuple[str, str]:
    """Return the directories of boxes and of their locks; VERDICTD_BOX_ROOT moves the former.

    A user other than root gets a user namespace, in which this process has power over its own files and
    mounts, and in which the user is known as `uid`.
    """
    owner = os.getuid()
    if owner == 0:
        boxes, locks = "/var/local/lib/verdictd-box", "/run/verdictd-box"
    else:
        boxes, locks = f"/var/tmp/verdictd-box-{owner}", f"/var/tmp/verdictd-box-{owner}/locks"  # noqa: S108
        try:
            kernel.enter_user_namespace(uid, uid)
        except OSError as problem:
            raise BoxError(f"Cannot create a user namespace: {problem.strerror}") from problem
        _require_own_directory(boxes)
    boxes = os.environ.get("VERDICTD_BOX_ROOT", boxes)
    if not boxes.startswith("/"):
        raise BoxError("VERDICTD_BOX_ROOT must be an absolute path")
    _require_own_directory(boxes)
    _require_own_directory(locks)
    return boxes, locks


def _require_own_directory(path: str) -> None:
    """Make a directory; raises BoxError if another user could change it."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        fd = os.open(path, _DIRECTORY)
    except OSError as problem:
        raise BoxError(f"Cannot use {path}: {problem.strerror}") from problem
    status = os.fstat(fd)
    os.close(fd)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise BoxError(f"{path} must belong to the user who runs the sandbox and be writable by nobody else")


def _lock(path: str, *, wait: bool) -> int:
    """Take the lock of a box. It is released when this process and all its descendants have ended."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if wait:
        fcntl.flock(fd, fcntl.LOCK_EX)
    else:
        deadline = time.monotonic() + DYING_KEEPER_S
        while not _locked(fd):
            if time.monotonic() > deadline or _is_alive(os.pread(fd, 20, 0)):
                raise BoxError("This box is currently in use by another process")
            time.sleep(0.005)
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: bytes) -> bool:
    """Return whether the keeper that wrote its pid into the lock is alive; if not, its box is dying too."""
    try:
        os.kill(int(pid), 0)
    except ValueError:
        return True  # it has taken the lock and is about to write its pid
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _kill_all_of(uid: int) -> None:
    """Kill every process of a user in one system call, so that a process cannot escape by forking."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, 9)
            os._exit(0)
        except ProcessLookupError:
            os._exit(0)  # the user had no process
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    if status:
        raise BoxError(f"Cannot kill the processes of user {uid}")
