"""The results as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .peers.catalogue import PEERS
from .scenarios import SCENARIOS
from .values import Outcome, Results, Scenario, spread

SHOWN = ("fanout", "burst", "roundtrip", "connects", "memory", "servers", "redis", "redis-burst")
OURS, OTHERS = "#2563eb", "#9ca3af"


def draw(results: Results, path: Path) -> None:
    """Draw one panel a scenario into the PNG at *path*."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [each for each in SCENARIOS if each.name in SHOWN and results.get(each.name)]
    rows = max(1, (len(shown) + 1) // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(12, 3.2 * rows), squeeze=False)
    flat = list(axes.flat)
    for axis in flat[len(shown) :]:
        axis.axis("off")
    for axis, scenario in zip(flat, shown, strict=False):
        _panel(axis, scenario, results[scenario.name])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, scenario: Scenario, outcomes: dict[str, Outcome]) -> None:
    column = scenario.columns[0]
    bars = []
    for run in scenario.runs:
        values = run.name in outcomes and spread(outcomes[run.name].values(column.key))
        if values:
            label = PEERS[run.peer].label if run.name == run.peer else run.name
            bars.append((label, values, run.peer.startswith("ours")))
    bars.sort(key=lambda bar: bar[1].median, reverse=scenario.less)
    middles = [values.median * column.scale for _, values, _ in bars]
    reach = [
        [(values.median - values.least) * column.scale for _, values, _ in bars],
        [(values.most - values.median) * column.scale for _, values, _ in bars],
    ]
    colours = [OURS if ours else OTHERS for _, _, ours in bars]
    axis.barh([label for label, _, _ in bars], middles, xerr=reach, color=colours, ecolor="#374151")
    for place, (_, values, _) in enumerate(bars):
        axis.annotate(
            f"  {column.show(values.median)}",
            (values.most * column.scale, place),
            va="center",
            fontsize=8,
        )
    axis.margins(x=0.2)
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    axis.set_title(scenario.title, fontsize=10, loc="left", x=-0.25)
    better = "less" if scenario.less else "more"
    axis.set_xlabel(f"{column.title}; {better} is better", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
