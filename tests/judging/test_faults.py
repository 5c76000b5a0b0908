"""A sandbox that fails: never a verdict, and no box is lost. A script in front of a real one injects it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from judging.faulty_hosts import CHECKER, ON_INIT, ON_RUN, Open, judge, result_of, settings_of
from support.boxes import boxes
from support.faulty import Faulty
from support.waiting import wait_until
from verdictd import metrics
from verdictd.contract.result import Cause, Status
from verdictd.contract.submission import submission_model
from verdictd.errors import SandboxBroken, SandboxUnusable
from verdictd.judging.judgehost import Judgehost, open_judgehost
from verdictd.sandbox import box as box_module
from verdictd.sandbox import disk as disk_module
from verdictd.sandbox.model import BoxId
from verdictd.sandbox.pool import BoxState
from verdictd.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    return Faulty(tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def numbers() -> Iterator[range]:
    """The numbers of two boxes."""
    with boxes(2) as numbers:
        yield numbers


@pytest.fixture(scope="module")
async def host(faulty: Faulty, numbers: range) -> AsyncIterator[Judgehost]:
    """One host with two boxes of the faulty sandbox, for all tests."""
    async with open_judgehost(settings_of(faulty, numbers)) as host:
        yield host


@pytest.fixture
def opened(host: Judgehost, faulty: Faulty) -> Open:
    """Lend the host with all its boxes free; its sandbox works again when the block ends."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Judgehost]:
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})
        try:
            yield host
        finally:
            faulty.work_again()

    return opened


def faults() -> float:
    """Return the number of faults that the metric has counted so far."""
    samples = (sample for metric in metrics.SANDBOX_FAULTS.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def failure(host: Judgehost) -> type[SandboxBroken]:
    """Return the error that judging ends with."""
    with pytest.raises(SandboxBroken) as raised:
        await judge(host)
    return raised.type


@pytest.mark.parametrize(
    "fault",
    [
        ON_RUN.format("echo 'Cannot create mount' >&2; exit 2"),
        ON_RUN.format("kill -9 $$"),
        ON_RUN.format("exit 0"),
        ON_RUN.format('for a; do case $a in --meta=*) echo garbage > "${a#--meta=}" ;; esac; done; exit 0'),
    ],
)
async def test_sandbox_that_fails_is_our_fault_until_it_works_again(
    opened: Open, faulty: Faulty, fault: str
) -> None:
    """A fault never gives a verdict, and boxes are leased again when its cause is gone.

    Who has cost a box is told so, also with the last one; who has not, that there is none.
    """
    async with opened() as host:
        faulty.do_instead(fault)
        broken = [await failure(host) for _ in range(2)]
        with pytest.raises(SandboxUnusable, match="no box is usable"):
            await judge(host)
        faulty.work_again()
        await wait_until(lambda: host.pool.usable)
        statuses = await asyncio.gather(*(judge(host) for _ in range(2)))

    assert [SandboxBroken, SandboxBroken] == broken
    assert [Status.ACCEPTED] * 2 == statuses


async def test_sandbox_that_hangs_is_ended_at_the_deadline(
    opened: Open, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An isolate that hangs before its own timers start is ended by ours."""
    monkeypatch.setattr(box_module, "_RUN_ALLOWANCE_S", 0.5)
    async with opened() as host:
        faulty.do_instead(ON_RUN.format('[[ "$*" == *main.sh* ]] && exec sleep 300'))
        started = time.monotonic()
        with pytest.raises(SandboxBroken, match=r"did not end within 1\.5 s"):
            await judge(host, wall_time_limit=1)
        took_s = time.monotonic() - started
        faulty.work_again()

        assert Status.ACCEPTED == await judge(host)
    assert took_s < 30


async def test_sandbox_that_is_gone_from_disk_is_our_fault(opened: Open, faulty: Faulty) -> None:
    """A removed executable stops the judging, and does not judge."""
    async with opened() as host:
        faulty.vanish()
        with pytest.raises(SandboxUnusable, match="cannot start"):
            await judge(host)
        faulty.come_back()

        assert Status.ACCEPTED == await judge(host)


async def test_box_that_cannot_be_reset_is_retired_and_comes_back(
    opened: Open, faulty: Faulty, numbers: range
) -> None:
    """The verdict stands, the other box goes on, and the retired one is tried again until it works."""
    async with opened() as host:
        faulty.do_instead(f'[[ "$*" == *--box-id={numbers.start}\\ * ]] && ' + ON_INIT.format("exit 2"))
        first = await asyncio.gather(judge(host), judge(host))
        await wait_until(lambda: sorted(host.pool.states.values()) == [BoxState.FREE, BoxState.RETIRED])
        second = [await judge(host) for _ in range(3)]
        faulty.work_again()
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})

    assert [Status.ACCEPTED] * 5 == [*first, *second]


async def test_box_that_proves_itself_is_used_again_at_once(opened: Open, faulty: Faulty) -> None:
    """A sandbox that fails for one program, but not for the probe, does not stop judging."""
    async with opened() as host:
        faulty.do_instead(ON_RUN.format('[[ "$*" == *main.sh* ]] && kill -9 $$'))
        with pytest.raises(SandboxBroken) as failure:
            await judge(host)
        states = set(host.pool.states.values())
        faulty.work_again()

        assert Status.ACCEPTED == await judge(host)
    assert (SandboxBroken, {BoxState.FREE}) == (type(failure.value), states)


CHILDREN = "Error parsing /proc/7/task/7/children: unexpected children found"


def fails_for(file: str, times: int, counted: Path, *, after: int = 0) -> str:
    """Let the sandbox fail so often for commands with this file, after as many that it runs."""
    return f"""[[ "$*" == *{file}* ]] && echo >> {counted} && count=$(wc -l < {counted}) &&
        (( count > {after} && count <= {after + times} )) && {{ echo "{CHILDREN}" >&2; exit 2; }}"""


@pytest.mark.parametrize("boxes_in_use", [0, 1], ids=["another box", "the same box"])
async def test_run_that_could_not_begin_is_begun_again(
    opened: Open, faulty: Faulty, tmp_path: Path, boxes_in_use: int
) -> None:
    """Two passing faults of the sandbox cost a box each, not an attempt; they are counted as faults."""
    before = faults()
    async with opened() as host, AsyncExitStack() as leases:
        for _ in range(boxes_in_use):
            await leases.enter_async_context(host.pool.lease())
        faulty.do_instead(fails_for("main.sh", 2, tmp_path / "count"))

        assert Status.ACCEPTED == await judge(host)
    assert 2 == faults() - before


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_steps_before_a_fault_are_not_repeated(
    opened: Open, faulty: Faulty, tmp_path: Path, after: int
) -> None:
    """One compilation and three runs are done once each, whichever of them the sandbox fails to begin."""
    counted = tmp_path / "count"
    async with opened() as host:
        faulty.do_instead(fails_for("main", 2, counted, after=after))
        result = await result_of(host, "c", "int main(void) { return 0; }", number_of_runs=3)

    assert (Status.ACCEPTED, 3) == (result.status, result.runs and result.runs.count)
    assert 4 + 2 == len(counted.read_text().splitlines())


async def test_faults_of_several_runs_do_not_add_up(opened: Open, faulty: Faulty, tmp_path: Path) -> None:
    """Every second run cannot begin, and still all three come to their end; three faults in one end it."""
    counted = tmp_path / "count"
    async with opened() as host:
        faulty.do_instead(
            f'[[ "$*" == *main.sh* ]] && echo >> {counted} && (( $(wc -l < {counted}) % 2 )) && exit 2'
        )
        result = await result_of(host, "bash", "echo fine", number_of_runs=3)

    assert (Status.ACCEPTED, 3) == (result.status, result.runs and result.runs.count)


async def test_run_that_never_begins_is_a_fault(opened: Open, faulty: Faulty, tmp_path: Path) -> None:
    """After three boxes it is raised, so that the submission goes back to the queue; no box is lost."""
    counted = tmp_path / "count"
    before = faults()
    async with opened() as host:
        faulty.do_instead(fails_for("main.sh", 99, counted))
        with pytest.raises(SandboxBroken, match="unexpected children found"):
            await judge(host)
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})
    assert 3 == len(counted.read_text().splitlines()) == faults() - before


def breaks_for_good(folder: Path, numbers: Sequence[int]) -> str:
    """Let a box never work again once it is to make one of these runs, counted over all boxes."""
    at_one = " || ".join(f"count == {number}" for number in numbers)
    return f"""all="$*"; box=${{all#*--box-id=}}; lost={folder}/lost-${{box%% *}}
        [[ $all == *main.sh* ]] && echo >> {folder}/count && count=$(wc -l < {folder}/count) &&
        (( {at_one} )) && touch $lost; [ -e $lost ] && exit 2"""


TESTS = [{"stdin": str(number)} for number in range(5)]


async def test_box_that_is_lost_in_a_test_costs_that_test_another_box(
    opened: Open, faulty: Faulty, tmp_path: Path
) -> None:
    """The tests that are decided stay so."""
    async with opened() as host:
        faulty.do_instead(breaks_for_good(tmp_path, [4]))
        result = await result_of(host, "bash", "cat", tests=TESTS)
        retired = list(host.pool.states.values()).count(BoxState.RETIRED)
        faulty.work_again()

    assert ([Status.ACCEPTED] * 5, 1) == ([test.status for test in result.tests], retired)
    assert 5 + 1 == len((tmp_path / "count").read_text().splitlines())


@pytest.mark.parametrize(
    ("spare_boxes", "runs"),
    [(0, [4]), (1, [1]), (1, [2, 3])],
    ids=["none to spare", "before any test", "the second one"],
)
async def test_few_boxes_are_lost_to_a_submission(
    opened: Open, faulty: Faulty, tmp_path: Path, spare_boxes: int, runs: list[int]
) -> None:
    """It goes back to the queue before it has cost more than it may."""
    async with opened() as host:
        faulty.do_instead(breaks_for_good(tmp_path, runs))
        fields: dict[str, Any] = {"language": "bash", "source_code": b"cat", "tests": TESTS}
        submission = submission_model(Settings().limits)(**fields)
        with pytest.raises(SandboxBroken) as raised:
            await host.judge.judge(host.admission.admit(submission), spare_boxes=spare_boxes)
        retired = list(host.pool.states.values()).count(BoxState.RETIRED)
        faulty.work_again()

    assert (SandboxBroken, len(runs)) == (raised.type, retired)


MEASURED = "status:XX\\nmessage:proc stat syntax error 2\\nkilled:1\\ntime:0.100\\ntime-wall:0.101\\n"


@pytest.mark.parametrize(
    ("step", "status", "breaker"),
    [
        ("main.c", Status.COMPILATION_ERROR, "compiler"),
        ("/main", Status.RUNTIME_ERROR_OTHER, "program"),
    ],
)
async def test_program_that_breaks_every_sandbox_is_answered(
    opened: Open, faulty: Faulty, step: str, status: Status, breaker: str
) -> None:
    """The sandbox fails while it runs, and works before and afterwards: the fault is the program's own."""
    before = faults()
    async with opened() as host:
        faulty.do_instead(
            f"""[[ "$*" == *{step} || "$*" == *{step}\\ * ]] && for a; do
            case $a in --meta=*) printf '{MEASURED}' > "${{a#--meta=}}"; exit 2 ;; esac; done"""
        )
        result = await result_of(host, "c", "int main(void) { return 0; }")
    message = f"The {breaker} breaks its sandbox: the sandbox exited with 2: 'proc stat syntax error 2'."

    assert (status, Cause.SANDBOX, message) == (result.status, result.cause, result.message)
    assert (3, None) == (faults() - before, result.time)


async def test_checker_that_could_not_begin_is_asked_again(
    opened: Open, faulty: Faulty, numbers: range, tmp_path: Path
) -> None:
    """The run is repeated too, in another place, and counts once; the companion works again afterwards."""
    async with opened() as host:
        faulty.do_instead(fails_for("data/output", 2, tmp_path / "count"))
        result = await result_of(host, "bash", "echo fine", checker=CHECKER, number_of_runs=2)
        after = await result_of(host, "bash", "echo fine", checker=CHECKER)
        await wait_until(lambda: host.pool.states == dict.fromkeys(numbers, BoxState.FREE))

    assert (Status.ACCEPTED, "asked", 2) == (
        result.status,
        result.checker_message,
        result.runs and result.runs.count,
    )
    assert (Status.ACCEPTED, "asked") == (after.status, after.checker_message)


async def test_companion_that_cannot_be_reset_retires_its_place(
    opened: Open, faulty: Faulty, numbers: range
) -> None:
    """Until both boxes of the place work again; other places go on."""
    second = range(numbers.stop, numbers.stop + len(numbers))
    async with opened() as host:
        for _ in numbers:
            await result_of(host, "bash", "", checker=CHECKER)
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})
        faulty.do_instead(f'[[ "$*" == *--box-id={second.start}\\ * ]] && ' + ON_INIT.format("exit 2"))
        async with host.pool.lease(), host.pool.lease():
            pass  # neither companion was used, so neither is reset
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})
        first = [(await result_of(host, "bash", "", checker=CHECKER)).status for _ in numbers]
        await wait_until(lambda: host.pool.states[BoxId(numbers.start)] is BoxState.RETIRED)
        others = [(await result_of(host, "bash", "", checker=CHECKER)).status for _ in range(2)]
        faulty.work_again()
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})

    assert [Status.ACCEPTED] * 4 == [*first, *others]


async def test_checker_that_breaks_every_sandbox_is_a_fault_of_the_problem(
    opened: Open, faulty: Faulty
) -> None:
    """It is never held against the program that was submitted."""
    async with opened() as host:
        faulty.do_instead(
            f"""[[ "$*" == *data/output* ]] && for a; do
            case $a in --meta=*) printf '{MEASURED}' > "${{a#--meta=}}"; exit 2 ;; esac; done"""
        )
        result = await result_of(host, "bash", "echo fine", checker=CHECKER)

    assert (Status.INTERNAL_ERROR, Cause.CHECKER) == (result.status, result.cause)
    assert "The checker breaks its sandbox: the sandbox exited with 2" in result.message


INTERACTOR = {"language": "bash", "source_code": "echo 1; read -r said; exit 42", "protocol": "kattis"}
TALKS = "read -r said; echo $said"
OF_INTERACTOR, OF_PROGRAM = '[[ "$*" == *data/input* ]]', '[[ "$*" == */pipes/in*main.sh ]]'


@pytest.mark.parametrize(("box", "fault"), [(OF_INTERACTOR, "exit 2"), (OF_PROGRAM, "kill -9 $$")])
async def test_fault_of_either_sandbox_lets_both_begin_again(
    opened: Open, faulty: Faulty, box: str, fault: str
) -> None:
    """In other boxes; the one that waits for the other is ended."""
    before = faults()
    async with opened() as host:
        faulty.do_instead(f"{box} && rm ${{BASH_SOURCE[0]}} && {fault}")
        async with asyncio.timeout(30):
            result = await result_of(host, "bash", TALKS, interactor=INTERACTOR, wall_time_limit=60)

    assert (Status.ACCEPTED, 1) == (result.status, faults() - before)


@pytest.mark.parametrize(
    ("box", "decided", "breaker"),
    [
        (OF_INTERACTOR, (Status.INTERNAL_ERROR, Cause.CHECKER), "interactor"),
        (OF_PROGRAM, (Status.RUNTIME_ERROR_OTHER, Cause.SANDBOX), "program"),
    ],
)
async def test_one_of_both_that_breaks_every_sandbox_is_named(
    opened: Open, faulty: Faulty, box: str, decided: tuple[Status, Cause], breaker: str
) -> None:
    """The other one has nothing to do with it."""
    async with opened() as host:
        faulty.do_instead(
            f"""{box} && for a; do
            case $a in --meta=*) printf '{MEASURED}' > "${{a#--meta=}}"; exit 2 ;; esac; done"""
        )
        result = await result_of(host, "bash", TALKS, interactor=INTERACTOR)

    assert decided == (result.status, result.cause)
    assert f"The {breaker} breaks its sandbox" in result.message


async def test_full_disk_is_our_fault(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure on a full disk gives no verdict, and no box is leased until there is room."""
    async with opened() as host:
        with monkeypatch.context() as patch:
            patch.setattr(disk_module, "_LEAST_FREE_BYTES", 2**62)
            patch.setattr(disk_module, "_ROOM_S", 0.1)
            with pytest.raises(SandboxBroken, match=r"the disk of .* is full"):
                await judge(host)
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})

        assert Status.ACCEPTED == await judge(host)


async def test_cancelled_judging_gives_its_box_back(opened: Open) -> None:
    """A submission that is given up leaves a clean box and no process."""
    async with opened() as host:
        for _ in range(2):
            task = asyncio.ensure_future(judge(host, "sleep 5"))
            await wait_until(lambda: BoxState.LEASED in host.pool.states.values())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await wait_until(lambda: set(host.pool.states.values()) == {BoxState.FREE})

        assert Status.ACCEPTED == await judge(host)
