"""Figures of a benchmark: what was measured, what it is held against, and the bound on their ratio."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `at_most` and `at_least` are bounds; None where the number is only told."""

    part: str
    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def passed(self) -> bool:
        """True if the number is within its bounds."""
        above = self.at_most is not None and self.value > self.at_most
        below = self.at_least is not None and self.value < self.at_least
        return not (above or below)

    @property
    def bound(self) -> str:
        """The bound in words; empty without one."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"

    def __str__(self) -> str:
        mark = "" if not self.bound else "ok" if self.passed else "MISSED"
        return f"{self.part:11} {self.what:52} {self.value:10.4g} {self.unit:9} {self.bound:15} {mark}"


def write_json(figures: Iterable[Figure], about: dict[str, str], file: Path) -> None:
    """Write all figures, and what they were measured on, for other programs."""
    rows = [asdict(figure) | {"passed": figure.passed} for figure in figures]
    file.write_text(json.dumps({"about": about, "figures": rows}, indent=2) + "\n")
