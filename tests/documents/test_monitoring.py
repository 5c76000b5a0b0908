"""The alert rules and the dashboard in systemd/ fit what a running daemon says on /metrics."""

import itertools
import json
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from support.broker import Broker
from support.metrics import reached
from support.web import site
from verdictd.contract.result import Status
from verdictd.metrics import Outcome
from verdictd.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
ALL_RULES = [
    rule
    for group in yaml.safe_load((ROOT / "systemd" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULES = [rule for rule in ALL_RULES if "alert" in rule]
RECORDED = [rule for rule in ALL_RULES if "record" in rule]
DASHBOARD = json.loads((ROOT / "systemd" / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
LEGENDS = [
    (target["expr"], target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
    if target["legendFormat"]
]

TARGET_LABELS = {"job", "instance"}
"""Prometheus gives them to every sample."""

Known = dict[str, dict[str, set[str]]]
PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool (Debian package prometheus) is missing")


def promtool(*arguments: str | Path) -> None:
    """Run promtool; what it complains about fails the test."""
    ended = subprocess.run(
        [PROMTOOL, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr


@needs_promtool
def test_rules_are_valid() -> None:
    """Prometheus would load them: expressions, durations and templates."""
    promtool("check", "rules", ROOT / "systemd" / "alerts.yml")


@needs_promtool
def test_alerts_fire_when_they_should_and_not_before() -> None:
    """Series of samples, and the alerts that they lead to; there is a case for each."""
    cases = Path(__file__).with_name("alerts.test.yml")
    promtool("test", "rules", cases)

    assert [] == [rule["alert"] for rule in RULES if f'"{rule["alert"]}"' not in cases.read_text()]


@needs_promtool
def test_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    """Grafana puts durations and choices in place of the variables."""
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, (_, query) in enumerate(QUERIES)
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "panels.yml")


@pytest.fixture(scope="module")
async def known(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """What a daemon says that has judged one submission; most series are there from the start."""
    log = tmp_path_factory.mktemp("monitoring") / "daemon.log"
    async with site(log, broker__url=broker.fresh_vhost()) as served:
        submission = {"language": "bash", "source_code": "echo 1"}
        assert 200 == (await served.post(submission, wait=True))[0]
        found = (await reached(served, 1, "verdictd_deliveries_total")).known
    found["verdictd_submissions_total"]["status"] |= set(Status)  # as they come
    return found


async def test_alerts_ask_for_what_is_there(known: Known) -> None:
    """Every metric, label and value of each, and what its text shows of them."""
    for rule in RULES:
        shown = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
        of_metrics = {label for metric in metrics(rule["expr"]) for label in known[metric]}

        assert set() == missing(rule["expr"], known), rule["alert"]
        assert set(shown) <= (kept_labels(rule["expr"]) or of_metrics | TARGET_LABELS), rule["alert"]


async def test_recording_rules_ask_for_what_is_there(known: Known) -> None:
    """Every metric, label and value of each."""
    assert {} == {rule["record"]: found for rule in RECORDED if (found := missing(rule["expr"], known))}


def metrics(query: str) -> set[str]:
    """Return the metrics of a query: names with an underscore that are not functions; `up` is not ours."""
    return set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b(?! *\()", re.sub(r'"[^"]*"', "", query)))


def kept_labels(query: str) -> set[str]:
    """Return the labels that sums and the like keep; empty where a query has none of them."""
    return {label for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(", ")}


def missing(query: str, known: Known) -> set[str]:
    """Return what a query names and no daemon says: metrics, labels, values of labels."""
    named = metrics(query)
    said = defaultdict(set, {label: {"$" + label} for label in TARGET_LABELS})
    for metric in named & known.keys():
        for label, values in known[metric].items():
            said[label] |= values
    matchers = re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', query)
    values = {f"{label}={value}" for label, words in matchers for value in words.split("|")}
    return (
        (named - known.keys())
        | (kept_labels(query) - said.keys())
        | (values - {f"{label}={value}" for label in said for value in said[label]} - {"job=verdictd"})
    )


def test_alerts_say_how_bad_it_is_and_what_to_look_at() -> None:
    """A severity, a summary of one line, and a description whose settings and log events there are."""
    sections = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        for name in field.annotation.model_fields  # type: ignore[union-attr]
    }
    sources = "".join(file.read_text() for file in (ROOT / "daemon").rglob("*.py"))
    events = set(re.findall(r'log\.\w+\(\s*"([a-z_.]+)"', sources))
    for rule in RULES:
        name, description = rule["alert"], rule["annotations"]["description"]
        named = set(re.findall(r"\b[a-z]+\.[a-z_]+\b", description)) - {"isolate.service"}

        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert "\n" not in rule["annotations"]["summary"], name
        assert len(description) > 80, name
        assert set() == named - sections - events, name


def test_alerts_have_names_of_their_own() -> None:
    """Among them those that no installation can do without."""
    names = [rule["alert"] for rule in RULES]

    assert len(names) == len(set(names))
    assert {"VerdictdDown", "VerdictdNotReady", "VerdictdInternalErrors"} <= set(names)


async def test_panels_ask_for_what_is_there(known: Known) -> None:
    """Every metric, label and value of each; only of the daemons that were chosen."""
    for title, query in QUERIES:
        assert set() == missing(query, known), title
        assert len(metrics(query)) <= query.count('{job="$job", instance=~"$instance"'), title


def test_legends_show_labels_that_are_left() -> None:
    """A label that the query sums over would be empty."""
    for query, legend in LEGENDS:
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))

        assert shown <= (kept_labels(query) or TARGET_LABELS), legend


async def test_dashboard_shows_every_metric_of_the_daemon(known: Known) -> None:
    """Whatever a daemon measures of itself can be seen somewhere."""
    shown = {metric for _, query in QUERIES for metric in metrics(query)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known if name.startswith("verdictd_")}

    assert set() == families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}


def test_panels_have_their_own_place_and_the_chosen_data_source() -> None:
    """It can be imported anywhere: no data source of ours is in it, and no panel lies on another."""
    places = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
    ]
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    sources += [
        variable["datasource"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"
    ]

    assert all(one.isdisjoint(other) for one, other in itertools.combinations(places, 2))
    assert max(x for place in places for x, _ in place) < 24
    assert len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
    assert all({"type": "prometheus", "uid": "${datasource}"} == source for source in sources)
    assert "datasource" in {variable["name"] for variable in DASHBOARD["templating"]["list"]}


async def test_outcome_of_every_try_is_there_from_the_start(known: Known) -> None:
    """A series that began with 1 would have no increase to see."""
    assert set(Outcome) <= known["verdictd_callbacks_total"]["outcome"]
    assert {"ack", "requeue", "dead_letter", "taken_back"} == known["verdictd_deliveries_total"]["settlement"]
