"""A scraper, and the tables of instruments in the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scraped", "documented", "scraped"]


@dataclass(frozen=True, slots=True)
class Scraped:
    """One reading."""

    samples: dict[str, list[tuple[dict[str, str], float]]]
    """Name -> labels and value of each series."""

    def value(self, name: str, /, **labels: str) -> float:
        """The value of the only series that has these labels among its own."""
        found = [value for own, value in self.samples.get(name, []) if labels.items() <= own.items()]
        assert len(found) == 1, (name, labels, self.samples.get(name), sorted(self.samples))
        return found[0]


async def scraped(address: str) -> Scraped:
    """Read `/metrics` of host:port."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Scraped(samples)


def documented(page: Path) -> set[tuple[str, str, str, str]]:
    """Name, Prometheus' name, kind and unit of the rows in a page's tables of instruments."""
    rows = re.findall(r"^\| `([\w.]*)` \| `([\w]+)` \| (\w+) \|([^|]*)\|", page.read_text(), re.MULTILINE)
    return {(name, prometheus, kind, unit.strip(" `")) for name, prometheus, kind, unit in rows}
