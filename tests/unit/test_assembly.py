"""Messages that come in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_realtime.assembly import FEW, SMALL, Assembly


@given(st.one_of(st.lists(st.text(), min_size=1), st.lists(st.binary(), min_size=1)))
def test_parts_are_put_together_in_their_order(parts: list[str] | list[bytes]) -> None:
    assembly = Assembly(100_000)
    for part in parts:
        assert assembly.add(part)
    assert assembly.message() == parts[0][:0].join(parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("a", "b"), [("ab", "c"), (b"ab", b"c")])
def test_so_many_fit_and_one_more_does_not(a: str | bytes, b: str | bytes) -> None:
    assembly = Assembly(4)
    assert assembly.add(a)
    assert assembly.add(a)
    assert not assembly.add(b)


def test_what_is_too_long_stays_too_long() -> None:
    assembly = Assembly(2)
    assert not assembly.add("abc")
    assert not assembly.add("")


def test_a_single_part_may_be_too_long() -> None:
    assert not Assembly(2).add(b"abc")


@pytest.mark.parametrize("part", ["", b""])
def test_nothing_but_empty_parts_comes_to_an_end(part: str | bytes) -> None:
    assembly = Assembly(10)
    fitting = 0
    while assembly.add(part):
        fitting += 1
    assert fitting == 10


@pytest.mark.parametrize("part", ["", b""])
def test_an_empty_message_keeps_its_kind(part: str | bytes) -> None:
    assembly = Assembly(10)
    assert assembly.add(part)
    assert assembly.message() == part


def test_text_is_counted_by_its_characters() -> None:
    assembly = Assembly(3)
    assert assembly.add("ééé")
    assert not assembly.add("é")


def test_many_small_parts_come_to_an_end_before_they_take_much_more_room() -> None:
    assembly = Assembly(65_536)
    count = 0
    while assembly.add("x"):
        count += 1
    assert count == FEW + 65_536 // SMALL


def test_parts_of_a_fair_size_fill_a_message() -> None:
    assembly = Assembly(65_536)
    assert all(assembly.add(b"x" * SMALL) for _ in range(65_536 // SMALL))
    assert len(assembly.message()) == 65_536
