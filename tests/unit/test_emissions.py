"""What an emitted event carries and where it goes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from attrs import define

from quart_realtime.emissions import (
    EmissionError,
    arguments_of,
    check_template,
    data_of,
    fill,
    rooms_of,
)
from quart_realtime.protocol import EVERYONE
from quart_realtime.registry import Emission


@define
class Message:
    id: int
    text: str = ""


def rooms_of_now(*arguments: Any) -> list[str]:
    return asyncio.run(rooms_of(*arguments))


def data_of_now(*arguments: Any) -> Any:
    return asyncio.run(data_of(*arguments))


def emission(**options: Any) -> Emission:
    return Emission("told", print, print, **options)


# Templates


@pytest.mark.parametrize("template", ["", "lobby", "a:{b}", "a:{b.c_d}", "{a}:{b}", "{{a}}"])
def test_a_template_of_dotted_names_is_taken(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{}", "{0}", "{a.0}", "{a[0]}", "{a!r}", "{a:>3}", "{a.}", "{.a}", "{a b}", "{a.b"],
)
def test_anything_else_in_a_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_template(template)


@pytest.mark.parametrize(
    ("template", "sources", "room"),
    [
        ("lobby", (), "lobby"),
        ("a:{id}", ({"id": 7}, {}), "a:7"),
        ("a:{id}", ({}, {"id": "x"}), "a:x"),
        ("a:{id}", ({"id": "data"}, {"id": "argument"}), "a:data"),
        ("a:{message.id}", ({"message": {"id": 7}},), "a:7"),
        ("a:{message.id}", ({}, {"message": Message(7)}), "a:7"),
        ("a:{message.id}", ({"message": {}}, {"message": {"id": 8}}), "a:8"),
        ("a:{message.id}", ({"message": "text"}, {"message": {"id": 8}}), "a:8"),
        ("{a}:{b}", ({"a": 1}, {"b": 2}), "1:2"),
        ("{{{a}}}", ({"a": 1},), "{1}"),
        ("a:{id}", (SimpleNamespace(id=7),), "a:7"),
        ("a:{id}", ({"id": "{b}"}, {"b": 1}), "a:{b}"),
    ],
)
def test_a_template_is_filled_from_the_data_and_then_from_the_arguments(
    template: str, sources: tuple[Any, ...], room: str
) -> None:
    assert fill(template, *sources) == room


def test_a_name_that_is_nowhere_is_told() -> None:
    with pytest.raises(EmissionError, match=r"message\.id"):
        fill("a:{message.id}", {"message": {}}, {})


@pytest.mark.parametrize("value", [None, True, 1.5, "", [], {"a": 1}])
def test_a_value_that_makes_no_name_is_told(value: Any) -> None:
    with pytest.raises(EmissionError, match="not text or a number"):
        fill("a:{id}", {"id": value})


def test_a_uuid_among_the_view_s_arguments_fills_a_template() -> None:
    assert fill("a:{id}", {}, {"id": UUID(int=1)}) == f"a:{UUID(int=1)}"


@pytest.mark.parametrize(("data", "name"), [(["a"], "count"), ("text", "title"), ([], "index")])
def test_the_methods_of_data_are_no_members_of_it(data: Any, name: str) -> None:
    assert fill(f"a:{{{name}}}", data, {name: 7}) == "a:7"


# Rooms


def test_without_a_room_it_is_everyone_s() -> None:
    assert rooms_of_now(None, {}, {}) == [EVERYONE]


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("a:{id}", ["a:7"]),
        (["a:{id}", "b", "a:{id}"], ["a:7", "b"]),
        (("b",), ["b"]),
        ([], []),
        (lambda data: f"c:{data['id']}", ["c:7"]),
        (lambda data: ["x", "y", "x"], ["x", "y"]),
        (lambda data: (), []),
        (lambda data: {"a": 1}, ["a"]),
    ],
)
def test_an_event_goes_to_each_room_once(source: Any, rooms: list[str]) -> None:
    assert rooms_of_now(source, {"id": 7}, {}) == rooms


@pytest.mark.parametrize(
    "source", [lambda data: "", lambda data: [7], lambda data: "a\0", "a" * 257, "a:{id}"]
)
def test_what_cannot_name_a_room_is_told(source: Any) -> None:
    with pytest.raises(EmissionError, match="can't name a room"):
        rooms_of_now(source, {"id": "\n"}, {})


def test_a_callable_that_returns_no_room_is_told() -> None:
    with pytest.raises(EmissionError):
        rooms_of_now(lambda data: None, {}, {})


# Data


def test_the_whole_result_is_sent_as_builtins() -> None:
    assert data_of_now(emission(), {"message": Message(1)}, {}) == {
        "message": {"id": 1, "text": ""}
    }


def test_a_key_of_the_result_is_sent() -> None:
    told = emission(data="message")
    assert data_of_now(told, {"message": Message(1), "more": 2}, {}) == {"id": 1, "text": ""}
    assert data_of_now(told, {"message": None}, {}) is None


def test_a_key_that_the_result_does_not_have_is_told_with_the_event() -> None:
    with pytest.raises(EmissionError, match=r"emits\('told', data='message'\)"):
        data_of_now(emission(data="message"), {"other": 1}, {"message": 1})


def test_a_callable_of_the_result_is_sent() -> None:
    told = emission(data=lambda value: Message(value["id"]))
    assert data_of_now(told, {"id": 7}, {}) == {"id": 7, "text": ""}


@pytest.mark.parametrize(("data", "expected"), [(None, {"id": "7"}), ("id", "7")])
def test_a_result_without_a_body_sends_the_view_s_arguments(data: Any, expected: Any) -> None:
    assert data_of_now(emission(data=data), None, {"id": "7"}) == expected


def test_an_empty_result_is_a_result() -> None:
    assert data_of_now(emission(), {}, {"id": "7"}) == {}
    assert data_of_now(emission(), [], {"id": "7"}) == []


# Arguments


def test_arguments_by_name_are_taken_as_they_are() -> None:
    assert arguments_of(print, (), {"a": 1}) == {"a": 1}


def test_the_object_of_a_method_view_is_no_argument() -> None:
    def post(self: Any, item_id: str, part: str = "x") -> None: ...

    assert arguments_of(post, (object(),), {"item_id": "7"}) == {"item_id": "7"}


def test_arguments_by_place_are_named() -> None:
    def view(a: int, b: int) -> None: ...

    assert arguments_of(view, (1,), {"b": 2}) == {"a": 1, "b": 2}


def test_what_a_view_takes_beyond_its_names_is_an_argument_too() -> None:
    def post(self: Any, **kwargs: Any) -> None: ...

    assert arguments_of(post, (object(),), {"item_id": "7"}) == {"item_id": "7"}


def test_what_a_view_takes_beyond_its_names_may_have_any_name() -> None:
    def post(self: Any, **ids: Any) -> None: ...

    assert arguments_of(post, (object(),), {"item_id": "7"}) == {"item_id": "7"}
