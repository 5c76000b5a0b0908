"""Every hostile submission, then ordinary ones, then a look at the host: against whole daemons."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from hostile.cases import CANARY_WORDS, CASES, Case
from hostile.messages import DECOY, RECEIVERS, Message, all_messages
from judging.conftest import OWN_LANGUAGES
from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, peer
from support.processes import alive
from support.receiver import Receiver, answers, never_answers
from support.waiting import wait_until
from support.web import Site, site
from verdictd.contract.result import Status

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

ORDINARY = 20
WATCHED = {
    "fork bomb in C",
    "ignores all signals",
    "a name that is not one",
    "16 busy children",
    "children that nobody waits for",
    "all memory touched",
    "files in /dev/shm",
    "memory in a file without a name",
    "children together",
    "streams opened again and again",
    "pipes filled the wrong way",
}
"""Cases in which a kernel with control groups does what verdictd itself does without them."""


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that no program may read or change; a read would set its time of access."""
    file = tmp_path / "canary"
    file.write_text(CANARY_WORDS)
    file.chmod(0o666)
    os.utime(file, (1_000, 2_000))
    return file


@pytest.fixture
async def decoys() -> AsyncIterator[list[Receiver]]:
    """Receivers of callbacks on one port; the first at an address that callbacks may not reach."""

    async def never_ends(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000)
            await writer.drain()

    decoy = Receiver(host=DECOY)
    behaviours = {
        "redirects": answers(302, f"Location: {decoy.url}"),
        "never answers": never_answers,
        "answers forever": never_ends,
        "answers 500": answers(500),
    }
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(receiver.up())
            for receiver in (
                decoy,
                *(Receiver(behaviours[name], host=host, port=decoy.port) for name, host in RECEIVERS.items()),
            )
        ]


@pytest.fixture(params=["always", "never"])
def groups(request: pytest.FixtureRequest, isolate: str) -> str:
    """The setting `sandbox.control_groups`."""
    if request.param == "always" and isolate != "embedded":
        pytest.skip("isolate has control groups in the virtual machine only")
    return str(request.param)


@pytest.fixture
def cases(groups: str, isolate: str) -> list[Case]:
    """All cases once in each sandbox; in the embedded one without control groups those that differ then."""
    if (groups, isolate) == ("never", "embedded"):
        watched = [case for case in CASES if case.name in WATCHED]
        assert len(WATCHED) == len(watched)
        return watched
    return CASES


@pytest.fixture
def messages(groups: str, isolate: str) -> list[Message]:
    """Messages once: to them it makes no difference in which sandbox others run."""
    return all_messages() if (groups, isolate) == ("never", "embedded") else []


@pytest.fixture
async def served(
    groups: str, isolate: str, decoys: list[Receiver], amqp_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """A daemon with two boxes of each sandbox, with control groups and without."""
    (tmp_path / "languages.toml").write_text(OWN_LANGUAGES)
    settings = {
        "broker__url": amqp_url,
        "sandbox__isolate": isolate,
        "sandbox__boxes": "2",
        "sandbox__control_groups": groups,
        "sandbox__retire_s": "1",
        "callbacks__enabled": "true",
        "callbacks__allow_ports": f"80 {decoys[0].port}",
        "callbacks__allow_networks": " ".join(RECEIVERS.values()),
        "callbacks__retry_delays_s": "0.2 0.4",
        "callbacks__timeout_s": "2",
        "judge__languages_file": str(tmp_path / "languages.toml"),
    }
    async with site(tmp_path / "log", **settings) as served:
        yield served


@pytest.mark.slow
async def test_no_submission_harms_the_host_or_its_neighbours(
    served: Site,
    amqp_url: str,
    canary: Path,
    *,
    cases: list[Case],
    messages: list[Message],
    decoys: list[Receiver],
    record_property: Callable[[str, object], None],
) -> None:
    """Each gets a verdict that fits, ordinary ones after them get theirs, and all boxes are in use."""
    own = str(os.getpid())  # tells the processes of this test from those of others
    replaced = {"{canary}": str(canary), "98761": f"98761{own}"}
    port = str(decoys[0].port).encode()
    async with peer(amqp_url) as client:
        began_s = time.monotonic()
        results = await judged(client, [(submission(case, replaced), {}) for case in cases])
        answers = await judged(
            client, [(one.body.replace(b"{port}", port), one.properties) for one in messages]
        )
        took_s = time.monotonic() - began_s
        ordinary = await judged(client, [(ordinary_submission(number), {}) for number in range(ORDINARY)])
        kept = await dead_letters(client, [*results, *answers])
    states = await settled(served)
    times = (canary.stat().st_atime, canary.stat().st_mtime)
    wrong = [
        f"{case.group}: {case.name}: {result['status']} {result['message']} {result['stderr'][:200]}"
        for case, result in zip(cases, results, strict=True)
        if result["status"] not in case.verdicts
        or not case.check(result)
        or CANARY_WORDS in json.dumps(result)
    ] + [
        f"{one.group}: {one.name}: {answer['status']} {answer['errors'] or answer['message']}"
        for one, answer in zip(messages, answers, strict=True)
        if not one.fits(answer)
    ]
    names = [(case.group, case.name) for case in cases] + [(one.group, one.name) for one in messages]
    for name, result in zip(names, [*results, *answers], strict=True):
        record_property("hostile", (*name, result["status"], result["wall_time"]))
    record_property("hostile", ("all", f"{len(names)} cases", "", took_s))

    assert [] == wrong
    assert ["accepted", "wrong_answer"] * (ORDINARY // 2) == [result["status"] for result in ordinary]
    assert {"free"} == states
    assert (CANARY_WORDS, 1_000, 2_000) == (canary.read_text(), *times)
    assert [] == alive(["sleep", f"98761{own}"])
    assert kept >= {one.body.replace(b"{port}", port) for one in messages if one.path is not None}
    assert await given_up(served, messages, answers)
    assert 0 == decoys[0].connections


def submission(case: Case, replaced: dict[str, str]) -> bytes:
    """Return the submission of a case, with what differs from run to run."""
    source = case.source
    for old, new in replaced.items():
        source = source.replace(old, new)
    return json.dumps({"language": case.language, "source_code": source} | case.fields).encode()


def ordinary_submission(number: int) -> bytes:
    """Return one that is accepted, or every other time one that is wrong."""
    source = f"echo {number}" if number % 2 == 0 else "echo wrong"
    return json.dumps({"language": "bash", "source_code": source, "expected_output": f"{number}"}).encode()


async def judged(client: Peer, sent: Sequence[tuple[bytes, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Publish bodies with their properties, and return the results in the same order."""
    for number, (body, properties) in enumerate(sent):
        await client.publish(SUBMISSIONS, body, correlation_id=str(number), **properties)
    found: dict[int, dict[str, Any]] = {}
    async with asyncio.timeout(500):
        while len(found) < len(sent):
            message = await client.take(RESULTS, 120)
            found[int(message.correlation_id or "")] = json.loads(message.body)
    return [found[number] for number in range(len(sent))]


async def dead_letters(client: Peer, results: list[dict[str, Any]]) -> set[bytes]:
    """Return the bodies on the dead queue, one for each invalid submission."""
    count = sum(result["status"] == Status.INVALID_SUBMISSION for result in results)
    return {(await client.take(DEAD)).body for _ in range(count)}


async def given_up(served: Site, messages: list[Message], answers: list[dict[str, Any]]) -> bool:
    """Wait until all callbacks have come to their end; return whether it is the one that is expected."""
    expected = {
        answer["id"]: one.given_up for one, answer in zip(messages, answers, strict=True) if one.given_up
    }
    await wait_until(lambda: len(served.daemon.logged("callback.given_up")) >= len(expected))
    return expected == {line["id"]: line["outcome"] for line in served.daemon.logged("callback.given_up")}


async def settled(served: Site) -> set[str]:
    """Wait until no box is busy or being reset; return the states of all."""
    async with asyncio.timeout(60):
        while True:
            states = {box["state"] for box in (await served.get("/status"))[1]["boxes"]}
            if states.isdisjoint({"busy", "resetting"}):
                return states
            await asyncio.sleep(0.05)
