"""One picture for the README: the CPU time of a trivial submission, by who spends it, beside a bare run."""

from collections.abc import Sequence
from pathlib import Path

from harness.bench.cost import BARE, BROKER, OWN, SANDBOX
from harness.bench.figures import Figure

_WIDTH = 0.38


def draw(figures: Sequence[Figure], title: str, file: Path) -> None:
    """Write a PNG of the part `cost`: for each number of boxes a bar of the bare run, and one of ours."""
    from matplotlib import pyplot as plot  # noqa: PLC0415 - only where `make bench` has installed it

    spent = {
        what: {figure.part: figure.value for figure in figures if figure.what == what}
        for what in (BARE, SANDBOX, OWN, BROKER)
    }
    parts = list(spent[BARE])
    below = [0.0] * len(parts)
    _, axes = plot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.bar(
        [at - _WIDTH / 2 for at in range(len(parts))],
        list(spent[BARE].values()),
        _WIDTH,
        label=BARE.removesuffix(", CPU"),
        color="tab:gray",
    )
    for what, colour in ((SANDBOX, "tab:blue"), (OWN, "tab:orange"), (BROKER, "tab:green")):
        values = list(spent[what].values())
        places = [at + _WIDTH / 2 for at in range(len(parts))]
        axes.bar(places, values, _WIDTH, below, label=what.removesuffix(", CPU"), color=colour)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.set_xticks(range(len(parts)), parts)
    axes.set_ylabel("ms of CPU time")
    axes.set_ylim(0, 1.4 * max(below, default=1))
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, ncols=2)
    plot.savefig(file, dpi=100)
