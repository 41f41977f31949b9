"""RESULTS.md, out of the results and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .goals import GOALS
from .peers.catalogue import PEERS
from .rounds import DISTURBED, TRIES
from .scenarios import SCENARIOS
from .store import Stored
from .values import Column, Outcome, Results, Run, Scenario, Spread, ratio, spread

COMPARED = "ours"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "---:") -> str:
    """Return a Markdown table; the first column is text, the others are figures by default."""
    lines = [head, ["---", *[rule] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(stored: Stored) -> str:
    """Return the whole of RESULTS.md."""
    parts = [
        "# What it costs, side by side",
        "Written by `python -m bench` on one machine, its scenarios one after the other. The "
        "generator, a process of its own, is the same for all; servers listen on the loopback "
        "address; in each round every peer has its turn, with a server started afresh. Figures are "
        "medians, with the least and the greatest value of all rounds. *Ours is* how many times "
        "ours is this, median of what it was in each round. A measurement during which something "
        f"else took more than {DISTURBED:.0%} of a core was made again, up to {TRIES} times.",
        *(["This was a quick run: short measurements, for trying it out."] if stored.quick else []),
        "![](results.png)",
        "## Goals",
        _goals(stored.results),
        "## The machine",
        _machine(stored),
        *(
            _scenario(scenario, stored.results[scenario.name], stored.quick)
            for scenario in SCENARIOS
            if scenario.name in stored.results
        ),
        "## How each was set up",
        _peers(stored),
    ]
    return "\n\n".join(parts) + "\n"


def terminal(results: Results, quick: bool) -> str:
    """Return the tables of *results*, and the goals that they speak of."""
    parts = [
        _scenario(scenario, results[scenario.name], quick)
        for scenario in SCENARIOS
        if scenario.name in results
    ]
    return "\n\n".join([*parts, _goals(results)])


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        measured = goal.measured(results)
        if measured is not None:
            verdict = "reached" if goal.reached(measured) else "**not reached**"
            rows.append([goal.text, goal.wanted, _range(measured, 2), verdict])
    if not rows:
        return "Nothing was measured that a goal speaks of."
    return table(["goal", "wanted", "measured", ""], rows)


def _range(values: Spread, digits: int) -> str:
    middle = _number(values.median, digits)
    if values.least == values.most:
        return middle
    return f"{middle} ({_number(values.least, digits)} to {_number(values.most, digits)})"


def _number(value: float, digits: int) -> str:
    """Return *value* with that many decimals, or with as many as a small one needs to be seen."""
    if value:
        digits = max(digits, -math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _machine(stored: Stored) -> str:
    facts = table(["", ""], list(stored.machine.items()))
    packages = ", ".join(f"{name} {number}" for name, number in stored.versions.items())
    return (
        f"{facts}\n\n{stored.cores} Whatever else ran took {stored.others_busy:.0%} of a core at "
        f"most.\n\nVersions: {packages}."
    )


def _scenario(scenario: Scenario, outcomes: dict[str, Outcome], quick: bool) -> str:
    columns = [
        column
        for column in scenario.columns
        if any(outcome.values(column.key) for outcome in outcomes.values())
    ]
    runs = [run for run in scenario.runs if run.name in outcomes]
    count = max((len(outcome.rounds) for outcome in outcomes.values()), default=0)
    parts = [
        f"## {scenario.title}",
        f"{scenario.said(quick)} {count} round{'s' if count != 1 else ''}.",
        _across(runs, outcomes, columns) if scenario.across else _down(runs, outcomes, columns),
        *_notes(runs, outcomes),
    ]
    return "\n\n".join(parts)


def _across(runs: Sequence[Run], outcomes: dict[str, Outcome], columns: Sequence[Column]) -> str:
    """Return a table with a line for each figure."""
    rows = [
        [column.title, *(_cell(outcomes[run.name], column, True) for run in runs)]
        for column in columns
    ]
    return table(["", *map(_label, runs)], rows)


def _down(runs: Sequence[Run], outcomes: dict[str, Outcome], columns: Sequence[Column]) -> str:
    """Return a table with a line for each run, and how ours compares with it."""
    bases = {run.name: _base(run, outcomes) for run in runs}
    compared = any(bases.values()) and bool(columns)
    rows = []
    for run in runs:
        outcome, base = outcomes[run.name], bases[run.name]
        cells = [_cell(outcome, column, not number) for number, column in enumerate(columns)]
        values = ratio(outcomes[base], outcome, columns[0].key) if base and columns else None
        said = [f"{_range(values, 2)} x" if values else ""] if compared else []
        rows.append([_label(run), *cells, *said])
    titles = [column.title for column in columns]
    return table(["", *titles, *(["ours is"] if compared else [])], rows)


def _cell(outcome: Outcome, column: Column, whole: bool) -> str:
    values = spread(outcome.values(column.key))
    if values is None:
        return "-"
    if not whole or values.least == values.most:
        return column.show(values.median)
    least, most = column.show(values.least), column.show(values.most)
    return f"{column.show(values.median)} ({least} to {most})"


def _base(run: Run, outcomes: dict[str, Outcome]) -> str | None:
    """Return the run of ours that *run* is compared with: the one on the same server."""
    _, _, server = run.peer.rpartition("-")
    here = f"{COMPARED}-{server}"
    base = here if here in outcomes else COMPARED
    return base if base in outcomes and base != run.name else None


def _label(run: Run) -> str:
    return PEERS[run.peer].label if run.name == run.peer else run.name


def _notes(runs: Sequence[Run], outcomes: dict[str, Outcome]) -> list[str]:
    notes = [f"- {_label(run)}: {run.note}" for run in runs if run.note]
    for run in runs:
        outcome = outcomes[run.name]
        if outcome.failure:
            failed = outcome.rounds.count(None)
            notes.append(f"- {_label(run)} failed in {failed} rounds: {outcome.failure}")
    return ["\n".join(notes)] if notes else []


def _peers(stored: Stored) -> str:
    used = {
        run.peer
        for scenario in SCENARIOS
        for run in scenario.runs
        if run.name in stored.results.get(scenario.name, {})
    }
    rows = [
        [peer.label, f"`{peer.command}`", peer.configuration]
        for peer in PEERS.values()
        if peer.name in used
    ]
    text = table(["", "run by", "configuration"], rows, "---")
    left_out = [f"- {PEERS[name].label} is left out: {why}" for name, why in stored.skipped.items()]
    return "\n\n".join([text, *(["\n".join(left_out)] if left_out else [])])
