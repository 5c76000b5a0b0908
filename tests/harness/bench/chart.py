"""One picture of the figures that have bounds: how near each comes to its bound."""

from collections.abc import Sequence
from pathlib import Path

from harness.bench.figures import Figure


def draw(figures: Sequence[Figure], title: str, file: Path) -> None:
    """Write a PNG; each bar is a figure as a part of its bound, which is the line at 1."""
    from matplotlib import pyplot as plot  # noqa: PLC0415 - only where `make bench` has installed it

    bounded = [figure for figure in figures if figure.at_most or figure.at_least]
    parts = [figure.value / (figure.at_most or figure.at_least or 1) for figure in bounded]
    _, axes = plot.subplots(figsize=(9, 1.2 + 0.28 * len(bounded)), layout="constrained")
    colours = ["tab:blue" if figure.passed else "tab:red" for figure in bounded]
    names = [f"{figure.part}: {figure.what} ({figure.bound})" for figure in bounded]
    bars = axes.barh(names, parts, color=colours)
    axes.bar_label(bars, [f" {figure.value:.3g} {figure.unit}" for figure in bounded], fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, 1.2 * max([1.2, *parts]))
    axes.set_xlabel("part of the bound")
    axes.set_title(title, fontsize=10)
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    plot.savefig(file, dpi=110)
