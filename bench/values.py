"""What is measured, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from attrs import field, frozen


@frozen
class Column:
    """One figure of a scenario.

    Args:
        key: What the generator calls it.
        title: What tables call it, with its unit.
        scale: What it is multiplied by.
        digits: How many decimals are shown.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 0

    def show(self, value: float) -> str:
        """Return *value* as a table shows it."""
        return f"{value * self.scale:,.{self.digits}f}".replace(",", " ")


@frozen
class Run:
    """One line of a scenario's table: a peer, and what is asked of it."""

    peer: str
    arguments: dict[str, Any] = field(factory=dict)
    name: str = field()
    note: str = ""

    @name.default
    def _peer(self) -> str:
        return self.peer


@frozen
class Scenario:
    """One thing that is measured of several peers.

    Args:
        name: What it is called on the command line.
        title: Its heading.
        text: What happens, in a few sentences; ``{name}`` is the argument of that name.
        job: Which of the generator's jobs it is.
        runs: Its lines; the first that is ours is what the others are compared with.
        columns: Its figures, the main one first.
        arguments: What every run asks.
        quick: What it asks instead in a quick run.
        less: Whether less of the main figure is better.
        across: Whether its table has a line for each figure, and a column for each run.
    """

    name: str
    title: str
    text: str
    job: str
    runs: tuple[Run, ...]
    columns: tuple[Column, ...]
    arguments: dict[str, Any]
    quick: dict[str, Any]
    less: bool = False
    across: bool = False

    def asked(self, quick: bool) -> dict[str, Any]:
        """Return what every run asks."""
        return self.arguments | self.quick if quick else self.arguments

    def said(self, quick: bool) -> str:
        """Return the text, with what is asked filled in."""
        return self.text.format(**{"burst": 1, **self.asked(quick)})


@frozen
class Outcome:
    """What one run gave, round by round; in a round that failed there is nothing."""

    rounds: list[dict[str, float] | None] = field(factory=list)
    failure: str = ""

    def values(self, key: str) -> list[float]:
        """Return one figure of every round that gave it."""
        return [each[key] for each in self.rounds if each and key in each]

    def median(self, key: str) -> float | None:
        """Return the median of one figure, if there is any."""
        values = self.values(key)
        return statistics.median(values) if values else None


Results = dict[str, dict[str, Outcome]]
"""Of each scenario, each run's outcome."""


@frozen
class Spread:
    """A median with its least and its greatest value."""

    median: float
    least: float
    most: float


def spread(values: Iterable[float]) -> Spread | None:
    """Return the spread of *values*, if there are any."""
    known = list(values)
    return Spread(statistics.median(known), min(known), max(known)) if known else None


def ratio(one: Outcome | None, other: Outcome | None, key: str, over: str = "") -> Spread | None:
    """Return how many times *one* is *other*, each round by itself.

    The rounds of both stand in the same minute, so that what the machine did meanwhile cancels out.

    Args:
        one: What is above the line.
        other: What is below.
        key: Of which figure.
        over: Of which figure of the other, where that is another.
    """
    if one is None or other is None:
        return None
    pairs = zip(one.rounds, other.rounds, strict=False)
    return spread(
        mine[key] / theirs[over or key]
        for mine, theirs in pairs
        if mine and theirs and key in mine and theirs.get(over or key)
    )
