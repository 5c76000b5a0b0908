"""Hostile programs: two daemons on one queue bear them, and a busy one has its share of the processors."""

import re
import shlex

from harness.vm.judge_box import EMBEDDED, JudgeBox, Result, brief, require, require_isolate
from harness.vm.submissions import BUSY, HELLO, MEASURES_ITS_SHARE, SLEEP
from hostile.cases import CASES, NESTED

DAEMONS = {"verdictd@one": 0, "verdictd@two": 10}
"""Units on one queue, and the first of the two boxes that each has."""

_TREES = (NESTED.format("/box", levels=20_000), NESTED.format("/tmp", levels=20_000))  # noqa: S108 - in a box
(_RENAMED,) = (case.source for case in CASES if case.name == "a name that is not one")
_TREE = "/var/local/lib/isolate/[01]/{box,tmp/tmp}/d/d/d"
_FAIR = 4  # times the CPU time: 1.5 with equal shares on two processors, and 8.5 beside 16 equal processes

Verdict = tuple[str, str | None]  # status and cause
_ACCEPTED: Verdict = ("accepted", None)
_ORDINARY: list[tuple[Result, Verdict]] = [
    (HELLO, _ACCEPTED),
    (HELLO | {"expected_output": "41"}, ("wrong_answer", "output")),
] * 5


def two_daemons_bear_hostile_programs(box: JudgeBox) -> str:
    """With control groups isolate does not read the name of a program, so it may be any."""
    return _bear(box, "always", renamed=_ACCEPTED)


def two_daemons_bear_them_without_groups(box: JudgeBox) -> str:
    """Without control groups isolate fails in every box for a program with such a name."""
    return _bear(box, "never", renamed=("runtime_error_other", "sandbox"))


def _bear(box: JudgeBox, control_groups: str, *, renamed: Verdict) -> str:
    """Send deep trees, kill a daemon in the middle, restart both: no verdict is wrong, and no box is lost."""
    require_isolate(box)
    units, cursor = " ".join(DAEMONS), box.cursor()
    deep: Verdict = ("output_limit_exceeded", "disk")
    hostile = [(_hostile(source), deep) for source in _TREES * 3]
    beside = [*hostile, (_hostile(f"{_RENAMED}\nimport time; time.sleep(3)"), renamed), *_ORDINARY]
    after = [*[(SLEEP, _ACCEPTED)] * 4, *_ORDINARY]
    with box.instances(DAEMONS, f'control_groups = "{control_groups}"'):
        box.machine.run(f"systemctl start {units}")
        before = _kill_when_there_is_a_tree(box, "verdictd@one")
        _require_verdicts(box, box.publish_all([submission for submission, _ in beside]), beside)
        require(box.show("MainPID", "verdictd@one") != before, "no daemon was killed")
        back_s = box.machine.wait_until("free boxes", lambda: all(_is_free(box, unit) for unit in DAEMONS))
        box.machine.run(f"systemctl restart {units}")
        used = _require_verdicts(box, box.publish_all([submission for submission, _ in after]), after)
        require({number // 10 for number in used} == {0, 1}, f"one daemon judged nothing: boxes {used}")
        lost = [each for unit in DAEMONS for each in box.events(cursor, "box.retired", unit)]
        require(not lost, lost)
    return f"{len(beside)} judged right, all boxes free after {back_s:.0f} s, {len(after)} after restarts"


def _hostile(source: str) -> Result:
    """Return a submission with limits for a slow machine."""
    return {"language": "python", "source_code": source, "cpu_time_limit": 60, "wall_time_limit": 200}


def _kill_when_there_is_a_tree(box: JudgeBox, unit: str) -> str:
    """Kill the daemon as soon as there is a tree in one of its boxes; return the process that it is now."""
    pid = box.show("MainPID", unit)
    wait = f"until ls -d {_TREE} 2>/dev/null | grep -q .; do sleep 0.1; done"
    box.machine.run(f"systemd-run --quiet --collect bash -c {shlex.quote(f'{wait}; kill -KILL {pid}')}")
    return pid


def _require_verdicts(box: JudgeBox, ids: list[str], published: list[tuple[Result, Verdict]]) -> set[int]:
    """Collect the results, and return the boxes that they come from."""
    results = box.collect(ids)
    wanted = dict(zip(ids, (verdict for _, verdict in published), strict=True))
    wrong = [
        brief(result) for result in results if (result["status"], result["cause"]) != wanted[result["id"]]
    ]
    require(not wrong, wrong)
    return {result["worker"]["box"] for result in results}


def _is_free(box: JudgeBox, unit: str) -> bool:
    """Return True if no box is busy, resets, or rests."""
    return bool(re.match(r"judging: 0 of 2 boxes busy, \d+ answered", box.show("StatusText", unit)))


def busy_box_has_its_share_in_isolate(box: JudgeBox) -> str:
    """The boxes of isolate share the processors, whatever is in them."""
    require_isolate(box)
    return _share(box)


def busy_box_has_its_share_in_embedded(box: JudgeBox) -> str:
    """So do those of the embedded sandbox, in the groups that are delegated to the service."""
    with box.drop_in(EMBEDDED):
        box.start()
        found = _share(box)
    box.start()
    return found


def _share(box: JudgeBox) -> str:
    ids = box.publish_all([BUSY, MEASURES_ITS_SHARE])
    busy, innocent = sorted(box.collect(ids), key=lambda result: ids.index(result["id"]))
    require(busy["status"] == "time_limit_exceeded", brief(busy))
    require(innocent["status"] == "accepted", brief(innocent))
    require(busy["finished_at"] > innocent["finished_at"], "the busy program ended too early")
    ratio = float(innocent["stdout"])
    require(ratio < _FAIR, f"beside 16 busy sessions a program takes {ratio:.1f} times its CPU time")
    return f"beside 16 busy sessions a program takes {ratio:.1f} times its CPU time"
