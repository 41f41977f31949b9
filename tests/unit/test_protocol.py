"""The frames of the wire, version 1: what is read, what is refused, what is written."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from attrs import exceptions

from quart_realtime.errors import BadRequest, NotFound, RealtimeError
from quart_realtime.frames import (
    PING,
    PONG,
    Answer,
    closing_frame,
    connected_frame,
    error_frame,
    event_frame,
    pong_frame,
    response_frame,
)
from quart_realtime.models import dump
from quart_realtime.protocol import (
    EVERYONE,
    MAX_DEPTH,
    MAX_OFFSET,
    TRANSITIONS,
    Auth,
    CloseCode,
    Event,
    HistoryPolicy,
    MalformedFrame,
    Message,
    Ping,
    Pong,
    Position,
    Request,
    State,
    Subscribe,
    Unsubscribe,
    check_event_name,
    close_label,
    code_of_peer,
    decode,
    is_room_name,
    may_reconnect,
)

from .fakes import event, strict_json

SEED_RESPONSE = {
    "type": "response",
    "id": "msg-123456789",
    "payload": {
        "conversations": [
            {
                "id": "conv123",
                "title": "Conversación 1",
                "created_at": "2025-05-20T12:34:56Z",
            },
            {
                "id": "conv456",
                "title": "Conversación 2",
                "created_at": "2025-05-20T12:45:00Z",
            },
        ]
    },
}
SEED_EVENT = {
    "type": "event",
    "id": "evt-987654321",
    "payload": {
        "type": "new_message",
        "data": {
            "id": "msg456",
            "conversation_id": "conv123",
            "content": "Hola mundo",
            "sender_id": "user789",
            "timestamp": "2025-05-20T12:34:56Z",
        },
    },
}
SEED_ERROR = {
    "type": "error",
    "id": "msg-123456789",
    "payload": {
        "code": "not_found",
        "message": "Conversación no encontrada",
        "details": {"conversation_id": "conv999"},
    },
}


def letters(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_the_seed_s_request_is_read() -> None:
    text = """{
      "type": "request",
      "id": "msg-123456789",
      "resource": "conversations",
      "payload": {
        "action": "get_all",
        "user_id": "user123"
      }
    }"""
    expected = Request("msg-123456789", "conversations", "get_all", {"user_id": "user123"})
    assert decode(text) == expected
    assert decode(text.encode()) == expected


def test_the_seed_s_response_is_written() -> None:
    frame = response_frame("msg-123456789", SEED_RESPONSE["payload"])
    assert frame.text == letters(SEED_RESPONSE)


def test_the_seed_s_event_is_written() -> None:
    payload: Any = SEED_EVENT["payload"]
    told = Event("new_message", dump(payload["data"]), EVERYONE, id="evt-987654321")
    assert event_frame(told).text == letters(SEED_EVENT)


def test_the_seed_s_error_is_written() -> None:
    error = NotFound("Conversación no encontrada", conversation_id="conv999")
    assert error_frame("msg-123456789", error).text == letters(SEED_ERROR)
    assert Answer.of_error(error).frame("msg-123456789").text == letters(SEED_ERROR)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"type":"request","id":"1","resource":"a","key":"k","payload":{"action":"b"}}',
            Request("1", "a", "b", {}, "k"),
        ),
        (
            '{"type":"request","id":"1","resource":"a","key":null,"payload":{"action":"b"}}',
            Request("1", "a", "b", {}),
        ),
        (
            '{"type":"subscribe","id":"1","payload":{"rooms":'
            '["a",{"room":"b","epoch":"e","offset":17},{"room":"c"}]}}',
            Subscribe("1", (Position("a"), Position("b", "e", 17), Position("c"))),
        ),
        (
            '{"type":"subscribe","id":"1","payload":{"rooms":[{"room":"a","epoch":null,'
            '"offset":0}]}}',
            Subscribe("1", (Position("a"),)),
        ),
        (
            '{"type":"unsubscribe","id":"1","payload":{"rooms":["a","b"]}}',
            Unsubscribe("1", ("a", "b")),
        ),
        ('{"type":"auth","id":"1","payload":{"token":"t"}}', Auth("1", "t")),
        ('{"type":"ping"}', Ping()),
        ('{"type":"ping","id":"p"}', Ping("p")),
        ('{"type":"pong"}', Pong()),
        ('{"type":"pong","id":null,"more":{"x":[1]},"payload":7}', Pong()),
    ],
)
def test_a_message_is_read(text: str, message: Message) -> None:
    assert decode(text) == message


def test_the_action_is_no_argument_of_the_request() -> None:
    message = decode('{"type":"request","id":"1","resource":"a","payload":{"action":"b","c":1}}')
    assert isinstance(message, Request)
    assert message.payload == {"c": 1}


def test_an_offset_without_an_epoch_is_no_position() -> None:
    text = '{"type":"subscribe","id":"1","payload":{"rooms":[{"room":"a","offset":5}]}}'
    assert decode(text) == Subscribe("1", (Position("a"),))


def test_an_offset_that_is_none_is_refused_even_without_an_epoch() -> None:
    text = '{"type":"subscribe","id":"1","payload":{"rooms":[{"room":"a","offset":-5}]}}'
    with pytest.raises(MalformedFrame, match="offset"):
        decode(text)


def test_a_room_named_twice_in_one_subscribe_is_refused() -> None:
    text = '{"type":"subscribe","id":"1","payload":{"rooms":["a",{"room":"a"}]}}'
    with pytest.raises(MalformedFrame, match="twice"):
        decode(text)


@pytest.mark.parametrize("name", ["__proto__", "*?[", "{tag}", "a" * 256, "é:🙂", " "])
def test_a_printable_name_of_a_room_is_taken(name: str) -> None:
    text = letters({"type": "subscribe", "id": "1", "payload": {"rooms": [name]}})
    assert decode(text) == Subscribe("1", (Position(name),))
    assert is_room_name(name)


def test_a_token_is_not_in_the_text_of_its_message() -> None:
    assert "secret" not in repr(Auth("1", "secret"))


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(exceptions.FrozenInstanceError):
        Ping("1").id = "2"  # type: ignore[misc]


def test_brackets_within_text_are_no_nesting() -> None:
    text = letters({"type": "ping", "payload": {"text": '\\"[{' * 1000}})
    assert decode(text) == Ping()


def test_a_message_may_be_nested_up_to_the_limit_and_no_deeper() -> None:
    def nested(depth: int) -> str:
        return '{"type":"ping","payload":' + "[" * depth + "]" * depth + "}"

    assert decode(nested(MAX_DEPTH - 1)) == Ping()
    with pytest.raises(MalformedFrame, match="nested"):
        decode(nested(MAX_DEPTH))


def test_many_objects_side_by_side_are_not_deep() -> None:
    assert decode('{"type":"ping","payload":[' + ",".join(["{}"] * 5000) + "]}") == Ping()


# What is written


def test_an_event_of_a_room_with_history_tells_its_place() -> None:
    told = strict_json(event_frame(event(1, "a", offset=3, epoch="e")).text)
    assert (told["room"], told["offset"], told["epoch"]) == ("a", 3, "e")


def test_an_event_of_a_room_without_history_tells_the_room_only() -> None:
    told = strict_json(event_frame(event(1, "a")).text)
    assert told["room"] == "a"
    assert "offset" not in told
    assert "epoch" not in told


def test_an_event_for_everyone_tells_its_place_where_it_has_one() -> None:
    told = strict_json(event_frame(event(1, EVERYONE, offset=3, epoch="e")).text)
    assert (told["room"], told["offset"], told["epoch"]) == (EVERYONE, 3, "e")


def test_each_event_has_an_id_of_its_own() -> None:
    first, second = event(), event()
    assert first.id != second.id
    assert first.id.startswith("evt-")


def test_an_event_gives_its_data_back() -> None:
    assert event({"a": [1, None]}).value() == {"a": [1, None]}


@pytest.mark.parametrize("name", ["new_message", "a" * 256, "*?[", "__proto__", "é"])
def test_a_printable_name_of_an_event_is_taken(name: str) -> None:
    check_event_name(name)


@pytest.mark.parametrize("name", ["", "a" * 257, "a\0", "\n", None, 7, ["a"]])
def test_what_cannot_name_an_event_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="can't name an event"):
        check_event_name(name)


@pytest.mark.parametrize("name", ["presence_join", "presence_leave", "room_joined", "room_left"])
def test_the_server_s_own_events_cannot_be_the_app_s(name: str) -> None:
    with pytest.raises(ValueError, match="the server's own"):
        check_event_name(name)


def test_an_error_without_an_id_is_told_with_null() -> None:
    assert strict_json(error_frame(None, BadRequest()).text)["id"] is None


def test_an_answer_may_be_told_under_any_id() -> None:
    answer = Answer(b'{"a":1}')
    assert strict_json(answer.frame("x").text) == {
        "type": "response",
        "id": "x",
        "payload": {"a": 1},
    }
    assert strict_json(Answer.of_error(RealtimeError()).frame("y").text)["type"] == "error"


def test_the_greeting_tells_the_protocol_s_version() -> None:
    told = strict_json(connected_frame({"connection_id": "c"}).text)
    assert told == {"type": "connected", "payload": {"protocol": 1, "connection_id": "c"}}


def test_pings_and_pongs_carry_an_id_only_where_there_was_one() -> None:
    assert PING.text == '{"type":"ping"}'
    assert pong_frame(None) is PONG
    assert strict_json(pong_frame("7").text) == {"type": "pong", "id": "7"}


def test_the_closing_notice_tells_why_and_whether_to_come_back() -> None:
    assert strict_json(closing_frame(CloseCode.RESTART, 5000).text) == {
        "type": "closing",
        "payload": {"code": "restart", "reconnect": True, "retry_after_ms": 5000},
    }
    told = strict_json(closing_frame(4999).text)["payload"]
    assert told == {"code": "closed_by_app", "reconnect": False, "retry_after_ms": None}


def test_a_frame_is_as_long_as_its_bytes() -> None:
    frame = response_frame("1", "é")
    assert len(frame) == len(frame.text.encode()) == len(frame.data)


CLOSE_CODES = [
    (1000, "normal", False),
    (1001, "going_away", True),
    (1006, "abnormal", True),
    (1009, "message_too_big", False),
    (1011, "internal_error", True),
    (1012, "restart", True),
    (1013, "try_later", True),
    (4001, "token_expired", True),
    (4002, "auth_timeout", True),
    (4003, "idle_timeout", True),
    (4004, "heartbeat_timeout", True),
    (4005, "slow_consumer", True),
    (4006, "rate_limited", True),
    (4007, "resync", True),
    (4500, "unauthorized", False),
    (4501, "protocol_error", False),
    (4502, "disconnected", False),
    (4503, "too_many_connections", False),
]


@pytest.mark.parametrize(("code", "name", "reconnect"), CLOSE_CODES)
def test_a_close_code_has_its_documented_name_and_meaning(
    code: int, name: str, reconnect: bool
) -> None:
    assert CloseCode(code).label == close_label(code) == name
    assert may_reconnect(code) is reconnect


def test_there_are_no_close_codes_beyond_the_documented() -> None:
    assert {int(code) for code in CloseCode} == {code for code, _, _ in CLOSE_CODES}


@pytest.mark.parametrize(
    ("code", "reconnect"),
    [(1007, False), (1008, False), (3999, False), (4000, True), (4499, True), (4999, False)],
)
def test_codes_between_the_named_ones_follow_their_range(code: int, reconnect: bool) -> None:
    assert may_reconnect(code) is reconnect


# The states


def test_the_state_table_says_what_becomes_of_each_message_in_each_state() -> None:
    messages = set(get_args(Message))
    assert set(TRANSITIONS) == set(State)
    assert set(TRANSITIONS[State.OPEN]) == messages
    assert set(TRANSITIONS[State.CONNECTING]) == messages - {Subscribe, Unsubscribe}
    assert not TRANSITIONS[State.CLOSING]


def test_only_a_token_opens_a_connection_and_no_message_closes_it() -> None:
    for state, transitions in TRANSITIONS.items():
        for message, after in transitions.items():
            opens = state is State.CONNECTING and message is Auth
            assert after is (State.OPEN if opens else state)


def test_a_history_of_no_events_is_none() -> None:
    assert not HistoryPolicy(0, 300).keeps
    assert HistoryPolicy(1, 300).keeps
    assert MAX_OFFSET == 2**53 - 1


@pytest.mark.parametrize(
    ("code", "means"), [(1000, 1000), (1001, 1001), (3999, 3999), (4000, 1005), (4005, 1005)]
)
def test_our_own_codes_say_nothing_where_a_client_closes_with_them(code: int, means: int) -> None:
    assert code_of_peer(code) == means
