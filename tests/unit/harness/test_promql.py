"""What a query names is read strictly: a name that is not there is always found."""

import pytest

from support.promql import Selector, grouping_labels, kept_labels, missing, selectors

KNOWN = {
    "verdictd_ready": {},
    "verdictd_boxes": {"state": {"free", "leased"}},
    "verdictd_lag_bucket": {"le": {"1.0", "+Inf"}},
}


def test_selectors_are_all_metrics_with_their_matchers() -> None:
    """Neither functions nor operators, durations or labels."""
    query = (
        'sum by (job, state) (rate(verdictd_boxes{job="$job", state=~"free|leased"}[$__rate_interval])) > 1e3'
        " unless on (job) verdictd_ready offset 15m == bool 0 or vector(0)"
    )

    assert [
        Selector("verdictd_boxes", (("job", "=", "$job"), ("state", "=~", "free|leased"))),
        Selector("verdictd_ready", ()),
    ] == selectors(query)
    assert {"job", "state"} == grouping_labels(query)


def test_labels_that_are_left_are_those_of_sums() -> None:
    """What two sides are matched by leaves all labels of the left one."""
    query = "sum by (job, state) (verdictd_boxes) > 0 unless on (job, instance) verdictd_ready == 1"

    assert {"job", "state"} == kept_labels(query)
    assert {"job", "state", "instance"} == grouping_labels(query)
    assert set() == kept_labels("verdictd_boxes unless on (job) verdictd_ready")


@pytest.mark.parametrize(
    "query",
    [
        'verdictd_boxes{state="free", job="verdictd"} > 0',
        "histogram_quantile(0.9, sum by (le, instance) (rate(verdictd_lag_bucket[5m])))",
        'up{job="verdictd"} == 0 unless verdictd_ready',
    ],
)
def test_query_of_what_is_there_is_right(query: str) -> None:
    """The labels of a target and `up` are Prometheus' own."""
    assert [] == missing(query, KNOWN)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("verdictd_readyy == 0", "no metric verdictd_readyy"),
        ("verdictd_ready == 0 and verdict_ready", "no metric verdict_ready"),
        ("verdictd_ready / process_cpu", "no metric process_cpu"),
        ("summ(verdictd_ready)", "no metric summ"),
        ("sum(rate(verdictd_lag[5m]))", "no metric verdictd_lag"),
        ('verdictd_boxes{stat="free"}', "verdictd_boxes has no label stat"),
        ('verdictd_boxes{state="fre"}', "no verdictd_boxes has state fre"),
        ('verdictd_boxes{state=~"free|gone"}', "no verdictd_boxes has state gone"),
        ('verdictd_boxes{state!="gone",}', "no verdictd_boxes has state gone"),
        ("sum by (kind) (verdictd_boxes)", "no metric in it has the label kind"),
        ("sum(verdictd_boxes) by (kind)", "no metric in it has the label kind"),
        ("verdictd_ready and on (host) verdictd_boxes", "no metric in it has the label host"),
    ],
)
def test_wrong_name_is_found(query: str, problem: str) -> None:
    """In any place of a query, whatever it begins with."""
    assert [problem] == missing(query, KNOWN)


def test_matcher_that_cannot_be_read_is_an_error() -> None:
    """Nothing is passed over."""
    with pytest.raises(AssertionError, match="cannot read"):
        selectors("verdictd_boxes{state=free}")
