"""What a running daemon says on /metrics, read as Prometheus reads it."""

import asyncio
import time

from prometheus_client.parser import text_string_to_metric_families

from support.waiting import LIMIT_S, pause
from support.web import Site


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels; 0 where there are none."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def known(self) -> dict[str, dict[str, set[str]]]:
        """The metrics with their labels, and the values that these have."""
        found: dict[str, dict[str, set[str]]] = {}
        for sample in self.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
        return found

    def labels(self, name: str) -> set[str]:
        """The names of the labels that a metric has."""
        return {label for sample in self.samples if sample.name == name for label in sample.labels}


async def reached(site: Site, value: float, name: str, **labels: str) -> Scrape:
    """A scrape in which a metric has come to a value: a result arrives before it is confirmed and counted."""
    began_s = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        while (found := await scrape(site)).value(name, **labels) < value:
            await pause(began_s)
    return found


async def scrape(site: Site) -> Scrape:
    async with site.client.get("/metrics") as response:
        assert 200 == response.status
        return Scrape(await response.text())
