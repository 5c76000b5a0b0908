"""`verdictd check`: try everything that judging needs."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from rich.text import Text

from verdictd.amqp import topology
from verdictd.amqp.connection import connect, version_of
from verdictd.amqp.control_queue import closes_connection, declare_control
from verdictd.cli.remedies import broker_remedy
from verdictd.cli.standard_output import StandardOutput
from verdictd.cli.words import memory_words, printable, status_words
from verdictd.contract.limits import MIB, Limits
from verdictd.contract.result import Status
from verdictd.contract.submission import submission_model
from verdictd.errors import BrokerUnavailable, InvalidSubmission, SandboxBroken, file_error
from verdictd.judging.data_cache import DataCache
from verdictd.judging.judgehost import Judgehost, artifact_cache, open_judgehost
from verdictd.judging.languages import Language
from verdictd.sandbox.discovery import NoSandbox
from verdictd.sandbox.exactness import by_hold, exactness, remedies
from verdictd.sandbox.pool import BoxState, BoxTaken
from verdictd.settings import BrokerSettings, CallbackSettings, DataSettings, Settings

_ANOTHER_BOX = "VERDICTD_SANDBOX__FIRST_BOX=900 VERDICTD_SANDBOX__BOXES=1"
_NO_SANDBOX = "install isolate 2.6 or newer, or run verdictd as root; see README.md"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: its name, what was found, and how to repair it if it failed."""

    name: str
    found: str
    remedy: str | None = None

    @property
    def passed(self) -> bool:
        """Return True if nothing needs to be repaired."""
        return self.remedy is None


Tell = Callable[[Check], None]


async def check_and_print(settings: Settings, *, broker: bool) -> bool:
    """Print a line for each thing as it is tried, and a remedy if it fails; return True if nothing fails."""
    output = StandardOutput()
    passed = True

    def tell(checked: Check) -> None:
        nonlocal passed
        passed = passed and checked.passed
        output.print(_line(checked))

    await check(settings, broker=broker, tell=tell)
    return passed


def _line(checked: Check) -> Text:
    mark = ("ok    ", "green") if checked.passed else ("FAILED", "red")
    remedy = "" if checked.remedy is None else f"\n       -> {checked.remedy}"
    return Text.assemble(mark, f" {checked.name}: {printable(checked.found)}{remedy}")


async def check(settings: Settings, *, broker: bool, tell: Tell) -> None:
    """Try settings, broker, sandbox, boxes and each installed language; tell of each once it was tried."""
    tell(Check("settings", "valid"))
    if settings.callbacks.enabled:
        tell(check_callbacks(settings.callbacks))
    if settings.data.enabled:
        data = await asyncio.to_thread(check_data, settings.data)
        tell(data)
        if not data.passed:
            settings = settings.model_copy(update={"data": DataSettings()})
    if broker:
        for checked in await check_broker(settings):
            tell(checked)
    try:
        # Each language is to be compiled now, and not to be found where it was compiled before.
        judge = settings.judge.model_copy(update={"cache_kib": 0})
        async with open_judgehost(settings.model_copy(update={"judge": judge})) as host:
            await _host(settings, host, tell)
    except BoxTaken as error:
        tell(Check("boxes", str(error), f"stop that daemon, or check with another box: {_ANOTHER_BOX}"))
    except NoSandbox as error:
        tell(Check("sandbox", str(error), _NO_SANDBOX))


def check_callbacks(settings: CallbackSettings) -> Check:
    """Say how callbacks are signed."""
    count = len(settings.secrets)
    signed = f"signed, with {count} secret{'s' if count > 1 else ''}"
    return Check("callbacks", signed if count else "NOT signed: callbacks.secrets is empty")


def check_data(settings: DataSettings) -> Check:
    """Look into the directory of test data, and prepare the cache."""
    sources = []
    try:
        if settings.directory is not None:
            os.close(os.open(settings.directory, os.O_RDONLY | os.O_DIRECTORY))
            sources.append(f"files below {settings.directory}")
        used_bytes = DataCache.of(settings).prepare()
    except OSError as error:
        remedy = "let the daemon's user read data.directory, and write to data.cache_directory"
        return Check("test data", file_error(error), remedy)
    if settings.allow_urls:
        sources.append(f"URLs of public addresses{' and allowed hosts' if settings.allow_hosts else ''}")
    cache = f"{used_bytes // MIB} of {settings.cache_kib // 1024} MiB in {settings.cache_directory}"
    return Check("test data", f"{' and '.join(sources)}; {cache}")


async def check_broker(settings: Settings) -> list[Check]:
    """Connect to RabbitMQ, and declare the queues, the exchange of events, and what control messages need."""
    wanted = topology.queues(settings.broker, settings.callbacks)
    try:
        async with connect(settings.broker, "verdictd check") as connection:
            version = version_of(connection)
            await topology.declare(connection, settings.broker, wanted)
            await topology.declare_events(connection, settings.broker)
            control = await _control(connection, settings.broker)
        if closes_connection(control.found):
            async with connect(settings.broker, "verdictd check") as connection:
                control = await _control(connection, settings.broker, no_stream=control.found)
    except BrokerUnavailable as error:
        return [Check("broker", str(error), broker_remedy(error, settings.broker))]
    found = f"RabbitMQ {version or 'of unknown version'}; every queue exists with the right arguments"
    return [Check("broker", found + too_large_words(version, settings.limits)), control]


async def _control(connection: AbstractConnection, settings: BrokerSettings, *, no_stream: str = "") -> Check:
    name = "control"
    try:
        queue = await declare_control(connection, settings, no_stream=no_stream)
    except BrokerUnavailable as error:
        return Check(name, str(error), broker_remedy(error, settings))
    if not queue.no_stream:
        return Check(name, f"stream {queue.name}, to {settings.control_age_s} s of age")
    found = f"no stream, so daemons do not know what was cancelled before they start: {queue.no_stream}"
    if "inequivalent" in queue.no_stream:
        return Check(name, found, f"delete the queue {settings.control_queue}, which is made anew")
    if "ACCESS_REFUSED" in queue.no_stream:
        return Check(name, found, broker_remedy(BrokerUnavailable(queue.no_stream), settings))
    return Check(name, found)


def too_large_words(version: str, limits: Limits) -> str:
    """Return a warning where this RabbitMQ does not take the largest messages unless it is told to."""
    major = version.partition(".")[0]
    bound = 16 * MIB if not major.isdecimal() or int(major) >= 4 else 128 * MIB
    sizes = {"message_bytes": limits.message_bytes, "result_bytes": limits.result_bytes}
    too_large = [f"limits.{name} is {size}" for name, size in sizes.items() if size > bound]
    if not too_large:
        return ""
    return (
        f"; {' and '.join(too_large)}, but it takes at most {bound} unless max_message_size is raised there"
    )


async def _host(settings: Settings, host: Judgehost, tell: Tell) -> None:
    sandbox = host.sandbox
    groups = "with control groups" if sandbox.control_groups else "without control groups"
    tell(Check("sandbox", f"{sandbox.name} {sandbox.version}, {groups}"))
    held = exactness(sandbox)
    ways = [f"{hold}: {', '.join(limits)}" for hold, limits in by_hold(held).items()]
    tell(Check("limits", "; ".join([*ways, *remedies(held)])))
    states = host.pool.states
    retired = [str(number) for number, state in states.items() if state is BoxState.RETIRED]
    if retired:
        remedy = (
            "run isolate --box-id=N --cleanup as the user who created the box; see box.retired in the log"
        )
        tell(Check("boxes", f"cannot be cleaned: {', '.join(retired)}", remedy))
    else:
        tell(Check("boxes", f"{len(states)} clean: {min(states)} to {max(states)}"))
    tell(await _artifact_cache(settings, host))
    languages = [language for language in host.registry.available if language.reference is not None]
    checks = [asyncio.create_task(_language(settings, host, language)) for language in languages]
    try:
        for started in checks:
            tell(await started)
    finally:
        for started in checks:
            started.cancel()
        await asyncio.gather(*checks, return_exceptions=True)


async def _artifact_cache(settings: Settings, host: Judgehost) -> Check:
    name = "artifact cache"
    cache = artifact_cache(settings.judge, host.registry)
    if cache is None:
        return Check(name, "off: judge.cache_kib is 0")
    state = await cache.open()
    if state.problem:
        remedy = "let this user write there, or set judge.cache_directory; judge.cache_kib = 0 turns it off"
        return Check(name, f"programs are compiled each time: {state.problem}", remedy)
    used = f"{state.entries} programs, {memory_words(state.size_bytes // 1024)}"
    return Check(name, f"{cache.directory}: {used} of {memory_words(settings.judge.cache_kib)}")


async def _language(settings: Settings, host: Judgehost, language: Language) -> Check:
    """Judge the reference program of the language, which prints 42."""
    name = f"language {language.name}"
    model = submission_model(settings.limits)
    submission = model(
        language=language.name,
        source_code=(language.reference or "").encode(),
        expected_output=b"42",
        cpu_time_limit=min(10.0, settings.limits.cpu_time_limit.max),
    )
    try:
        result = await host.judge.judge(host.admission.admit(submission))
    except (SandboxBroken, InvalidSubmission) as error:
        return Check(name, str(error), "repair the sandbox first")
    if result.status is Status.ACCEPTED:
        version = result.language.version if result.language else None
        return Check(
            name, f"{version or 'unknown version'}; {result.time:.3f} s, {memory_words(result.memory or 0)}"
        )
    said = (result.compile_output or result.stderr)[-300:]
    found = f"{status_words(result.status)}: {result.message} {said}"
    return Check(name, found, "repair its compiler or interpreter, or uninstall it")
