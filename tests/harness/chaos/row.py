"""What a scenario must come to, and what it came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.chaos.account import Account


class Skipped(Exception):
    """The scenario cannot be run on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One figure: what it must be, what was measured."""

    what: str
    expected: str
    measured: str
    passed: bool


class Row:
    """The checks of one scenario, as far as it has come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.checks: list[Check] = []
        self.skipped: str | None = None
        self.took_s = 0.0

    @property
    def passed(self) -> bool:
        """Whether all is as expected; a scenario that checked nothing has proved nothing."""
        return self.skipped is not None or (bool(self.checks) and all(check.passed for check in self.checks))

    def equal(self, what: str, expected: object, measured: object) -> None:
        """A figure that must be exactly so."""
        self.checks.append(Check(what, f"{expected}", f"{measured}", expected == measured))

    def none(self, what: str, found: Sequence[object]) -> None:
        """Something that must not be; the first that is there is shown."""
        shown = f"{len(found)}: {found[0]}" if found else "0"
        self.checks.append(Check(what, "0", shown[:200], not found))

    def at_most(self, what: str, limit: float, measured: float, unit: str = "") -> None:
        """A figure with an upper bound; infinity is what never came."""
        self.checks.append(Check(what, f"<= {limit:g}{unit}", f"{measured:.4g}{unit}", measured <= limit))

    def at_least(self, what: str, limit: float, measured: float, unit: str = "") -> None:
        """A figure with a lower bound."""
        self.checks.append(Check(what, f">= {limit:g}{unit}", f"{measured:.4g}{unit}", measured >= limit))

    def note(self, what: str, measured: object) -> None:
        """A figure without a bound: how hard the scenario was."""
        self.checks.append(Check(what, "", f"{measured}", passed=True))

    def failed(self, reason: str) -> None:
        """The scenario did not come to its end."""
        self.checks.append(Check("came to its end", "yes", reason, passed=False))

    def books(self, account: Account, *, reruns: int) -> None:
        """The account of a scenario, with how many runs may have been begun again."""
        self.note("submissions", account.sent)
        self.none("lost", account.lost)
        self.none("wrong verdicts", account.wrong)
        self.none("duplicates without a flag", account.unflagged)
        self.note("duplicates with a flag", account.duplicates)
        self.at_most("re-runs", reruns, account.reruns)
        self.none("runs that the log did not tell of", account.unseen)
