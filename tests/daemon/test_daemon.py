"""The daemon as a whole: a real process between a real RabbitMQ and a real sandbox."""

import asyncio
import json
import os
import re
import signal
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.amqp import DEAD, RESULTS, SUBMISSIONS, Peer, peer
from support.boxes import own_boxes
from support.broker import Broker
from support.daemon import Daemon, daemon, launched
from support.processes import alive, sandboxes
from support.rabbitmq import PrivateBroker
from support.receiver import SECRET, Receiver, answers, never_answers
from support.waiting import wait_until
from verdictd.contract.result import Result

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SAMPLE = {
    "source_code": 'print("hello world")',
    "language": "py",
    "stdin": "",
    "expected_output": "hello world",
    "cpu_time_limit": 1,
    "memory_limit": 1000000,
    "redirect_stderr_to_stdout": True,
    "enable_network": False,
}
"""As the README of the prototype has it."""

Start = Callable[..., AbstractAsyncContextManager[Daemon]]


@pytest.fixture(scope="module")
def settings(isolate: str) -> dict[str, str]:
    """Settings of a daemon with each sandbox."""
    return {
        "sandbox__isolate": isolate,
        "sandbox__boxes": "2",
        "sandbox__retire_s": "1",
    }


@pytest.fixture
def start(settings: dict[str, str], amqp_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start a daemon on this test's own virtual host; one that follows another has the same boxes."""

    @asynccontextmanager
    async def start(name: str = "daemon", *, ready: bool = True, **changes: str) -> AsyncIterator[Daemon]:
        run = daemon if ready else launched
        async with run(tmp_path / f"{name}.log", **(own | changes)) as running:
            yield running

    with own_boxes(settings | {"broker__url": amqp_url}) as own:
        yield start


@dataclass(frozen=True, slots=True)
class Shared:
    """A daemon for tests that leave it as it was, and its virtual host."""

    daemon: Daemon
    url: str


@pytest.fixture(scope="module")
async def shared(
    settings: dict[str, str], broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shared]:
    """One daemon, beside those that tests start."""
    url = broker.fresh_vhost()
    async with daemon(tmp_path_factory.mktemp("daemon") / "log", **settings, broker__url=url) as running:
        yield Shared(running, url)


@pytest.fixture
async def user(shared: Shared) -> AsyncIterator[Peer]:
    """A publisher and consumer of the shared daemon."""
    async with peer(shared.url) as user:
        yield user


@pytest.fixture
async def client(amqp_url: str) -> AsyncIterator[Peer]:
    """A publisher and consumer."""
    async with peer(amqp_url) as client:
        yield client


async def send(client: Peer, submission: dict[str, Any] | bytes, **properties: Any) -> None:
    body = submission if isinstance(submission, bytes) else json.dumps(submission).encode()
    await client.publish(SUBMISSIONS, body, **properties)


async def send_all(client: Peer, submissions: Iterable[dict[str, Any]]) -> None:
    await client.publish_all(SUBMISSIONS, [json.dumps(submission).encode() for submission in submissions])


async def result(client: Peer) -> Result:
    return Result.model_validate_json((await client.take(RESULTS)).body)


async def results(client: Peer, count: int) -> list[Result]:
    return [await result(client) for _ in range(count)]


def bash(source: str, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "language": "bash", "source_code": source} | fields


async def test_sample_of_the_prototype_is_judged_as_it_stands(user: Peer) -> None:
    """The submission that every user of the prototype knows is accepted, with all its evidence."""
    sent_at = datetime.now(UTC).replace(microsecond=0)
    await send(user, SAMPLE, message_id="first", timestamp=sent_at)
    message = await user.take(RESULTS)
    answer = Result.model_validate_json(message.body)

    assert ("first", "accepted", 3, None) == (answer.id, answer.status, answer.status_id, answer.cause)
    assert ("hello world\n", 0, None) == (answer.stdout, answer.exit_code, answer.exit_signal)
    assert (1, False, False) == (answer.attempt, answer.redelivered, answer.duplicate)
    assert (sent_at, True) == (answer.created_at, sent_at <= answer.started_at <= answer.finished_at)
    assert answer.queue_time is not None
    assert answer.limits is not None
    assert (1, 1_000_000) == (answer.limits.cpu_time_limit, answer.limits.memory_limit)
    assert answer.language is not None
    assert ("python", True) == (answer.language.name, "3." in (answer.language.version or ""))
    assert ("first", "verdictd.result.v1") == (message.correlation_id, message.type)


async def test_result_goes_where_reply_to_says(user: Peer) -> None:
    """A consumer with a queue of its own gets its results there, with its correlation id."""
    await user.channel.declare_queue("verdictd.reply.mine", durable=True)
    await send(user, bash("echo hi"), reply_to="verdictd.reply.mine", correlation_id="42")
    message = await user.take("verdictd.reply.mine")

    assert "42" == message.correlation_id
    assert 0 == await user.count(RESULTS)


async def test_unroutable_reply_goes_to_the_results_queue_and_says_so(user: Peer) -> None:
    """A result is not lost with the queue of the one who asked for it."""
    await send(user, bash("echo hi"), reply_to="verdictd.reply.gone")
    message = await user.take(RESULTS)

    assert "verdictd.reply.gone" == message.headers["undelivered_reply_to"]


async def test_mixed_submissions_all_get_their_own_verdicts(shared: Shared, user: Peer) -> None:
    """Many submissions over two boxes: each id is answered once, with the right verdict and output."""
    sent, expected = [], {}
    for number in range(12):
        kind = number % 4
        source = [f"echo {number}", f"exit {number}", f"echo {number}; kill -SEGV $$", "echo no"][kind]
        status = ["accepted", "runtime_error_nzec", "runtime_error_sigsegv", "wrong_answer"][kind]
        sent.append(bash(source, expected_output=str(number)))
        expected[sent[-1]["id"]] = status
    await send_all(user, sent)
    answers = await results(user, len(sent))

    def logged() -> list[str]:
        lines = shared.daemon.logged("submission.answered")
        return [line["id"] for line in lines if line["id"] in expected]

    await wait_until(lambda: len(logged()) >= len(sent))  # after the result

    assert expected == {answer.id: answer.status for answer in answers}
    assert sorted(expected) == sorted(logged())


async def test_submission_sent_twice_is_judged_once_and_answered_twice(user: Peer) -> None:
    """While it runs the second attaches to it; later it gets the remembered result. Both are flagged."""
    running, finished = bash("sleep 1; date +%N"), bash("date +%N")
    await send_all(user, [running, running])
    attached = await results(user, 2)
    await send(user, finished)
    first = await result(user)
    await send(user, finished)
    again = await result(user)

    assert 1 == len({answer.stdout for answer in attached})
    assert [False, True] == sorted(answer.duplicate for answer in attached)
    assert first.stdout == again.stdout
    assert (False, True) == (first.duplicate, again.duplicate)


async def test_copies_of_a_running_submission_take_no_place(user: Peer) -> None:
    """They wait for the first, and whoever comes after them does not."""
    slow, quick = bash("sleep 2; date +%N"), bash("true")
    await send_all(user, [slow] * 8)
    await send(user, quick)
    first = await result(user)
    copies = await results(user, 8)

    assert quick["id"] == first.id
    assert 1 == len({answer.stdout for answer in copies})


async def test_id_used_again_with_another_body_is_judged(user: Peer) -> None:
    """Another body is another submission; the message tells that the id is not new."""
    await send(user, {"id": "same", "language": "bash", "source_code": "echo one"})
    one = await result(user)
    await send(user, {"id": "same", "language": "bash", "source_code": "echo two"})
    two = await result(user)

    assert ("one\n", "two\n") == (one.stdout, two.stdout)
    assert ("used before" in one.message, "used before" in two.message) == (False, True)
    assert not two.duplicate


def keepers(running: Daemon) -> list[int]:
    """The sandboxes that run submissions now, by process id."""
    return sandboxes(running.process.pid, "./main.sh")


def kill_keepers(running: Daemon) -> None:
    for keeper in keepers(running):
        os.kill(keeper, signal.SIGKILL)


async def test_drain_timeout_bounds_the_stop(start: Start, client: Peer) -> None:
    """What takes longer than the drain timeout goes back to the queue."""
    async with start(service__drain_timeout_s="1") as running:
        await send(client, bash("sleep 60", wall_time_limit=100))
        await wait_until(lambda: keepers(running))
        code = await running.end(within_s=30)
    await client.until_waiting(SUBMISSIONS, 1)

    assert 0 == code


async def test_killed_daemon_loses_nothing(start: Start, client: Peer) -> None:
    """SIGKILL under load, twice: every id is answered, and what ran is judged again by the next daemon."""
    sent = [bash(f"sleep 0.2; echo {number}") for number in range(12)]
    async with start("one") as first:
        await send_all(client, sent)
        await wait_until(lambda: len(first.logged("submission.answered")) >= 2)
        await first.end(signal.SIGKILL)
    async with start("two") as second:
        await wait_until(lambda: len(second.logged("submission.answered")) >= 2)
        await second.end(signal.SIGKILL)
    answers: dict[str, Result] = {}
    async with start("three") as third, asyncio.timeout(120):
        while len(answers) < len(sent):
            answer = await result(client)
            answers[answer.id] = answer
        code = await third.end()
    await asyncio.sleep(0.5)  # what was not settled comes back
    await client.until_waiting(SUBMISSIONS, 0)

    assert 0 == code
    expected = {submission["id"]: f"{number}\n" for number, submission in enumerate(sent)}
    assert expected == {answer_id: answer.stdout for answer_id, answer in answers.items()}


async def test_program_of_a_killed_daemon_ends_with_the_next_start(start: Start, client: Peer) -> None:
    """A new daemon takes its boxes over, programs that still run included."""
    seconds = str(uuid.uuid4().int % 10**7 + 10**6)
    async with start("one") as first:
        await send(client, bash(f"exec sleep {seconds}", wall_time_limit=300))
        await wait_until(lambda: alive(["sleep", seconds]))
        await first.end(signal.SIGKILL)
    async with start("two", judge__max_attempts="1"):
        assert not alive(["sleep", seconds])
        answer = await result(client)

    assert ("internal_error", 2, True) == (answer.status, answer.attempt, answer.redelivered)


async def test_killed_keeper_is_retried_and_never_a_verdict(start: Start, client: Peer) -> None:
    """A sandbox that dies under a program costs no attempt: the run is begun again at once."""
    async with start() as running:
        await send(client, bash("sleep 1; echo done"))
        await wait_until(lambda: keepers(running))
        kill_keepers(running)
        answer = await result(client)

    assert ("accepted", "done\n", 1) == (answer.status, answer.stdout, answer.attempt)
    assert 1 == len(running.logged("run.begun_again"))


async def test_sandbox_that_always_fails_ends_in_internal_error_and_the_dead_queue(
    start: Start, client: Peer
) -> None:
    """Bounded tries, then an honest answer: ours is the fault, and the message is kept."""
    async with start(judge__max_attempts="2") as running:
        await send(client, bash("sleep 30", wall_time_limit=60))
        ended: set[int] = set()
        for _ in range(2 * 3):  # attempts, and the boxes of each
            await wait_until(lambda: {*keepers(running)} - ended)
            ended.update(keepers(running))
            kill_keepers(running)
        answer = await result(client)
        dead = await client.take(DEAD)

    assert ("internal_error", 13, "sandbox") == (answer.status, answer.status_id, answer.cause)
    assert b"sleep 30" in dead.body


async def test_killed_broker_under_load_loses_nothing(rabbitmq: PrivateBroker, tmp_path: Path) -> None:
    """Soon after RabbitMQ is back each submission is answered, few twice, and callbacks come.

    These had begun, waited for their next try, or had not begun when RabbitMQ was killed.
    """
    url = rabbitmq.fresh_vhost()
    begun, failed, other = Receiver(never_answers, answers(204)), Receiver(), Receiver()
    urls = [receiver.url for receiver in (begun, failed, *[other] * 10)]
    sent = [bash(f"sleep 1; echo {number}", callback_url=hook) for number, hook in enumerate(urls)]
    settings = {
        "broker__url": url,
        "sandbox__isolate": "embedded",
        "sandbox__boxes": "2",
        "callbacks__enabled": "true",
        "callbacks__secrets": SECRET,
        "callbacks__allow_networks": "127.0.0.0/8",
        "callbacks__allow_ports": " ".join(str(receiver.port) for receiver in (begun, failed, other)),
        "callbacks__retry_delays_s": "4 5 6",
        "callbacks__timeout_s": "8",
    }
    answers_by_id: defaultdict[str, list[str]] = defaultdict(list)
    async with begun.up(), other.up(), daemon(tmp_path / "log", **settings) as running:
        async with peer(url) as client:
            await send_all(client, sent)
            await wait_until(lambda: begun.received and running.logged("callback.failed"))
        await asyncio.to_thread(rabbitmq.kill)
        answered = len(running.logged("submission.answered"))
        await asyncio.to_thread(rabbitmq.start)
        back_s = await wait_until(lambda: times_consumed(running) >= 2)
        async with failed.up(), peer(url) as client:
            async with asyncio.timeout(120):
                while len(answers_by_id) < len(sent):
                    answer = await result(client)
                    answers_by_id[answer.id].append(answer.stdout)
            dead = await client.count(DEAD)
            await wait_until(lambda: len(begun.received) >= 2 and failed.received)
            await wait_until(lambda: len({one.headers["webhook-id"] for one in other.received}) == 10)

    expected = {submission["id"]: {f"{number}\n"} for number, submission in enumerate(sent)}
    assert expected == {answer_id: set(outputs) for answer_id, outputs in answers_by_id.items()}
    # Each of the four in work may be judged and published again.
    assert sum(map(len, answers_by_id.values())) <= len(sent) + 2 * 4
    assert (0, True, True) == (dead, answered < len(sent), back_s < 20)
    assert [sent[0]["id"], sent[1]["id"]] == [one.received[-1].verified()["id"] for one in (begun, failed)]


def times_consumed(running: Daemon) -> int:
    """Return how often RabbitMQ began to deliver submissions."""
    return sum(line["queue"] == SUBMISSIONS for line in running.logged("broker.consuming"))


async def test_second_daemon_with_the_same_boxes_refuses_to_start(start: Start) -> None:
    """Two daemons on one host never share a box: exit code 78, and the id that is taken."""
    async with start("one"), start("two", ready=False) as second:
        async with asyncio.timeout(60):
            code = await second.process.wait()
        said = second.text

    assert 78 == code
    assert re.search(r"box \d+ is in use by another daemon", said)


async def test_start_waits_for_a_broker_that_is_not_there(start: Start) -> None:
    """A daemon that comes up before RabbitMQ keeps trying, and stops in good order when told to."""
    async with start(ready=False, broker__url="amqp://guest:guest@127.0.0.1:1/") as running:
        await wait_until(lambda: len(running.logged("broker.unavailable")) >= 2)
        code = await running.end()

    assert 0 == code
