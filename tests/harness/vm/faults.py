"""Judging in each sandbox, and what happens when something breaks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.vm.judge_box import EMBEDDED, JudgeBox, brief, require, require_isolate
from harness.vm.submissions import CHILDREN_TAKE_MEMORY, GUESSES, HELLO, SLEEP, TAKES_MEMORY


def isolate_judges_with_control_groups(box: JudgeBox) -> str:
    """The set-uid isolate, started by the unprivileged daemon."""
    require_isolate(box)
    return _judges(box, "isolate")


def embedded_judges_with_control_groups(box: JudgeBox) -> str:
    """The embedded sandbox, as the unprivileged user, in the groups that are delegated to the service."""
    with box.drop_in(EMBEDDED):
        box.start()
        found = _judges(box, "embedded")
    box.start()
    return found


def isolate_judges_as_root(box: JudgeBox) -> str:
    """The variant for root."""
    require_isolate(box)
    with _as_root(box):
        return _judges(box, "isolate")


def embedded_judges_as_root(box: JudgeBox) -> str:
    """The variant for root, where each box has a user of its own."""
    with _as_root(box, EMBEDDED):
        return _judges(box, "embedded")


@contextmanager
def _as_root(box: JudgeBox, *lines: str) -> Iterator[None]:
    with box.drop_in(*lines):
        box.machine.run("/opt/verdictd/bin/verdictd systemd --write --as-root && systemctl daemon-reload")
        try:
            box.start()
            user = box.machine.run("ps -o user= -p $(systemctl show -P MainPID verdictd)")
            require(user == "root", user)
            yield
        finally:
            box.machine.run("rm -r /usr/local/lib/systemd/system/verdictd*.service.d")
    box.start()


def _judges(box: JudgeBox, sandbox: str) -> str:
    """A program that fits, one that is out of memory though none of its processes is, and one that talks."""
    fits, exceeds = box.judge(TAKES_MEMORY), box.judge(CHILDREN_TAKE_MEMORY)
    talks = box.judge(GUESSES)
    require(fits["worker"]["sandbox"] == sandbox, fits["worker"])
    require(fits["status"] == "accepted" and 40_960 <= fits["memory"] <= 100_000, brief(fits))
    require((exceeds["status"], exceeds["cause"]) == ("memory_limit_exceeded", "memory"), brief(exceeds))
    require(talks["status"] == "accepted", brief(talks))
    require(box.show("ActiveState") == "active", "the service ended with its program")
    return f"{sandbox}: accepted with {fits['memory']} KiB; memory_limit_exceeded by four children; guessed"


def watchdog_restarts_what_hangs(box: JudgeBox) -> str:
    """A daemon that is stopped is replaced, the journal has where it was, and its submissions are judged."""
    ids = box.publish(SLEEP, 3)
    box.machine.wait_until("busy boxes", lambda: "2 of 2 boxes busy" in box.show("StatusText"))
    cursor, before = box.cursor(), int(box.show("NRestarts"))
    box.machine.run("kill -STOP $(systemctl show -P MainPID verdictd)")
    took_s = box.machine.wait_until("restart", lambda: int(box.show("NRestarts")) > before)
    box.wait_for("active")
    said = " ".join(str(entry["MESSAGE"]) for entry in box.journal(cursor))
    for words in ("Watchdog timeout", "Fatal Python error: Aborted"):
        require(words in said, f"no {words!r} in the journal: {said[:1000]}")
    results = box.collect(ids)
    require({result["status"] for result in results} == {"accepted"}, [brief(result) for result in results])
    return f"restarted after {took_s:.0f} s, all {len(ids)} judged"


def stop_drains(box: JudgeBox) -> str:
    """What is in a box is finished, beyond TimeoutStopSec; what waits stays in RabbitMQ; nothing runs on."""
    with box.drop_in("TimeoutStopSec=4"):
        box.start()
        ids = box.publish(SLEEP | {"source_code": "sleep 15; echo done"}, 6)
        box.machine.wait_until("busy boxes", lambda: "2 of 2 boxes busy" in box.show("StatusText"))
        cursor, began_s = box.cursor(), time.monotonic()
        box.machine.run("systemctl stop verdictd")
        took_s = time.monotonic() - began_s
        require(box.show("Result") == "success", box.show("Result"))
        answered = box.events(cursor, "submission.answered")
        require(len(answered) == 2, f"{len(answered)} answered while it drained")
        require(box.machine.try_("pgrep -x sleep").code != 0, "a program runs on")
        box.start()
        results = box.collect(ids)
    box.start()
    require(len(results) == len(ids), f"{len(results)} results of {len(ids)}")
    return f"2 finished in {took_s:.0f} s with TimeoutStopSec=4; the others after the start"


def restarts_under_load_lose_nothing(box: JudgeBox) -> str:
    """Restarts while submissions come: each is answered once, or is marked as a duplicate."""
    ids = box.publish(HELLO, 25)
    for _ in range(2):
        box.restart()
        ids += box.publish(HELLO, 5)
    return _all_answered(box, ids)


def killed_daemon_loses_nothing(box: JudgeBox) -> str:
    """SIGKILL in the middle: systemd starts it again, no program is left over, RabbitMQ delivers again."""
    ids = box.publish(SLEEP, 4)
    box.machine.wait_until("busy boxes", lambda: "2 of 2 boxes busy" in box.show("StatusText"))
    before = box.show("MainPID")
    box.machine.run(f"kill -KILL {before}")
    box.machine.wait_until("another process", lambda: box.show("MainPID") not in {before, "0"})
    programs = box.machine.try_("pgrep -x sleep").out.split()
    box.wait_for("active")
    require(not programs, f"programs left over: {programs}")
    return _all_answered(box, ids)


def keeper_of_groups_comes_back(box: JudgeBox) -> str:
    """isolate-cg-keeper is killed, and with it all that runs: no verdict comes of that."""
    require_isolate(box)
    ids = box.publish(SLEEP | {"source_code": "sleep 15; echo done"}, 2)
    box.machine.wait_until("busy boxes", lambda: "2 of 2 boxes busy" in box.show("StatusText"))
    before = box.show("MainPID")
    box.machine.run("kill -KILL $(systemctl show -P MainPID isolate)")
    box.machine.wait_until("another process", lambda: box.show("MainPID") not in {before, "0"})
    box.wait_for("active")
    return f"{_all_answered(box, ids)}; {_judges(box, 'isolate')}"


def stopped_keeper_stops_the_service_and_starts_it(box: JudgeBox) -> str:
    """Who stops isolate.service, to upgrade it say, stops the daemon too; both come back together."""
    require_isolate(box)
    box.machine.run("systemctl stop isolate")
    require(box.show("ActiveState") == "inactive", box.show("ActiveState"))
    ids = box.publish(HELLO, 2)
    box.machine.run("systemctl start isolate")
    box.wait_for("active")
    return f"stopped with it, started with it; {_all_answered(box, ids)}"


def missing_isolate_costs_no_submission(box: JudgeBox) -> str:
    """While isolate is gone submissions wait; the status says so, and they are judged when it is back."""
    require_isolate(box)
    cursor = box.cursor()
    box.machine.run("mv /usr/local/bin/isolate /usr/local/bin/isolate.gone")
    try:
        ids = box.publish(HELLO, 2)
        box.machine.wait_until("retired boxes", lambda: "no box is usable" in box.show("StatusText"))
        text = box.show("StatusText")
        require(box.events(cursor, "box.retired"), "no box.retired in the journal")
    finally:
        box.machine.run("mv /usr/local/bin/isolate.gone /usr/local/bin/isolate")
    found = _all_answered(box, ids)
    return f"{text}; then {found}"


def deleted_queue_comes_back(box: JudgeBox) -> str:
    """The daemon declares the queue of submissions again and goes on consuming."""
    cursor = box.cursor()
    box.machine.run("rabbitmqctl -q delete_queue verdictd.submissions")
    box.machine.wait_until("consumer", lambda: box.events(cursor, "broker.consuming"))
    return f"broker.lost, then consuming again; {_all_answered(box, box.publish(HELLO))}"


def reboot_loses_nothing(box: JudgeBox) -> str:
    """What was published before a reboot is judged after it, by a service that starts by itself."""
    ids = box.publish(SLEEP, 8)
    took_s = box.machine.reboot()
    box.wait_for("active")
    return f"up after {took_s:.0f} s; {_all_answered(box, ids)}"


def _all_answered(box: JudgeBox, ids: list[str]) -> str:
    results = box.collect(ids)
    wrong = [result for result in results if result["status"] != "accepted"]
    require(not wrong, [brief(result) for result in wrong])
    more = len(results) - len(ids)
    return f"{len(ids)} of {len(ids)} accepted" + (f", {more} twice" if more else "")
