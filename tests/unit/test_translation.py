"""The Spanish README says what the English one says, as far as a test can tell."""

from __future__ import annotations

import re

import pytest

from ..documents import ROOT, examples

ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
SPANISH = (ROOT / "README.es.md").read_text(encoding="utf-8")
OF_THE_APP = {"the app's own": "el de la aplicación"}
"""What a table says in words."""


def settings(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| (`[A-Z_`, ]+`) \| (.*?) \|", text, re.MULTILINE)


def levels(text: str) -> list[str]:
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+(?= )", without_code, re.MULTILINE)


def links(text: str) -> list[str]:
    return sorted(re.findall(r"\]\(((?!README)[^)]+)\)", text))


def test_both_show_the_same_examples() -> None:
    english, spanish = (
        [(one.language, one.code) for one in examples(name)]
        for name in ("README.md", "README.es.md")
    )
    assert spanish == english


def test_both_list_the_same_settings_with_the_same_defaults() -> None:
    translated = [(name, OF_THE_APP.get(default, default)) for name, default in settings(ENGLISH)]
    assert settings(SPANISH) == translated


@pytest.mark.parametrize("part", [levels, links])
def test_both_have_the_same_parts_and_lead_to_the_same_places(part) -> None:
    assert part(SPANISH) == part(ENGLISH)


def test_each_leads_to_the_other() -> None:
    assert "[Español](README.es.md)" in ENGLISH
    assert "[English](README.md)" in SPANISH
