"""Outside the box: the keeper, which starts a run, enforces its time limits and measures it."""

# Importing pathlib takes longer than everything else that happens here:
# ruff: noqa: PTH123
from __future__ import annotations

import math
import os
import select
import time

from verdictd.sandbox.embedded import kernel
from verdictd.sandbox.embedded.faults import BoxError
from verdictd.sandbox.embedded.guest import Guest, Pipes
from verdictd.sandbox.embedded.meta import Measured
from verdictd.sandbox.embedded.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from verdictd.sandbox.embedded.boxes import BoxDirectory
    from verdictd.sandbox.embedded.groups import Group
    from verdictd.sandbox.embedded.options import Options

CHECK_AT_MOST_EVERY_S = 0.005
CHECK_AT_LEAST_EVERY_S = 0.1
SET_UP_LIMIT_S = 30.0
REPORT_LIMIT_S = 1.0  # time to measure a killed program, before the whole box is killed
STOP_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def keep(options: Options, box: BoxDirectory, group: Group | None) -> Measured:
    """Run the program; no process of it is alive on return. A signal to the keeper ends it as Interrupted."""
    signals = _signal_pipe()
    rules = options.directories()
    box.lend(rules)
    if group:
        group.create(options.cg_mem_kib)
    try:
        pipes = Pipes()
        guest = Guest(options, box, rules, pipes, group.entrances() if group else [])
        try:
            kernel.unshare(kernel.NEW_NAMESPACE_PID)
        except OSError as problem:
            raise BoxError(f"Cannot create namespaces: {problem.strerror}") from problem
        process_1 = _fork(guest)
        pipes.leave_to_box()
        watcher = _Watcher(options, group, pipes, signals)
        try:
            measured = watcher.wait()
        finally:
            os.kill(process_1, signal.SIGKILL)
            os.waitpid(process_1, 0)
        if group:
            measured.cpu_time_s = group.cpu_time_s()
            measured.cg_mem_kib = group.memory_peak_kib()
            measured.cg_oom_killed = group.oom_killed()
    finally:
        if group:
            group.remove()
    box.take_back()
    return measured


def _signal_pipe() -> int:
    """Return a descriptor from which the numbers of stop signals are read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    return reader


def _fork(guest: Guest) -> int:
    """Start process 1, with stop signals blocked, so that it never runs the keeper's handlers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    pid = os.fork()
    if pid == 0:
        guest.live()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return pid


class _Watcher:
    """Supervises a program between its start and its end."""

    def __init__(self, options: Options, group: Group | None, pipes: Pipes, signals: int) -> None:
        self._options = options
        self._group = group
        self._pipes = pipes
        self._signals = signals
        self._measured = Measured()
        self._program: int | None = None
        self._pidfd = -1
        self._started_at = 0.0
        self._unread = b""
        self._ended = False
        self._give_up_at = time.monotonic() + SET_UP_LIMIT_S

    def wait(self) -> Measured:
        """Wait until the program ends or breaks a limit; other processes of the box may still be alive."""
        poller = select.poll()
        poller.register(self._pipes.reports, select.POLLIN)
        poller.register(self._signals, select.POLLIN)
        while not self._ended:
            for fd, _ in poller.poll(math.ceil(self._check() * 1000)):
                if fd == self._signals:
                    self._interrupt(os.read(self._signals, 1)[0])
                else:
                    self._read_reports()
        return self._measured

    def _check(self) -> float:
        """Kill a program that broke a limit; return the seconds until the next check."""
        now = time.monotonic()
        if now > self._give_up_at:
            if self._measured.killed_for is None:
                raise BoxError("The box was not set up in time")
            self._ended = True  # the box is killed without a report
        if self._program is None or self._measured.killed_for is not None:
            return min(max(self._give_up_at - now, 0), CHECK_AT_LEAST_EVERY_S)
        wait_s = CHECK_AT_LEAST_EVERY_S
        wall_s = now - self._started_at
        if self._options.wall_time_s is not None:
            wait_s = min(wait_s, self._options.wall_time_s - wall_s)
            if wall_s > self._options.wall_time_s:
                self._kill("Time limit exceeded (wall clock)")
        if self._options.time_s is not None:
            limit_s = max(self._options.time_s, self._options.extra_time_s or 0)
            cpu_s = self._measured.cpu_time_s = self._cpu_time_s(self._program)
            wait_s = min(wait_s, (limit_s - cpu_s) / (os.cpu_count() or 1))
            if cpu_s > limit_s:
                self._kill("Time limit exceeded")
        return max(wait_s, CHECK_AT_MOST_EVERY_S)

    def _cpu_time_s(self, program: int) -> float:
        """Return the CPU time so far: of the group, or of the program and the children that it waited for."""
        if self._group:
            return self._group.cpu_time_s()
        try:
            with open(f"/proc/{program}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return self._measured.cpu_time_s
        return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def _interrupt(self, number: int) -> None:
        if self._measured.killed_for is None:
            self._measured.interrupted_by = number
            self._kill("Interrupted")

    def _kill(self, reason: str) -> None:
        """Kill the program alone, so that process 1 can still report its usage."""
        if self._measured.killed_for is not None:
            return
        self._measured.killed_for = reason
        self._give_up_at = time.monotonic() + REPORT_LIMIT_S
        if self._program is None:
            self._ended = True
            return
        self._stop_clock()
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _read_reports(self) -> None:
        data = os.read(self._pipes.reports, 65536)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take_report(os.fsdecode(line))
        if not data and not self._ended:
            raise BoxError("The box ended before its program did")

    def _take_report(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "ready":
            self._program = int(rest)
            self._pidfd = os.pidfd_open(self._program)
            self._give_up_at = math.inf
            self._started_at = time.monotonic()
            os.write(self._pipes.say_go, b"!")
        elif word == "ended":
            self._stop_clock()
            status, cpu_time_us, max_rss, voluntary, forced = (int(field) for field in rest.split())
            self._measured.status = status
            self._measured.cpu_time_s = cpu_time_us / 1e6
            self._measured.max_rss_kib = max_rss
            self._measured.switches_voluntary = voluntary
            self._measured.switches_forced = forced
            self._ended = True
        else:
            raise BoxError(rest)

    def _stop_clock(self) -> None:
        if not self._measured.wall_time_s:
            self._measured.wall_time_s = time.monotonic() - self._started_at
