"""Own the boxes of this host, find the sandbox and build the judge, with or without a broker."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from verdictd.egress.rules import Egress, EgressDenied
from verdictd.judging.admission import Admission, CallbackProblem
from verdictd.judging.artifact_cache import ArtifactCache, default_directory
from verdictd.judging.compiler import Compiler
from verdictd.judging.judge import Judge
from verdictd.judging.languages import Registry
from verdictd.judging.test_data import DataStore
from verdictd.judging.versions import Versions
from verdictd.sandbox import keyrings
from verdictd.sandbox.discovery import discover
from verdictd.sandbox.disk import bearable_files
from verdictd.sandbox.exactness import by_hold, exactness, remedies
from verdictd.sandbox.model import DISK_FILES, BoxId, Sandbox
from verdictd.sandbox.pool import BoxPool, lock_boxes, open_pool
from verdictd.sandbox.recovery import guarded
from verdictd.sandbox.shares import boxes_have_equal_shares
from verdictd.settings import CallbackSettings, JudgeSettings, Settings

_STACK_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judgehost:
    """The parts that judge on this host."""

    admission: Admission
    judge: Judge
    registry: Registry
    versions: Versions
    pool: BoxPool
    sandbox: Sandbox
    egress: Egress | None
    """The addresses that callbacks may reach; None if callbacks are disabled."""


@asynccontextmanager
async def open_judgehost(settings: Settings) -> AsyncIterator[Judgehost]:
    """Lock the boxes, find the sandbox, build the judge.

    Raises LanguagesError, BoxTaken, NoSandbox, and OSError if the cache of test data cannot be used.
    """
    _raise_limits()
    keyrings.close_session()
    registry = Registry.load(settings.judge.languages_file)
    egress = _egress(settings.callbacks)
    first, count = settings.sandbox.first_box, settings.sandbox.box_count
    numbers = range(first, first + count)
    with_companions = range(first, first + 2 * count)
    boxes = [BoxId(number) for number in with_companions]
    with lock_boxes(settings.sandbox.lock_directory, with_companions):
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
            DataStore.open_store(settings.data) as data,
        ):
            admission = Admission(
                registry=registry,
                settings=settings,
                callback_problem=callback_problem(egress),
                data_problem=data.problem,
            )
            cache = artifact_cache(settings.judge, registry)
            if cache is not None:
                await cache.open()
            versions = Versions()
            compiler = Compiler(
                cache,
                versions=versions,
                sandbox=sandbox,
                artifact_bytes=settings.judge.artifact_kib * 1024,
            )
            judge = Judge(
                pool=pool,
                compiler=compiler,
                versions=versions,
                data=data,
                sandbox=sandbox,
                settings=settings.judge,
                open_files=settings.sandbox.open_files,
                result_bytes=settings.limits.result_bytes,
            )
            yield Judgehost(admission, judge, registry, versions, pool, sandbox, egress)


def artifact_cache(settings: JudgeSettings, registry: Registry) -> ArtifactCache | None:
    """Return the cache of compiled programs; None if it is turned off."""
    if not settings.cache_kib:
        return None
    directory = (settings.cache_directory or default_directory()).resolve()
    refusal = "is in a directory that programs see" if registry.shows(directory) else ""
    return ArtifactCache(directory, max_bytes=settings.cache_kib * 1024, refusal=refusal)


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
