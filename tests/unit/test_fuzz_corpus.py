"""What the fuzzer has found to be different ways through the decoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..fuzz.check import check

CORPUS = sorted((Path(__file__).parents[1] / "fuzz" / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_each_is_a_message_or_an_error_that_can_be_told(path: Path) -> None:
    check(path.read_bytes())


def test_there_are_some() -> None:
    assert len(CORPUS) > 50
