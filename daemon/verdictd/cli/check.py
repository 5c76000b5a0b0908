"""`verdictd check`: everything that judging needs, tried for real."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from verdictd.amqp import topology
from verdictd.amqp.connection import connect
from verdictd.contract.result import Status
from verdictd.contract.submission import submission_model
from verdictd.errors import BrokerUnavailable, InvalidSubmission, SandboxBroken
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.judging.languages import Language
from verdictd.sandbox.discovery import NoSandbox
from verdictd.sandbox.pool import BoxState, BoxTaken
from verdictd.settings import CallbackSettings, Settings

_ANOTHER_BOX = "VERDICTD_SANDBOX__FIRST_BOX=900 VERDICTD_SANDBOX__BOXES=1"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried: its name, what was found, and what to do about it where it failed."""

    name: str
    found: str
    remedy: str | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing needs to be done."""
        return self.remedy is None


async def check(settings: Settings, *, broker: bool) -> AsyncIterator[Check]:
    """Try the broker (unless told otherwise), the sandbox, its boxes, and each installed language."""
    yield Check("settings", "valid")
    if settings.callbacks.enabled:
        yield _callbacks(settings.callbacks)
    if broker:
        yield await _broker(settings)
    try:
        async with open_judgehost(settings) as host:
            async for checked in _host(settings, host):
                yield checked
    except BoxTaken as error:
        yield Check("boxes", str(error), f"a daemon has them; try another: {_ANOTHER_BOX}")
    except NoSandbox as error:
        yield Check("sandbox", str(error), "install isolate 2.6 or newer, or run as root; see the README")


def _callbacks(settings: CallbackSettings) -> Check:
    count = len(settings.secrets)
    signed = f"signed, with {count} secret{'s' if count > 1 else ''}"
    return Check("callbacks", signed if count else "NOT signed: no secret is set")


async def _broker(settings: Settings) -> Check:
    wanted = topology.queues(settings.broker, settings.callbacks)
    try:
        async with connect(settings.broker, "verdictd check") as connection:
            await topology.declare(connection, settings.broker, wanted)
            return Check("broker", "connected; queues are as they should be")
    except BrokerUnavailable as error:
        return Check("broker", str(error), "start RabbitMQ, or set broker.url")


async def _host(settings: Settings, host: Judgehost) -> AsyncIterator[Check]:
    sandbox = host.sandbox
    groups = (
        "with control groups" if sandbox.control_groups else "without control groups: limits hold per process"
    )
    yield Check("sandbox", f"{sandbox.name} {sandbox.version}, {groups}")
    states = host.pool.states
    retired = [str(number) for number, state in states.items() if state is BoxState.RETIRED]
    if retired:
        remedy = "see box.retired in the log; isolate --box-id=N --cleanup as the user who made the box"
        yield Check("boxes", f"cannot be cleaned: {', '.join(retired)}", remedy)
    else:
        yield Check("boxes", f"{len(states)} clean: {min(states)} to {max(states)}")
    with_reference = [language for language in host.registry.available if language.reference is not None]
    for checked in await asyncio.gather(
        *(_language(settings, host, language) for language in with_reference)
    ):
        yield checked


async def _language(settings: Settings, host: Judgehost, language: Language) -> Check:
    """Judge the language's reference program, which prints 42."""
    name = f"language {language.name}"
    model = submission_model(settings.limits)
    submission = model(
        language=language.name,
        source_code=language.reference or "",
        expected_output=b"42",
        cpu_time_limit=min(10.0, settings.limits.cpu_time_limit.max),
    )
    try:
        result = await host.judge.judge(host.admission.admit(submission))
    except (SandboxBroken, InvalidSubmission) as error:
        return Check(name, str(error), "see the sandbox")
    if result.status is Status.ACCEPTED:
        version = result.language.version if result.language else None
        return Check(name, f"{version or 'unknown version'}; {result.time:.3f} s, {result.memory} KiB")
    said = (result.compile_output or result.stderr)[-300:]
    return Check(name, f"{result.status}: {result.message} {said}", "repair its installation, or remove it")
