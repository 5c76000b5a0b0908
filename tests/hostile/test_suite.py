"""Every hostile submission, then ordinary ones, then a look at the host: against whole daemons."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hostile.cases import CANARY_WORDS, CASES, Case
from judging.conftest import OWN_LANGUAGES
from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.processes import alive
from support.web import Site, site

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

ORDINARY = 20


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that no program may read or change; a read would set its time of access."""
    file = tmp_path / "canary"
    file.write_text(CANARY_WORDS)
    file.chmod(0o666)
    os.utime(file, (1_000, 2_000))
    return file


@pytest.fixture(params=["always", "never"])
async def served(
    request: pytest.FixtureRequest, isolate: str, amqp_url: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """A daemon with two boxes of each sandbox, with control groups and without."""
    if request.param == "always" and isolate != "embedded":
        pytest.skip("isolate has control groups in the virtual machine only")
    (tmp_path / "languages.toml").write_text(OWN_LANGUAGES)
    settings = {
        "broker__url": amqp_url,
        "sandbox__isolate": isolate,
        "sandbox__boxes": "2",
        "sandbox__control_groups": request.param,
        "sandbox__retire_s": "1",
        "judge__languages_file": str(tmp_path / "languages.toml"),
    }
    async with site(tmp_path / "log", **settings) as served:
        yield served


async def test_no_submission_harms_the_host_or_its_neighbours(
    served: Site, amqp_url: str, canary: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each gets a verdict that fits, ordinary ones after them get theirs, and all boxes are in use."""
    own = str(os.getpid())  # tells the processes of this test from those of others
    replaced = {"{canary}": str(canary), "98761": f"98761{own}"}
    async with peer(amqp_url) as client:
        began_s = time.monotonic()
        results = await judged(client, [submission(case, replaced) for case in CASES])
        took_s = time.monotonic() - began_s
        ordinary = await judged(client, [ordinary_submission(number) for number in range(ORDINARY)])
    states = await settled(served)
    times = (canary.stat().st_atime, canary.stat().st_mtime)
    wrong = [
        f"{case.group}: {case.name}: {result['status']} {result['message']} {result['stderr'][:200]}"
        for case, result in zip(CASES, results, strict=True)
        if result["status"] not in case.verdicts
        or not case.check(result)
        or CANARY_WORDS in json.dumps(result)
    ]
    for case, result in zip(CASES, results, strict=True):
        record_property("hostile", (case.group, case.name, result["status"], result["wall_time"]))
    record_property("hostile", ("all", f"{len(CASES)} cases", "", took_s))

    assert [] == wrong
    assert ["accepted", "wrong_answer"] * (ORDINARY // 2) == [result["status"] for result in ordinary]
    assert {"free"} == states
    assert (CANARY_WORDS, 1_000, 2_000) == (canary.read_text(), *times)
    assert [] == alive(["sleep", f"98761{own}"])


def submission(case: Case, replaced: dict[str, str]) -> dict[str, Any]:
    """Return the submission of a case, with what differs from run to run."""
    source = case.source
    for old, new in replaced.items():
        source = source.replace(old, new)
    return {"language": case.language, "source_code": source} | case.fields


def ordinary_submission(number: int) -> dict[str, Any]:
    """Return one that is accepted, or every other time one that is wrong."""
    source = f"echo {number}" if number % 2 == 0 else "echo wrong"
    return {"language": "bash", "source_code": source, "expected_output": f"{number}"}


async def judged(client: Peer, submissions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Publish submissions and return their results in the same order."""
    bodies = [json.dumps(one | {"metadata": {"number": n}}).encode() for n, one in enumerate(submissions)]
    for number, body in enumerate(bodies):
        await client.publish(SUBMISSIONS, body, correlation_id=str(number))
    found: dict[int, dict[str, Any]] = {}
    async with asyncio.timeout(500):
        while len(found) < len(submissions):
            message = await client.take(RESULTS, 120)
            found[int(message.correlation_id or "")] = json.loads(message.body)
    return [found[number] for number in range(len(submissions))]


async def settled(served: Site) -> set[str]:
    """Wait until no box is busy or being reset; return the states of all."""
    async with asyncio.timeout(60):
        while True:
            states = {box["state"] for box in (await served.get("/status"))[1]["boxes"]}
            if states.isdisjoint({"busy", "resetting"}):
                return states
            await asyncio.sleep(0.05)
