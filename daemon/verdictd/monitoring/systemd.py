"""Notifications to systemd, after sd_notify(3)."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog

from verdictd.concurrency import background
from verdictd.monitoring.status import BoxStatus, StatusReporter
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState

_TICK_S = 1.0
_EXTENSION_S = 30
"""Extension of the start or stop timeout with each sign of life."""
_RESET_S = 600
"""Allowance for cleaning a box beyond the limit of a submission, with every step at its deadline."""
_BUSY = {BoxState.LEASED, BoxState.RESETTING}

log = structlog.get_logger()


def notify(*states: str) -> None:
    """Send states such as `READY=1` to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract namespace is named with a NUL byte
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1)
            channel.sendto("\n".join(states).encode(), address)
    except OSError as error:
        log.warning("systemd.not_told", error=str(error))


def status(text: str) -> str:
    """Return the state that `systemctl status` shows as this text; a second line would be another state."""
    return "STATUS=" + " ".join(text.split())


@asynccontextmanager
async def informed(reporter: StatusReporter, *, submission_timeout_s: float) -> AsyncIterator[None]:
    """Keep the service manager informed until the block ends."""
    vitals = ServiceNotifier(reporter, box_limit_s=submission_timeout_s + _RESET_S, watchdog_s=_watchdog_s())
    async with background(_inform(vitals)):
        yield


async def _inform(vitals: "ServiceNotifier") -> None:
    while True:
        states = vitals.look()
        if states:
            notify(*states)
        await asyncio.sleep(vitals.pause_s)


def _watchdog_s() -> float | None:
    """Return the watchdog interval; None if systemd does not watch this process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if ours and microseconds.isdecimal() else None


class ServiceNotifier:
    """Finds the states to send, from one look to the next.

    State: what was sent, and since when each box has been in its state.
    """

    def __init__(self, reporter: StatusReporter, *, box_limit_s: float, watchdog_s: float | None) -> None:
        self._reporter = reporter
        self._box_limit_s = box_limit_s
        self._watchdog_s = watchdog_s
        self._ready = False
        self._stopping = False
        self._hung: list[str] = []
        self._status = ""
        self._since: dict[BoxId, tuple[BoxStatus, float]] = {}

    @property
    def pause_s(self) -> float:
        """Pause until the next look: short enough for the watchdog, and for a person who reads the status."""
        return _TICK_S if self._watchdog_s is None else min(_TICK_S, self._watchdog_s / 4)

    def look(self) -> list[str]:
        """Return the states to send now."""
        states = [*self._progress(), *self._signs_of_life()]
        text = status(self._text())
        if text != self._status:
            self._status = text
            states.append(text)
        return states

    def _progress(self) -> Iterator[str]:
        if not self._ready and self._reporter.consuming:
            self._ready = True
            yield "READY=1"
        if not self._stopping and self._reporter.stopping:
            self._stopping = True
            yield "STOPPING=1"

    def _signs_of_life(self) -> Iterator[str]:
        """Yield nothing if the service hangs, so that systemd restarts it."""
        hung = list(self._hangs())
        if hung and hung != self._hung:
            log.error("service.hung", reasons=hung)
        self._hung = hung
        if hung:
            return
        if self._watchdog_s is not None:
            yield "WATCHDOG=1"
        if self._stopping or not self._ready:
            yield f"EXTEND_TIMEOUT_USEC={_EXTENSION_S * 1_000_000}"

    def _hangs(self) -> Iterator[str]:
        """Yield what should have ended long ago. The event loop runs, or this would not."""
        now_s = time.monotonic()
        for box in self._reporter.boxes:
            before, since_s = self._since.get(box.box, (None, now_s))
            if box != before:
                since_s = now_s
            self._since[box.box] = (box, since_s)
            if box.state in _BUSY and now_s - since_s > self._box_limit_s:
                yield f"box {box.box} has been {box.state} for more than {self._box_limit_s:g} s"
        yield from self._reporter.hung()

    def _text(self) -> str:
        boxes = self._reporter.boxes
        busy = sum(box.running is not None for box in boxes)
        retired = sum(box.state is BoxState.RETIRED for box in boxes)
        counts = f"{busy} of {len(boxes)} boxes busy" + (f", {retired} retired" if retired else "")
        if self._hung:
            return f"hangs: {'; '.join(self._hung)}"
        if self._stopping:
            return f"finishing what is in a box: {counts}"
        problems = self._reporter.problems()
        if problems:
            return f"not ready: {'; '.join(problems)} ({counts})"
        minute = self._reporter.rates[0]
        return f"judging: {counts}, {minute.submissions} answered in the last minute ({minute.per_second}/s)"
