"""Control groups: a fresh group for each run, so that it measures this run only."""

# Importing pathlib takes longer than everything else that happens here:
# ruff: noqa: PTH102, PTH106, PTH112, PTH120, PTH123
import errno
import os
import time

from verdictd.sandbox.embedded.faults import BoxError

UNUSABLE = "Control groups cannot be used"
REMOVAL_LIMIT_S = 2.0


class Group:
    """Control group of one box: one directory in version 2, one for each controller in version 1.

    Where there is a controller of processors, boxes share them as groups of equal weight, however many
    processes each has.
    """

    def __init__(self, directories: list[str]) -> None:
        self.directories = directories
        self._memory = directories[0]
        self._unified = len(directories) == 1

    def create(self, memory_kib: int | None) -> None:
        """Make the group with its limits; processes in a leftover group are killed."""
        try:
            self.remove()
            for directory in self.directories:
                os.mkdir(directory, 0o755)
            if memory_kib is not None:
                self._limit(memory_kib * 1024)
            self.memory_peak_kib()  # fails now where it is missing: version 2 before Linux 5.19
        except OSError as problem:
            raise BoxError(f"Cannot set up control group {self._memory}: {problem.strerror}") from problem

    def entrances(self) -> list[int]:
        """Open the files to which a single-threaded process writes 0 to enter the group."""
        # In version 1 a thread enters without the synchronisation of all processors that a process waits for.
        name = "cgroup.procs" if self._unified else "tasks"
        return [os.open(f"{directory}/{name}", os.O_WRONLY) for directory in self.directories]

    def cpu_time_s(self) -> float:
        """Return the CPU time of all processes that ever ran in the group."""
        if self._unified:
            return _field(f"{self._memory}/cpu.stat", "usage_usec") / 1e6
        return int(_read(f"{self.directories[1]}/cpuacct.usage")) / 1e9

    def memory_peak_kib(self) -> int:
        """Return the largest amount of memory that the group held at any time."""
        name = "memory.peak" if self._unified else "memory.max_usage_in_bytes"
        return int(_read(f"{self._memory}/{name}")) // 1024

    def oom_killed(self) -> bool:
        """Return whether the kernel killed a process of the group because memory ran out."""
        name = "memory.events" if self._unified else "memory.oom_control"
        return _field(f"{self._memory}/{name}", "oom_kill") > 0

    def remove(self) -> None:
        """Kill all processes in the group and remove it, if it exists."""
        for directory in self.directories:
            deadline = time.monotonic() + REMOVAL_LIMIT_S
            while not _removed(directory):
                if time.monotonic() > deadline:
                    raise BoxError(f"Cannot remove control group {directory}: Device or resource busy")
                time.sleep(0.002)

    def _limit(self, memory_bytes: int) -> None:
        if self._unified:
            _write(f"{self._memory}/memory.max", str(memory_bytes))
            _write_if_present(f"{self._memory}/memory.swap.max", "0")
        else:
            _write(f"{self._memory}/memory.limit_in_bytes", str(memory_bytes))
            _write_if_present(f"{self._memory}/memory.memsw.limit_in_bytes", str(memory_bytes))


def find(name: str) -> Group:
    """Return the group of this name below those that this process may divide; raises BoxError if none."""
    return Group([f"{parent}/{name}" for parent in parents()])


def parents() -> list[str]:
    """Return the directories below which groups are made; raises BoxError if control groups are unusable."""
    own = {}
    for line in _lines("/proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        own[tuple(names.split(","))] = path
    unified, legacy = None, {}
    for line in _lines("/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2":
            unified = point
        elif kind == "cgroup":
            for controllers, path in own.items():
                if set(controllers) <= set(options.split(",")):
                    relative = path.removeprefix(root.rstrip("/")).rstrip("/")
                    legacy.update(dict.fromkeys(controllers, point + relative))
    if unified and "memory" in _read(f"{unified}/cgroup.controllers").split():
        return [_delegated(unified, own.get(("",), "/"))]
    return _separate(legacy)


def _separate(legacy: dict[str, str]) -> list[str]:
    """Return the directories of version 1, of memory first; that of processors is there where it can be."""
    if not {"memory", "cpuacct"} <= set(legacy):
        raise BoxError(f"{UNUSABLE}: no controllers for memory and CPU time are mounted")
    found = [legacy["memory"], legacy["cpuacct"]]
    for directory in found:
        _require_writable(directory)
    shared = legacy.get("cpu")
    if shared is not None and shared not in found and os.access(shared, os.W_OK):
        found.append(shared)
    return found


def _delegated(mount: str, own: str) -> str:
    """Return the nearest group above this process that is delegated to it; for root, it may be the topmost.

    Its memory controller is enabled. If its member processes, such as this one, prevent that (a group with
    members cannot contain limited groups), they are moved into a group of their own, as delegation permits.
    """
    directory = mount + own.rstrip("/")
    while directory != mount and not _is_delegated(directory):
        directory = os.path.dirname(directory)
    _require_writable(directory)
    control = f"{directory}/cgroup.subtree_control"
    if "memory" not in _read(control).split():
        try:
            _write(control, "+memory")
        except OSError as problem:
            if problem.errno != errno.EBUSY or directory == mount:
                raise BoxError(f"{UNUSABLE}: {control}: {problem.strerror}") from problem
            _make_room(directory)
            _write(control, "+memory")
    _share_processors(directory)
    return directory


def _share_processors(directory: str) -> None:
    """Give each group below this one the same share of the processors, where that is possible."""
    control = f"{directory}/cgroup.subtree_control"
    if "cpu" in _read(f"{directory}/cgroup.controllers").split() and "cpu" not in _read(control).split():
        try:
            _write(control, "+cpu")
        except OSError:
            return


def _is_delegated(directory: str) -> bool:
    for attribute in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(directory, attribute) == b"1":
                return True
        except OSError:
            continue
    return False


def _make_room(directory: str) -> None:
    """Move the members of a group into a group below it."""
    main = f"{directory}/verdictd-main"
    if not os.path.isdir(main):
        os.mkdir(main)
    for _ in range(10):  # members may fork meanwhile
        for pid in _read(f"{directory}/cgroup.procs").split():
            try:
                _write(f"{main}/cgroup.procs", pid)
            except ProcessLookupError:
                continue


def _require_writable(directory: str) -> None:
    if not os.access(directory, os.W_OK):
        raise BoxError(f"{UNUSABLE}: {directory} is not writable")


def _removed(directory: str) -> bool:
    """Try to remove a group; if it has members, kill them and return False."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as problem:
        if problem.errno != errno.EBUSY:
            raise
    else:
        return True
    for pid in _read(f"{directory}/cgroup.procs").split():
        try:
            os.kill(int(pid), 9)
        except ProcessLookupError:
            continue
    return False


def _field(path: str, key: str) -> int:
    """Return the number of a key in a file of keys and numbers; 0 if it is missing."""
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _lines(path: str) -> list[str]:
    return _read(path).splitlines()


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _write_if_present(path: str, text: str) -> None:
    try:
        _write(path, text)
    except FileNotFoundError:
        return
