"""Own the boxes of this host, find the sandbox and build the judge, with or without a broker."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from verdictd.egress import Egress, EgressDenied
from verdictd.judging.admission import Admission, CallbackProblem
from verdictd.judging.judge import Judge
from verdictd.judging.languages import Registry
from verdictd.sandbox import keyrings
from verdictd.sandbox.discovery import discover
from verdictd.sandbox.disk import bearable_files
from verdictd.sandbox.exactness import by_hold, exactness, remedies
from verdictd.sandbox.model import DISK_FILES, BoxId, Sandbox
from verdictd.sandbox.pool import BoxPool, lock_boxes, open_pool
from verdictd.sandbox.pressure import boxes_have_equal_shares
from verdictd.sandbox.recovery import guarded
from verdictd.settings import CallbackSettings, Settings

_STACK_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judgehost:
    """The parts that judge on this host."""

    admission: Admission
    judge: Judge
    registry: Registry
    pool: BoxPool
    sandbox: Sandbox
    egress: Egress | None
    """The addresses that callbacks may reach; None if callbacks are disabled."""


@asynccontextmanager
async def open_judgehost(settings: Settings) -> AsyncIterator[Judgehost]:
    """Lock the boxes, find the sandbox, build the judge. Raises LanguagesError, BoxTaken, NoSandbox."""
    _raise_limits()
    keyrings.close_session()
    registry = Registry.load(settings.judge.languages_file)
    egress = _egress(settings.callbacks)
    admission = Admission(registry=registry, settings=settings, callback_problem=callback_problem(egress))
    numbers = range(settings.sandbox.first_box, settings.sandbox.first_box + settings.sandbox.box_count)
    boxes = [BoxId(number) for number in numbers]
    with lock_boxes(settings.sandbox.lock_directory, numbers):
        sandbox = await discover(
            settings.sandbox.isolate,
            allow_old=settings.sandbox.allow_old,
            control_groups=settings.sandbox.control_groups,
            boxes=boxes,
        )
        _log_limits(sandbox)
        async with (
            guarded(sandbox.executable, boxes),
            open_pool(sandbox, numbers, retire_s=settings.sandbox.retire_s) as pool,
        ):
            judge = Judge(
                pool=pool, sandbox=sandbox, settings=settings.judge, open_files=settings.sandbox.open_files
            )
            yield Judgehost(admission, judge, registry, pool, sandbox, egress)


def _log_limits(sandbox: Sandbox) -> None:
    """Log how exactly each limit holds: a warning if something on this host would make them more exact."""
    held = exactness(sandbox)
    ways = {hold.name.lower(): limits for hold, limits in by_hold(held).items()}
    missing = remedies(held)
    level = log.warning if missing else log.info
    level("sandbox.limits", sandbox=sandbox.name, groups=sandbox.control_groups, **ways, missing=missing)
    if (files := bearable_files(sandbox)) < DISK_FILES:
        log.warning(
            "sandbox.few_open_files",
            effect=f"a program that makes more than {files} files is ended",
            remedy="raise the hard limit of open files (LimitNOFILE)",
        )
    if sandbox.name != "embedded" and keyrings.can_be_left():
        log.warning(
            "sandbox.keys_are_kept",
            effect="a program can leave kernel keys to the next one in its box",
            remedy="sysctl kernel.keys.maxkeys=1; see SECURITY.md",
        )
    if not boxes_have_equal_shares(sandbox):
        log.warning(
            "sandbox.processors_not_shared",
            effect="a program with many processes delays those in other boxes",
            remedy="verdictd systemd --write && systemctl daemon-reload && systemctl restart isolate",
        )


def callback_problem(egress: Egress | None) -> CallbackProblem:
    """Return the check of callback URLs; without `egress` callbacks are disabled, and all are refused."""

    def problem(url: str) -> str | None:
        if egress is None:
            return "callbacks are disabled on this judge; the result goes to the reply queue"
        try:
            egress.target(url)
        except EgressDenied as error:
            return str(error)
        return None

    return problem


def _raise_limits() -> None:
    """Raise what isolate inherits, and needs for each level of a tree: a descriptor, and some stack."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (max(soft, _STACK_BYTES), hard))


def _egress(settings: CallbackSettings) -> Egress | None:
    if not settings.enabled:
        return None
    return Egress(networks=settings.allow_networks, hosts=settings.allow_hosts, ports=settings.allow_ports)


def use_pidfd_watcher() -> None:
    """Wait for child processes by pidfd, as Python 3.12 does by itself; 3.11 starts a thread for each."""
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
