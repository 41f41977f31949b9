"""Hostile input to the decoder: a message or MalformedFrame, and nothing else."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_realtime.frames import event_frame, response_frame
from quart_realtime.models import dump
from quart_realtime.protocol import (
    MAX_OFFSET,
    Auth,
    Event,
    MalformedFrame,
    Message,
    Ping,
    Pong,
    Position,
    Request,
    Subscribe,
    Unsubscribe,
    decode,
    is_room_name,
)

from .fakes import strict_json


def request(number: str) -> str:
    return '{"type":"request","id":"1","resource":"a","payload":{"action":"b","n":' + number + "}}"


NO_JSON: list[str | bytes] = [
    "",
    b"",
    " ",
    "[]",
    "null",
    '"x"',
    "true",
    "17",
    "{",
    "{]",
    "{'type': 'ping'}",
    '{"type":"ping"}{"type":"ping"}',
    '{"type":"ping",}',
    b"\xff\xfe",
    b'{"type":"ping","id":"\xff"}',
    b"\x80\x04K\x01.",
    "\ufeff" + '{"type":"ping"}',
    "[" * 10**6,
    "[" * 10**6 + "]" * 10**6,
    '{"a":' * 10**6,
    request("[" * 10**6 + "]" * 10**6),
    request("NaN"),
    request("Infinity"),
    request("-Infinity"),
    request("1e400"),
    request("9" * 5000),
    request('"\\ud800"'),
    request('"\ud800"'),
    request('"\x00"'),
    request("01"),
]


@pytest.mark.parametrize("text", NO_JSON, ids=lambda text: repr(text[:40]))
def test_what_is_no_json_object_is_malformed(text: str | bytes) -> None:
    with pytest.raises(MalformedFrame) as caught:
        decode(text)
    assert caught.value.id is None
    assert caught.value.code == "bad_request"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("bad", [True, 1, 1.5, [], ["1"], {}, {"a": 1}, "", "a" * 65, "a\0", "\n"])
@pytest.mark.parametrize("kind", ["request", "subscribe", "unsubscribe", "auth", "ping", "pong"])
def test_an_id_that_is_none_is_malformed_and_not_echoed(kind: str, bad: Any) -> None:
    frame = {
        "type": kind,
        "id": bad,
        "resource": "a",
        "payload": {"action": "b", "rooms": ["r"], "token": "t"},
    }
    with pytest.raises(MalformedFrame, match="id must be") as caught:
        decode(json.dumps(frame))
    assert caught.value.id is None


@pytest.mark.parametrize("kind", ["request", "subscribe", "unsubscribe", "auth"])
@pytest.mark.parametrize("missing", [{}, {"id": None}])
def test_a_message_that_wants_an_answer_needs_an_id(kind: str, missing: dict[str, Any]) -> None:
    frame = {"type": kind, "resource": "a", "payload": {"action": "b", "rooms": ["r"]}}
    with pytest.raises(MalformedFrame, match="id is missing"):
        decode(json.dumps(frame | missing))


ROOM_NAMES = ["", "a" * 257, "a\0b", "a\nb", "a" * 10**6, None, 7, True, [], ["a"]]
NO_ROOMS: list[Any] = [None, "a", {}, {"a": 1}, [], 7, True]
POSITIONS = [
    {},
    {"epoch": "e", "offset": 1},
    *({"room": name} for name in ROOM_NAMES),
    *(
        {"room": "a", "epoch": "e", "offset": offset}
        for offset in (-1, 2**53, 2**64, 1.0, 1.5, "1", None, True, [1])
    ),
    *({"room": "a", "epoch": epoch, "offset": 1} for epoch in ("", 7, True, [], "a" * 65, "\0")),
]
INCOMPLETE = [
    {},
    {"type": None},
    {"type": 7},
    {"type": ["ping"]},
    {"type": {"ping": 1}},
    {"type": "Ping"},
    {"type": "event"},
    {"type": "response"},
    {"type": "__class__"},
    {"type": "request"},
    {"type": "request", "resource": "a"},
    *(
        {"type": kind, "resource": "a", "payload": payload}
        for kind in ("request", "subscribe", "unsubscribe", "auth")
        for payload in (None, [], "x", 7, True, {})
    ),
    *(
        {"type": "request", "resource": resource, "payload": {"action": "b"}}
        for resource in (None, "", 7, True, [], {}, "a" * 65, "a\0")
    ),
    *(
        {"type": "request", "resource": "a", "payload": {"action": action}}
        for action in (None, "", 7, True, [], {}, "a" * 65, "a\0")
    ),
    *(
        {"type": "request", "resource": "a", "key": key, "payload": {"action": "b"}}
        for key in ("", 7, True, [], {}, "a" * 65, "a\0")
    ),
    *(
        {"type": kind, "payload": {"rooms": rooms}}
        for kind in ("subscribe", "unsubscribe")
        for rooms in NO_ROOMS
    ),
    *(
        {"type": kind, "payload": {"rooms": ["good", name]}}
        for kind in ("subscribe", "unsubscribe")
        for name in ROOM_NAMES
    ),
    *({"type": "subscribe", "payload": {"rooms": ["good", place]}} for place in POSITIONS),
    {"type": "unsubscribe", "payload": {"rooms": [{"room": "a"}]}},
    *({"type": "auth", "payload": {"token": token}} for token in (None, "", 7, True, [], {})),
]


@pytest.mark.parametrize("frame", INCOMPLETE, ids=lambda frame: json.dumps(frame)[:60])
def test_what_is_incomplete_is_malformed_and_answered_under_its_id(frame: dict[str, Any]) -> None:
    with pytest.raises(MalformedFrame) as caught:
        decode(json.dumps({"id": "mine"} | frame))
    assert caught.value.id == "mine"
    assert str(caught.value)


def test_the_error_names_no_exception_and_no_part_of_a_token() -> None:
    with pytest.raises(MalformedFrame) as caught:
        decode('{"type":"auth","id":"1","payload":{"token":["secret"]}}')
    assert "secret" not in str(caught.value)


# What hypothesis makes up

names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=64)
room_names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=256)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["request", "subscribe", "unsubscribe", "auth", "ping"]) | values,
        "id": names | values,
        "resource": names | values,
        "key": names | values,
        "payload": st.fixed_dictionaries(
            {},
            optional={
                "action": names | values,
                "token": names | values,
                "rooms": st.lists(room_names | values, max_size=3) | values,
            },
        )
        | values,
    },
)


def reads_or_refuses(text: str | bytes) -> None:
    try:
        message = decode(text)
    except MalformedFrame as error:
        assert error.id is None or 0 < len(error.id) <= 64  # noqa: PT017
    else:
        assert isinstance(message, get_args(Message))


@given(st.text() | st.text(st.characters()) | st.binary())
def test_any_text_or_bytes_is_a_message_or_malformed(text: str | bytes) -> None:
    reads_or_refuses(text)


@given(near_misses)
def test_whatever_looks_like_an_envelope_is_a_message_or_malformed(frame: dict[str, Any]) -> None:
    reads_or_refuses(json.dumps(frame))
    reads_or_refuses(json.dumps(frame, ensure_ascii=False))


arguments = st.dictionaries(st.text(max_size=8).filter(lambda key: key != "action"), values)


@given(names, names, names, arguments, st.none() | names)
def test_a_request_comes_through_as_it_was_written(
    frame_id: str, resource: str, action: str, payload: dict[str, Any], key: str | None
) -> None:
    frame = {"type": "request", "id": frame_id, "resource": resource, "key": key}
    text = json.dumps(frame | {"payload": {**payload, "action": action}})
    assert decode(text) == Request(frame_id, resource, action, payload, key)


positions = st.builds(Position, room_names) | st.builds(
    Position, room_names, names, st.integers(0, MAX_OFFSET)
)


@given(names, st.lists(positions, min_size=1, max_size=5, unique_by=lambda position: position.room))
def test_a_subscription_comes_through_as_it_was_written(
    frame_id: str, places: list[Position]
) -> None:
    rooms = [{"room": p.room, "epoch": p.epoch, "offset": p.offset} for p in places]
    text = json.dumps({"type": "subscribe", "id": frame_id, "payload": {"rooms": rooms}})
    assert decode(text) == Subscribe(frame_id, tuple(places))


@given(names, st.lists(room_names, min_size=1, max_size=5))
def test_an_unsubscription_comes_through_as_it_was_written(frame_id: str, rooms: list[str]) -> None:
    text = json.dumps({"type": "unsubscribe", "id": frame_id, "payload": {"rooms": rooms}})
    assert decode(text) == Unsubscribe(frame_id, tuple(rooms))


@given(names, st.text(min_size=1), st.none() | names)
def test_tokens_pings_and_pongs_come_through_as_they_were_written(
    frame_id: str, token: str, ping_id: str | None
) -> None:
    text = json.dumps({"type": "auth", "id": frame_id, "payload": {"token": token}})
    assert decode(text) == Auth(frame_id, token)
    assert decode(json.dumps({"type": "ping", "id": ping_id})) == Ping(ping_id)
    assert decode(json.dumps({"type": "pong", "id": ping_id})) == Pong(ping_id)


@given(
    st.recursive(
        scalars | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
    st.text(),
    room_names,
)
def test_an_event_is_strict_json_whatever_its_data(data: Any, kind: str, room: str) -> None:
    told = strict_json(event_frame(Event(kind, dump(data), room)).text)
    assert told["payload"]["type"] == kind
    assert strict_json(response_frame("1", data).text)["id"] == "1"


@given(st.text(st.characters()))
def test_the_name_of_a_room_is_printable_and_short(name: str) -> None:
    assert is_room_name(name) is (1 <= len(name) <= 256 and name.isprintable())
