"""Everything that judges on this host, with or without a broker."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from verdictd.egress import Egress
from verdictd.judging.judge import Judge
from verdictd.judging.languages import Registry
from verdictd.sandbox.discovery import discover
from verdictd.sandbox.model import BoxId, Sandbox
from verdictd.sandbox.pool import BoxPool, lock_boxes, open_pool
from verdictd.settings import CallbackSettings, Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judgehost:
    """What judges on this host."""

    judge: Judge
    registry: Registry
    pool: BoxPool
    sandbox: Sandbox
    egress: Egress | None
    """What callbacks may reach; None where they are not delivered."""


@asynccontextmanager
async def open_judgehost(settings: Settings) -> AsyncIterator[Judgehost]:
    """Own the boxes, find the sandbox, build the judge. Raises LanguagesError, BoxTaken, NoSandbox."""
    _raise_open_files()
    registry = Registry.load(settings.judge.languages_file)
    numbers = range(settings.sandbox.first_box, settings.sandbox.first_box + settings.sandbox.box_count)
    with lock_boxes(settings.sandbox.lock_directory, numbers):
        sandbox = await discover(
            settings.sandbox.isolate,
            allow_old=settings.sandbox.allow_old,
            control_groups=settings.sandbox.control_groups,
            boxes=[BoxId(number) for number in numbers],
        )
        if not sandbox.control_groups:
            log.warning(
                "sandbox.without_control_groups",
                sandbox=sandbox.name,
                effect="limits hold per process; memory is the largest resident set",
            )
        async with open_pool(sandbox, numbers, retire_s=settings.sandbox.retire_s) as pool:
            egress = _egress(settings.callbacks)
            judge = Judge(pool=pool, sandbox=sandbox, registry=registry, settings=settings, egress=egress)
            yield Judgehost(judge, registry, pool, sandbox, egress)


def _raise_open_files() -> None:
    """Isolate walks deep trees with one descriptor a level, and inherits our limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _egress(settings: CallbackSettings) -> Egress | None:
    if not settings.enabled:
        return None
    return Egress(networks=settings.allow_networks, hosts=settings.allow_hosts, ports=settings.allow_ports)


def use_pidfd_watcher() -> None:
    """Watch children by pidfd; Python 3.12 does so by itself, 3.11 starts a thread for each."""
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
