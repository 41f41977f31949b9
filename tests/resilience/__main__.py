"""Run what is survived, and print a table of it: ``python -m tests.resilience``.

Whatever follows goes to pytest; ``--rounds 1`` and the like are its options.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONGEST = ("test_soak.py", "test_autobahn.py", "test_races.py")
"""What is begun with, since it takes longest."""


class Table:
    """Collects what each test has shown, and of which lines."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[int, str, str], list[str]] = defaultdict(list)
        self.figures: dict[tuple[int, str, str], list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test went."""
        if report.when != "call" and report.outcome == "passed":
            return
        sentence = report.nodeid.partition("::")[2].partition("[")[0]
        sentence = sentence.removeprefix("test_").replace("_", " ")
        for name, value in report.user_properties:
            if name == "line":
                number, stimulus = value
                key = (int(number), str(stimulus), sentence)
                self.outcomes[key].append(report.outcome)
                self.figures[key] += [
                    str(figure) for kind, figure in report.user_properties if kind == "figure"
                ]

    def text(self) -> str:
        """Return the table, in Markdown."""
        lines = [
            "| line | what is done | what is seen | outcome | figures |",
            "|---|---|---|---|---|",
        ]
        for key in sorted(self.outcomes):
            number, stimulus, sentence = key
            outcomes = self.outcomes[key]
            counted = ", ".join(
                f"{outcomes.count(kind)} {kind}" for kind in dict.fromkeys(sorted(outcomes))
            )
            figures = "; ".join(dict.fromkeys(self.figures[key]))
            lines.append(f"| {number} | {stimulus} | {sentence} | {counted} | {figures} |")
        return "\n".join(lines)


def main() -> None:
    """Run the tests, print the table, and end as they did."""
    table = Table()
    # More at once than there are processors: most of the time is spent waiting.
    spread = ["-n", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    paths = [*(str(HERE / name) for name in LONGEST), str(HERE)]
    # Where it was installed from here, the package has the tests, and so this very module.
    known = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    options = ["-q", *spread, *known, *paths, *sys.argv[1:]]
    code = pytest.main(options, plugins=[table])
    print("\n" + table.text())
    sys.exit(code)


if __name__ == "__main__":
    main()
