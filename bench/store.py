"""The results as they were measured, kept in a file so that a part can be measured anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, frozen

from .values import Outcome, Results


@frozen
class Stored:
    """All that RESULTS.md is made from."""

    machine: dict[str, str]
    versions: dict[str, str]
    cores: str
    others_busy: float
    quick: bool
    skipped: dict[str, str]
    results: Results

    def over(self, older: Stored | None) -> Stored:
        """Return this, with what only *older* holds, unless that was measured otherwise."""
        if older is None or (older.machine, older.quick) != (self.machine, self.quick):
            return self
        results = {
            name: older.results.get(name, {}) | self.results.get(name, {})
            for name in [*older.results, *self.results]
        }
        return evolve(
            self,
            results=results,
            skipped=older.skipped | self.skipped,
            others_busy=max(older.others_busy, self.others_busy),
        )


def save(stored: Stored, path: Path) -> None:
    """Write *stored* to *path*."""
    path.write_text(json.dumps(asdict(stored, value_serializer=_rounded), indent=1) + "\n")


def load(path: Path) -> Stored | None:
    """Return what is at *path*, if anything."""
    try:
        read = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    read["results"] = {
        scenario: {name: Outcome(**outcome) for name, outcome in runs.items()}
        for scenario, runs in read["results"].items()
    }
    return Stored(**read)


def _rounded(instance: Any, attribute: Any, value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
