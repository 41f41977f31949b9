"""The table of what is survived has no hole."""

from __future__ import annotations

import re
from pathlib import Path

LINES = range(1, 46)


def test_each_line_has_a_test() -> None:
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    marked = {int(number) for number in re.findall(r"@(?:pytest\.mark\.)?line\((\d+),", source)}
    assert sorted(marked) == list(LINES)
