"""Which metrics and labels a query of Prometheus names, and which of them are not there."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

# Prometheus gives every sample the labels of its target, and makes this metric for each target.
TARGET_LABELS = frozenset({"job", "instance"})
UP = "up"

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_KEPT = re.compile(r"\bby\s*\(([^)]*)\)")
_TIME = re.compile(r"\[[^\]]*\]|\boffset\s+[0-9a-z]+")
_NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*")
_SELECTOR = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?")
_MATCHER = re.compile(r"\s*(\w+)\s*(=~|!~|!=|=)\s*(\"[^\"]*\")\s*(?:,|$)")
_OPERATORS = frozenset({"and", "or", "unless", "bool"})
_FUNCTIONS = frozenset(
    {
        "absent",
        "changes",
        "count",
        "histogram_quantile",
        "increase",
        "max",
        "min",
        "rate",
        "sum",
        "time",
        "vector",
    }
)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric in a query, with what is asked of its labels: `state="free"` is `("state", "=", "free")`."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(query: str) -> list[Selector]:
    """Every metric of a query: each name in it that is no operator, no function and no label."""
    rest = _TIME.sub(" ", _GROUPING.sub(" ", query))
    found = []
    for match in _SELECTOR.finditer(rest):
        if _inside_braces(rest, match.start()) or match[1] in _OPERATORS:
            continue
        called = rest[match.end() :].lstrip().startswith("(")
        if not (called and match[1] in _FUNCTIONS):
            found.append(Selector(match[1], tuple(_matchers(match[2] or "{}"))))
    return found


def _inside_braces(text: str, position: int) -> bool:
    return text.count("{", 0, position) > text.count("}", 0, position)


def _matchers(braces: str) -> Iterator[tuple[str, str, str]]:
    inner, position = braces[1:-1].strip(), 0
    while position < len(inner):
        match = _MATCHER.match(inner, position)
        assert match is not None, f"cannot read {braces}"
        yield match[1], match[2], match[3][1:-1]
        position = match.end()


def grouping_labels(query: str) -> set[str]:
    """The labels in `by (...)`, `on (...)` and the like."""
    return {label for labels in _GROUPING.findall(query) for label in _NAME.findall(_STRING.sub("", labels))}


def kept_labels(query: str) -> set[str]:
    """The labels that sums and the like keep; empty where a query has none of them."""
    return {label for labels in _KEPT.findall(query) for label in _NAME.findall(labels)}


def missing(query: str, known: Mapping[str, Mapping[str, Set[str]]]) -> list[str]:
    """What a query names that is not in `known`: metrics, their labels, and the values of these."""
    problems = []
    labels = set(TARGET_LABELS)
    for selector in selectors(query):
        if selector.metric not in known and selector.metric != UP:
            problems.append(f"no metric {selector.metric}")
            continue
        own = known.get(selector.metric, {})
        labels |= own.keys()
        for label, operator, value in selector.matchers:
            if label not in own.keys() | TARGET_LABELS:
                problems.append(f"{selector.metric} has no label {label}")
            elif label not in TARGET_LABELS:
                words = value.split("|") if "~" in operator else [value]
                problems += [
                    f"no {selector.metric} has {label} {word}" for word in words if word not in own[label]
                ]
    return problems + [f"no metric in it has the label {label}" for label in grouping_labels(query) - labels]
