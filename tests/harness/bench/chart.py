"""One picture for the README: who spends the CPU time of a trivial submission: bare, naive, and ours."""

from collections.abc import Sequence
from pathlib import Path

from harness.bench.cost import BARE, BROKER, NAIVE, OWN, SANDBOX
from harness.bench.figures import Figure

_WIDTH = 0.27
_OF_DAEMON = {SANDBOX: "tab:blue", OWN: "tab:orange", BROKER: "tab:green"}
_BARS = {
    "bare": {BARE: "tab:gray"},
    "naive": {f"{NAIVE}{what}": colour for what, colour in _OF_DAEMON.items()},
    "verdictd": _OF_DAEMON,
}


def draw(figures: Sequence[Figure], title: str, file: Path) -> None:
    """Write a PNG of the part `cost`: three bars for each number of boxes."""
    from matplotlib import pyplot as plot  # noqa: PLC0415 - only where `make bench` has installed it

    parts = [figure.part for figure in figures if figure.what == BARE]
    values = {(figure.part, figure.what): figure.value for figure in figures}
    _, axes = plot.subplots(figsize=(7, 3.2), layout="constrained")
    highest = 0.0
    for number, (bar, stack) in enumerate(_BARS.items()):
        places = [at + (number - 1) * _WIDTH for at in range(len(parts))]
        below = [0.0] * len(parts)
        for what, colour in stack.items():
            heights = [values[part, what] for part in parts]
            label = what.removesuffix(", CPU") if bar != "naive" else None
            axes.bar(places, heights, 0.9 * _WIDTH, below, label=label, color=colour)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        for place, height in zip(places, below, strict=True):
            axes.text(place, height, bar, ha="center", va="bottom", fontsize=7)
        highest = max(highest, *below)
    axes.set_xticks(range(len(parts)), parts)
    axes.set_ylabel("ms of CPU time")
    axes.set_ylim(0, 1.35 * highest)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, ncols=2)
    plot.savefig(file, dpi=100)
