"""What is declared, and how rooms and events are looked up in it."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from quart_realtime.errors import SetupError
from quart_realtime.protocol import EVERYONE, HistoryPolicy
from quart_realtime.registry import (
    Emission,
    EventType,
    Handler,
    HistoryPolicies,
    Registry,
    RoomRule,
    annotations_of,
    describe,
)


async def anybody(**_: str) -> bool:
    return True


def rule(pattern: str, **options: Any) -> RoomRule:
    return RoomRule(pattern, anybody, **options)


@pytest.mark.parametrize(
    ("pattern", "room", "variables"),
    [
        ("lobby", "lobby", {}),
        ("lobby", "lobbyx", None),
        ("lobby", "Lobby", None),
        ("conversation:<id>", "conversation:42", {"id": "42"}),
        ("conversation:<id>", "conversation:", None),
        ("conversation:<id>", "conversation:a:b", None),
        ("conversation:<id>", "xconversation:42", None),
        ("conversation:<string:id>", "conversation:é b", {"id": "é b"}),
        ("conversation:<int:id>", "conversation:42", {"id": 42}),
        ("conversation:<int:id>", "conversation:0", {"id": 0}),
        ("conversation:<int:id>:<part>", "conversation:10:7", {"id": 10, "part": "7"}),
        ("conversation:<int:id>", "conversation:042", None),
        ("conversation:<int:id>", "conversation:00", None),
        ("conversation:<int:id>", "conversation:4x", None),
        ("conversation:<int:id>", "conversation:-4", None),
        ("conversation:<int:id>", "conversation:٤٢", None),
        ("conversation:<int:id>", "conversation:" + "9" * 19, None),
        ("conversation:<int:id>", "conversation:" + "9" * 5000, None),
        ("file:<path:name>", "file:a:b/c", {"name": "a:b/c"}),
        ("<kind>:<id>:typing", "a:7:typing", {"kind": "a", "id": "7"}),
        ("a.b[<id>]*", "a.b[7]*", {"id": "7"}),
        ("a.b[<id>]*", "axb[7]*", None),
        ("__proto__:<id>", "__proto__:*", {"id": "*"}),
    ],
)
def test_a_room_is_of_a_pattern_or_not(
    pattern: str, room: str, variables: dict[str, str | int] | None
) -> None:
    assert rule(pattern).match(room) == variables


@pytest.mark.parametrize(
    "pattern",
    ["", "a:<", "a:<>", "a:<id", "a:id>", "a:<7>", "a:<uuid:id>", "a:<a b>", "a\n", "a" * 257],
)
def test_a_pattern_that_cannot_be_read_is_refused_with_one_that_can(pattern: str) -> None:
    with pytest.raises(SetupError, match=r"<conversation_id>|<int:name>"):
        rule(pattern)


def test_a_pattern_that_names_a_variable_twice_is_refused() -> None:
    with pytest.raises(SetupError):
        rule("a:<id>:<id>")


def test_a_name_without_variables_comes_before_patterns_and_those_in_their_order() -> None:
    registry = Registry()
    rules = [rule("a:<x>"), rule("<y>:b"), rule("a:b")]
    for each in rules:
        registry.add_room(each)
    assert registry.find_room("a:b") == (rules[2], {})
    assert registry.find_room("a:c") == (rules[0], {"x": "c"})
    assert registry.find_room("c:b") == (rules[1], {"y": "c"})
    assert registry.find_room("c:d") is None


def test_the_variables_are_converted_as_the_authoriser_annotates_them() -> None:
    def may_join(conversation_id: int, part: str, rest) -> bool:  # type: ignore[no-untyped-def]
        return True

    asked = RoomRule("<conversation_id>:<part>:<rest>", may_join)
    assert asked.arguments({"conversation_id": "7", "part": "8", "rest": "9"}) == {
        "conversation_id": 7,
        "part": "8",
        "rest": "9",
    }
    assert asked.arguments({"conversation_id": "x", "part": "8", "rest": "9"}) is None


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Any, 13),
        (int, 13),
        (int | str, 13),
        (float, 13.0),
        (str, "13"),
        (str | None, "13"),
        (Literal["13"], "13"),
        (list[int], None),
    ],
)
def test_a_number_in_a_room_s_name_is_one_unless_it_is_annotated_as_something_else(
    annotation: Any, expected: Any
) -> None:
    def may_join(order_id: Any) -> bool:
        return True

    may_join.__annotations__["order_id"] = annotation
    asked = RoomRule("order:<int:order_id>", may_join)
    variables = asked.match("order:13")
    assert variables is not None
    arguments = asked.arguments(variables)
    assert arguments == (None if expected is None else {"order_id": expected})
    if arguments is not None:
        assert type(arguments["order_id"]) is type(expected)


def test_a_pattern_or_an_event_declared_twice_is_refused() -> None:
    registry = Registry()
    registry.add_room(rule("a"))
    registry.add_event(EventType("e"))
    with pytest.raises(SetupError, match="declared twice"):
        registry.add_room(rule("a"))
    with pytest.raises(SetupError, match="declared twice"):
        registry.add_event(EventType("e"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resource": ""}, "a resource and an action"),
        ({"action": ""}, "a resource and an action"),
        ({"rate_limit": "often"}, 'rate_limit must be a rate such as "100/second"'),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"timeout": -1.5}, "timeout must be a number of seconds above 0"),
        ({"timeout": "5"}, "timeout must be a number of seconds above 0"),
        ({"timeout": True}, "timeout must be a number of seconds above 0"),
        ({"rate_limit": 5}, 'rate_limit must be a rate such as "100/second"'),
        ({"login": "no"}, "login must be True or False"),
        ({"endpoint": True}, "endpoint must be the name of an endpoint"),
        ({"method": ["PUT"]}, 'method must be an HTTP method such as "PUT"'),
        ({"function": "do"}, "right above a function"),
    ],
)
def test_a_handler_with_a_wrong_value_is_refused(options: dict[str, Any], told: str) -> None:
    values = {"resource": "a", "action": "b", "function": anybody} | options
    with pytest.raises(SetupError, match=told):
        Registry().add_handler(Handler(**values))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"history": "10"}, "history must be a number of events, a HistoryPolicy"),
        ({"history": -1}, "history must be a number of events"),
        ({"history": True}, "history must be a number of events"),
        ({"presence": "yes"}, "presence must be True or False"),
        ({"pattern": 5}, "pattern must be text such as"),
    ],
)
def test_a_room_with_a_wrong_value_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        rule(**{"pattern": "a"} | options)


def test_patterns_of_the_same_rooms_are_refused_whatever_their_variables_are_called() -> None:
    registry = Registry()
    registry.add_room(rule("r:<a>:<int:b>"))
    with pytest.raises(SetupError, match="declared twice, as 'r:<a>:<int:b>' before"):
        registry.add_room(rule("r:<string:x>:<int:y>"))
    registry.add_room(rule("r:<int:a>:<int:b>"))
    registry.add_room(rule("r:<path:a>:<int:b>"))


@pytest.mark.parametrize("name", ["a" * 65, "a\nb"])
def test_a_handler_that_no_request_can_name_is_refused(name: str) -> None:
    with pytest.raises(SetupError):
        Registry().add_handler(Handler(name, "b", anybody))


def emission(name: str, room: str | None = None) -> Emission:
    return Emission(name, anybody, anybody, room)


def test_an_event_s_room_is_the_one_given_or_the_declared_or_none() -> None:
    registry = Registry()
    registry.add_event(EventType("declared", room="a"))
    assert registry.rooms_of_event("declared", None) == "a"
    assert registry.rooms_of_event("declared", "b") == "b"
    assert registry.rooms_of_event("other", None) is None


def test_events_that_go_to_everyone_are_listed_once() -> None:
    registry = Registry()
    registry.add_event(EventType("declared", room="a"))
    registry.add_event(EventType("roomless"))
    registry.emissions += [
        emission("declared"),
        emission("roomless"),
        emission("unknown"),
        emission("unknown"),
        emission("placed", "a"),
    ]
    assert registry.events_for_everyone() == ["roomless", "unknown"]


def test_a_listener_to_a_misspelt_event_is_told_and_others_are_not() -> None:
    registry = Registry()
    registry.add_event(EventType("new_message"))
    registry.emissions.append(emission("user_renamed"))
    for name in ("new_mesage", "user_renamed", "new_message", "something_else"):
        registry.listeners[name] = [anybody]
    (complaint,) = registry.unheard_listeners()
    assert 'on("new_mesage")' in complaint
    assert '"new_message"' in complaint


def test_an_event_for_everyone_that_looks_misspelt_is_refused_and_others_are_not() -> None:
    registry = Registry()
    registry.add_event(EventType("payslip", room="user:{account}"))
    registry.emissions.append(emission("user_renamed", "users"))
    for name in ("payslip", "user_renamed", "something_else"):
        registry.check_spelling(name)
    for name, meant in {"paylsip": "payslip", "user_renamd": "user_renamed"}.items():
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            registry.check_spelling(name)
        registry.add_event(EventType(name))
        registry.check_spelling(name)


def test_an_emission_to_everyone_that_looks_misspelt_is_told_and_others_are_not() -> None:
    registry = Registry()
    registry.add_event(EventType("payslip", room="user:{account}"))
    registry.emissions += [
        emission("payslip"),
        emission("payslips", "accounting"),
        emission("something_else"),
        emission("something_elsse"),
    ]
    assert registry.misspelt_emissions() == []
    registry.emissions.append(emission("paylsip"))
    (complaint,) = registry.misspelt_emissions()
    assert 'did you mean "payslip"' in complaint


def test_a_room_keeps_its_pattern_s_history_or_the_app_s() -> None:
    registry = Registry()
    default, own = HistoryPolicy(100, 300), HistoryPolicy(5, 7)
    registry.add_room(rule("own:<id>", history=own))
    registry.add_room(rule("ten:<id>", history=10))
    registry.add_room(rule("none:<id>", history=0))
    registry.add_room(rule("plain:<id>"))
    registry.add_room(rule("every<id>", history=0))
    policies = HistoryPolicies(registry, default)
    assert policies.of("own:1") == own
    assert policies.of("ten:1") == HistoryPolicy(10, 300)
    assert not policies.of("none:1").keeps
    assert policies.of("plain:1") == policies.of("unheard of") == default
    assert policies.of(EVERYONE) == default


def test_annotations_are_evaluated() -> None:
    def function(a: int, b: list[str]) -> None: ...

    assert annotations_of(function)["a"] is int
    assert annotations_of(function)["b"] == list[str]


def test_an_annotation_that_cannot_be_evaluated_is_told_with_what_to_do() -> None:
    def function(a: int, b: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SetupError, match="at the top of its module"):
        annotations_of(function)


def test_a_function_is_described_by_its_name_and_place() -> None:
    assert describe(anybody).startswith("anybody (")
    assert __file__ in describe(anybody)
    assert describe(len) == "len"
