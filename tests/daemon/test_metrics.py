"""What Prometheus reads: each metric moves by what really happens, and by no more."""

import json
import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.amqp import RESULTS, SUBMISSIONS, Peer, peer
from support.broker import Broker
from support.faulty import Faulty
from support.metrics import Scrape, reached, scrape
from support.receiver import SECRET, Receiver, answers
from support.web import Site, listening, site
from verdictd.contract.result import Result, Status

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CONTEST = "verdictd.contest"


@pytest.fixture(scope="module")
def url(broker: Broker) -> str:
    """The virtual host that the tests of this module share."""
    return broker.fresh_vhost()


@pytest.fixture(scope="module")
async def served(url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A daemon for tests that leave nothing in its queues."""
    log = tmp_path_factory.mktemp("metrics") / "daemon.log"
    queues = json.dumps([{"name": SUBMISSIONS}, {"name": CONTEST, "weight": 8}])
    async with site(log, broker__url=url, broker__queues=queues) as served:
        yield served


@pytest.fixture
async def client(url: str) -> AsyncIterator[Peer]:
    async with peer(url) as client:
        yield client


def submission(language: str, source: str, **fields: Any) -> bytes:
    own = {"id": str(uuid.uuid4()), "language": language, "source_code": source}
    return json.dumps(own | fields).encode()


async def judged(client: Peer, body: bytes, *, queue: str = SUBMISSIONS, **properties: Any) -> Result:
    await client.publish(queue, body, **properties)
    return Result.model_validate_json((await client.take(RESULTS)).body)


async def settled(served: Site, before: Scrape, count: int = 1) -> Scrape:
    """A scrape after so many more deliveries were settled: nothing that a test sent counts in the next."""
    name = "verdictd_deliveries_total"
    return await reached(served, before.value(name, queue=SUBMISSIONS) + count, name, queue=SUBMISSIONS)


@pytest.mark.parametrize(
    ("language", "status", "counted_as"),
    [
        ("py", Status.RUNTIME_ERROR_NZEC, "python"),
        ("bash", Status.RUNTIME_ERROR_NZEC, "bash"),
        ("\x1b[2J", Status.INVALID_SUBMISSION, ""),
    ],
)
async def test_answer_counts_by_language_and_status(
    served: Site, client: Peer, language: str, status: Status, counted_as: str
) -> None:
    """Once for each answer, under the language's own name: a sender cannot make series."""
    before = await scrape(served)
    result = await judged(client, submission(language, "exit(3)" if language == "py" else "exit 3"))
    after = await settled(served, before)
    labels = {"language": counted_as, "status": status}

    assert status == result.status
    assert before.value("verdictd_submissions_total", **labels) + 1 == after.value(
        "verdictd_submissions_total", **labels
    )
    assert before.value("verdictd_submissions_total") + 1 == after.value("verdictd_submissions_total")


async def test_stages_and_settlements_are_measured(served: Site, client: Peer) -> None:
    """Two runs are two observations of the stage; what is not compiled has no build."""
    before = await scrape(served)
    await judged(client, submission("bash", "sleep 0.2", number_of_runs=2))
    after = await settled(served, before)

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    counts = {
        stage: more("verdictd_stage_duration_seconds_count", stage=stage)
        for stage in ("wait", "build", "run", "reply")
    }
    assert {"wait": 1, "build": 0, "run": 2, "reply": 1} == counts
    assert 0.4 <= more("verdictd_stage_duration_seconds_sum", stage="run") < 20
    assert 1 == more("verdictd_deliveries_total", queue=SUBMISSIONS, settlement="ack")


async def test_queues_are_told_apart(served: Site, client: Peer) -> None:
    """By metrics and by the status; what comes over HTTP goes to the first one."""
    before = await scrape(served)
    await judged(client, submission("bash", "true"), queue=CONTEST, timestamp=datetime.now(UTC))
    assert 200 == (await served.post({"language": "bash", "source_code": "true"}, wait=True))[0]
    name = "verdictd_deliveries_total"
    after = await reached(served, before.value(name, queue=CONTEST) + 1, name, queue=CONTEST)
    after = await settled(served, before)
    _, status = await served.get("/status")

    counts = ("verdictd_deliveries_total", "verdictd_queue_time_seconds_count")
    more = {
        queue: [after.value(count, queue=queue) - before.value(count, queue=queue) for count in counts]
        for queue in (SUBMISSIONS, CONTEST)
    }
    assert {SUBMISSIONS: [1, 1], CONTEST: [1, 1]} == more
    assert [(SUBMISSIONS, 1), (CONTEST, 8)] == [
        (queue["name"], queue["weight"]) for queue in status["queues"]
    ]
    assert [0, 0] == [
        after.value(name, queue=CONTEST)
        for name in ("verdictd_queue_messages", "verdictd_queue_oldest_seconds")
    ]


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
async def test_compiling_is_a_stage_of_its_own(served: Site, client: Peer) -> None:
    """The time of the compiler is not that of the program."""
    before = await scrape(served)
    await judged(client, submission("c", "int main(void) { return 0; }"))
    after = await settled(served, before)
    name = "verdictd_stage_duration_seconds_count"

    assert before.value(name, stage="build") + 1 == after.value(name, stage="build")


async def test_invalid_submissions_count_by_how_they_came(served: Site, client: Peer) -> None:
    """Over AMQP it is answered, over HTTP it is refused; both count once."""
    before = await scrape(served)
    await judged(client, b"{}")
    assert 422 == (await served.post(b"{}"))[0]
    after = await settled(served, before)
    name = "verdictd_invalid_submissions_total"

    assert before.value(name, source="amqp") + 1 == after.value(name, source="amqp")
    assert before.value(name, source="http") + 1 == after.value(name, source="http")
    dead = {"queue": SUBMISSIONS, "settlement": "dead_letter"}
    assert 1 == after.value("verdictd_deliveries_total", **dead) - before.value(
        "verdictd_deliveries_total", **dead
    )


async def test_time_in_the_queue_is_measured_where_it_is_known(served: Site, client: Peer) -> None:
    """From the publisher's timestamp; a message without one says nothing."""
    before = await scrape(served)
    await judged(client, submission("bash", ""), timestamp=1_700_000_000)
    await judged(client, submission("bash", ""))
    after = await settled(served, before, 2)

    assert before.value("verdictd_queue_time_seconds_count") + 1 == after.value(
        "verdictd_queue_time_seconds_count"
    )
    assert after.value("verdictd_queue_time_seconds_sum") > 90_000_000


async def test_states_are_those_of_readyz_and_status(served: Site) -> None:
    """All boxes are in one state each, and a daemon that judges says so."""
    found = await reached(served, 1, "verdictd_event_loop_lag_seconds_count")
    status = (await served.get("/status"))[1]
    states = ("free", "leased", "resetting", "retired")

    assert 1 == sum(found.value("verdictd_boxes", state=state) for state in states)
    assert (1, 1, 0) == tuple(
        found.value(f"verdictd_{name}") for name in ("ready", "broker_connected", "draining")
    )
    assert 1 == found.value("verdictd_consuming", queue=SUBMISSIONS)
    assert 1 == found.value("verdictd_info", version=status["versions"]["verdictd"], sandbox="embedded")
    assert found.value("process_resident_memory_bytes") > 10_000_000


async def test_daemon_without_a_broker_is_not_ready(tmp_path: Path) -> None:
    """The metrics are there before the broker is."""
    away = {"broker__url": "amqp://guest:guest@127.0.0.1:1/"}
    async with listening(tmp_path / "log", **away) as served:
        found = await scrape(served)

    assert (0, 0, 0) == tuple(
        found.value(f"verdictd_{name}") for name in ("ready", "broker_connected", "consuming")
    )


async def test_retired_box_is_a_fault_of_its_kind(amqp_url: str, tmp_path: Path) -> None:
    """It is counted, and so is what becomes of the delivery; the log says whose program it was, and where."""
    faulty = Faulty(tmp_path)
    own = {"sandbox__isolate": str(faulty.path), "sandbox__retire_s": "1"}
    async with site(tmp_path / "log", broker__url=amqp_url, **own) as served, peer(amqp_url) as client:
        faulty.do_instead('[[ "$*" == *--run* ]] && exit 2')
        sent = submission("bash", "echo 42")
        await client.publish(SUBMISSIONS, sent)
        await reached(served, 2, "verdictd_sandbox_faults_total", kind="run")  # the box's proof fails too
        faulty.work_again()
        result = Result.model_validate_json((await client.take(RESULTS)).body)
        found = await reached(served, 1, "verdictd_deliveries_total", settlement="ack")
        told = [*served.daemon.logged("box.retired"), *served.daemon.logged("submission.not_judged")]

    assert {(json.loads(sent)["id"], "bash")} == {(line["id"], line["language"]) for line in told}
    assert all(line["box"] for line in told)
    assert (Status.ACCEPTED, True) == (result.status, result.redelivered)
    assert found.value("verdictd_redeliveries_total") >= 1
    assert found.value("verdictd_deliveries_total", settlement="requeue") >= 1


async def test_callbacks_count_by_outcome(amqp_url: str, tmp_path: Path) -> None:
    """A try that failed, then the one that delivered; each is a delivery of its queue."""
    async with Receiver(answers(500), answers(204)).up() as receiver, peer(amqp_url) as client:
        own = {
            "callbacks__enabled": "true",
            "callbacks__secrets": SECRET,
            "callbacks__allow_networks": "127.0.0.0/8",
            "callbacks__allow_ports": str(receiver.port),
            "callbacks__retry_delays_s": "0.2",
        }
        async with site(tmp_path / "log", broker__url=amqp_url, **own) as served:
            await judged(client, submission("bash", "", callback_url=receiver.url))
            found = await reached(
                served, 2, "verdictd_deliveries_total", queue="verdictd.callbacks", settlement="ack"
            )

    assert 1 == found.value("verdictd_callbacks_total", outcome="failed")
    assert 1 == found.value("verdictd_callbacks_total", outcome="delivered")
