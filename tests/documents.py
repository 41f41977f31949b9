"""The examples of the README and of the pages of ``docs``, to be run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from attrs import frozen

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))

_FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<why>.+?) -->\n)?(?:^ *<!-- file: (?P<file>.+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@frozen
class Example:
    """A block of code in a page.

    *why_not* is what ``<!-- not run: … -->`` above it says; *file* is the name it is to be saved
    by, where ``<!-- file: … -->`` above it says one.
    """

    page: str
    line: int
    language: str
    code: str
    file: str | None
    why_not: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def as_module(self) -> str:
        """Return the code, with as many lines before it as the page has, for tracebacks."""
        return "\n" * self.line + self.code


def examples(page: str) -> list[Example]:
    """Return all of a page's blocks, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Example(
            page,
            text.count("\n", 0, found.start("code")),
            found["language"],
            dedent(found["code"]),
            found["file"],
            found["why"],
        )
        for found in _FENCE.finditer(text)
    ]


def blocks(page: str, language: str) -> list[str]:
    """Return the code of a page's blocks in *language* that are to be run."""
    return [one.code for one in to_run(page, language)]


def to_run(page: str, *languages: str) -> list[Example]:
    """Return a page's blocks in *languages* that are to be run."""
    return [one for one in examples(page) if one.language in languages and one.why_not is None]
