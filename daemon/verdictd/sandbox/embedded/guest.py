"""Inside the box: process 1, which sets the box up and ends it, and its child, which becomes the program.

Both report on a pipe, one line each: `ready PID`, `failed MESSAGE`, `ended ...`. The program does not get it.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import struct

from verdictd.sandbox.embedded import kernel, mounts, seccomp
from verdictd.sandbox.embedded.faults import BoxError
from verdictd.sandbox.embedded.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from verdictd.sandbox.embedded.boxes import BoxDirectory
    from verdictd.sandbox.embedded.options import Options
    from verdictd.sandbox.embedded.rules import Rule

NAMESPACES = (
    kernel.NEW_NAMESPACE_MOUNT
    | kernel.NEW_NAMESPACE_IPC
    | kernel.NEW_NAMESPACE_UTS
    | kernel.NEW_NAMESPACE_CGROUP
)
HOST_NAME = b"box"
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


class Pipes:
    """Two pipes between keeper and box: reports out of the box, and the permission to start into it."""

    def __init__(self) -> None:
        self.reports, self.report = os.pipe()
        self.go, self.say_go = os.pipe()

    def leave_to_box(self) -> None:
        """Close the box's ends in the keeper, which then sees the end of the reports."""
        os.close(self.report)
        os.close(self.go)


class Guest:
    """Everything needed to set up one run, gathered while the host's file system is still visible.

    `entrances`: descriptors through which a process enters the control groups.
    """

    def __init__(
        self, options: Options, box: BoxDirectory, rules: list[Rule], pipes: Pipes, entrances: list[int]
    ) -> None:
        self._options = options
        self._box = box
        self._rules = rules
        self._pipes = pipes
        self._entrances = entrances
        self._keeper = os.pidfd_open(os.getpid())
        self._host_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        self._arguments = [os.fsencode(word) for word in options.command]
        environment = options.environment(dict(os.environb))
        self._program = kernel.Program(self._arguments, environment)

    def live(self) -> NoReturn:
        """Run process 1: set the box up, start the program, wait for it. The box dies with it."""
        try:
            self._set_up()
            program = os.fork()
            if program == 0:
                self._become_program()
            self._await(program)
            os._exit(0)
        except BaseException as problem:  # the keeper must learn of every failure
            self._report(f"failed {_describe(problem)}")
        finally:
            os._exit(2)

    def _set_up(self) -> None:
        kernel.die_with_parent()
        keeper = select.poll()
        keeper.register(self._keeper, select.POLLIN)
        if keeper.poll(0):
            raise BoxError("The keeper died")
        self._offer_to_the_oom_killer()
        kernel.hide_memory()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        kernel.stop_ignoring_hidden_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        kernel.unshare(NAMESPACES if self._options.share_net else NAMESPACES | kernel.NEW_NAMESPACE_NET)
        kernel.call("sethostname", HOST_NAME, len(HOST_NAME))
        if not self._options.share_net:
            _raise_loopback()
        mounts.hide_path_of_input()
        mounts.enter(self._rules, self._box.directory)
        kernel.drop_bounding_set()
        kernel.forbid_new_privileges()
        seccomp.install()

    def _offer_to_the_oom_killer(self) -> None:
        """Make the box's processes the first to be killed if the host runs out of memory."""
        fd = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=self._host_proc)
        os.write(fd, b"1000")
        os.close(fd)

    def _await(self, program: int) -> None:
        """Reap processes until the program ends, end all others, and report the usage of all of them."""
        while True:
            pid, status = os.wait()
            if pid == program:
                break
        _end_all_others()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_time_us = round((usage.ru_utime + usage.ru_stime) * 1e6)
        facts = (status, cpu_time_us, usage.ru_maxrss, usage.ru_nvcsw, usage.ru_nivcsw)
        self._report("ended " + " ".join(str(fact) for fact in facts))

    def _become_program(self) -> NoReturn:
        """Drop all privileges, set all limits, and execute the program."""
        try:
            os.setsid()
            for entrance in self._entrances:
                os.write(entrance, b"0")
            self._report("ready " + os.readlink("self", dir_fd=self._host_proc))
            os.read(self._pipes.go, 1)
            self._set_privileged_limits()
            self._drop_privileges()
            os.chdir("/box")  # the paths of redirected streams are relative to it
            self._redirect()
            self._change_directory()
            kernel.close_on_exec(3)
            self._set_remaining_limits()
        except BaseException as problem:
            self._report(f"failed {_describe(problem)}")
            os._exit(2)
        try:
            self._program.execute()
        except OSError as problem:
            reason = os.strerror(problem.errno or 0).encode()
            os.write(2, b'execve("%s"): %s\n' % (self._arguments[0], reason))
        finally:
            os._exit(127)

    def _set_privileged_limits(self) -> None:
        """Set the limits that may have to be raised, which takes privileges."""
        options = self._options
        _limit(resource.RLIMIT_FSIZE, _bytes(options.fsize_kib))
        _limit(resource.RLIMIT_CORE, options.core_kib * 1024)
        _limit(resource.RLIMIT_MEMLOCK, 0)
        if options.processes is not None:
            # Without a user id of its own, the box shares the count with the keeper and with process 1.
            shared = 0 if self._box.has_own_user else 2
            _limit(resource.RLIMIT_NPROC, options.processes + shared)

    def _set_remaining_limits(self) -> None:
        """Set the limits that would make the set-up itself fail."""
        _limit(resource.RLIMIT_NOFILE, self._options.open_files)
        _limit(resource.RLIMIT_STACK, _bytes(self._options.stack_kib))
        _limit(resource.RLIMIT_AS, _bytes(self._options.mem_kib))

    def _drop_privileges(self) -> None:
        uid = self._box.uid
        if self._box.has_own_user:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        kernel.drop_capabilities()

    def _change_directory(self) -> None:
        os.chdir("/")
        try:
            os.chdir(self._options.chdir)
        except OSError as problem:
            raise BoxError(f"chdir: {problem.strerror}") from problem

    def _redirect(self) -> None:
        options = self._options
        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        streams = ((options.stdin, os.O_RDONLY), (options.stdout, write), (options.stderr, write))
        for fd, (path, flags) in enumerate(streams):
            if path is None:
                continue
            try:
                os.dup2(os.open(path, flags, 0o666), fd)
            except OSError as problem:
                raise BoxError(f'open("{path}"): {problem.strerror}') from problem
        if options.stderr_to_stdout:
            os.dup2(1, 2)

    def _report(self, line: str) -> None:
        text = line.replace("\n", " ")[:1000]
        os.write(self._pipes.report, os.fsencode(text) + b"\n")


def _end_all_others() -> None:
    """Kill and reap every other process of the box: all of them are descendants of process 1."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ProcessLookupError, ChildProcessError):
        return


def _raise_loopback() -> None:
    """Bring up the loopback device of the box's own network, its only device."""
    fd = kernel.call("socket", 2, 2, 0)
    fcntl.ioctl(fd, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
    os.close(fd)


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * 1024


def _limit(kind: int, value: int | None) -> None:
    """Limit a resource; for None, raise the limit as far as allowed."""
    _, hard = resource.getrlimit(kind)
    wanted = resource.RLIM_INFINITY if value is None else value
    try:
        resource.setrlimit(kind, (wanted, wanted))
    except (OSError, ValueError):
        resource.setrlimit(kind, (hard, hard))


def _describe(problem: BaseException) -> str:
    if isinstance(problem, BoxError):
        return str(problem)
    return f"Cannot set the box up: {problem}"
