"""What is shown of a frame to somebody it wasn't meant for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quart_realtime.glimpses import HIDDEN, SHOWN, glimpse

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpZGVudGl0eSI6ImFuYSJ9.c2lnbmF0dXJl"


def frame(**members: Any) -> str:
    return json.dumps(members)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        (frame(type="ping"), "ping", ""),
        (
            frame(type="request", id="1", resource="chat", payload={"action": "say"}),
            "request",
            "chat.say",
        ),
        (frame(type="event", payload={"type": "new_message", "data": 1}), "event", "new_message"),
        (frame(type="error", id=None, payload={"code": "not_found"}), "error", "not_found"),
        (frame(type="closing", payload={"code": "restart"}), "closing", "restart"),
        (frame(type="subscribe", payload={"rooms": ["a", {"room": "b"}]}), "subscribe", "a, b"),
        (frame(type="subscribe", payload={"rooms": 7}), "subscribe", ""),
        (frame(type="response", payload=[1]), "response", ""),
    ],
)
def test_a_frame_is_named_by_what_it_is_about(text: str, kind: str, name: str) -> None:
    shown = glimpse(text)
    assert (shown.type, shown.name) == (kind, name)
    assert shown.size == len(text)


@pytest.mark.parametrize(
    "text",
    [
        frame(type="auth", id="1", payload={"token": TOKEN}),
        frame(type="auth", payload=TOKEN),
        frame(type="auth", payload={"strange": [TOKEN]}),
        frame(type="response", id="1", payload={"access_token": "opaque and secret"}),
        frame(type="request", payload={"action": "login", "Password": "opaque and secret"}),
        frame(type="request", payload={"action": "x", "headers": {"Authorization": [TOKEN]}}),
        frame(type="event", payload={"type": "told", "data": {"text": f"it is {TOKEN}, take it"}}),
        frame(type="request", id=TOKEN, resource=TOKEN, payload={"action": TOKEN, TOKEN: 1}),
        frame(type=TOKEN),
        frame(type="event", payload={"data": {"API-Key": "opaque", "otp": "opaque"}}),
        frame(
            type="event",
            payload={"data": {"sessionId": ["opaque"], "text": "Bearer opaque+and=secret/"}},
        ),
        r'{"type": "request", "payload": {"to\u006ben": "opaque and secret"}}',
        '{"type": "auth", "payload": {"token": "' + TOKEN,
        f"Bearer {TOKEN}",
        json.dumps([TOKEN]),
    ],
)
def test_no_secret_is_shown(text: str) -> None:
    shown = repr(glimpse(text))
    assert "opaque" not in shown
    assert not any(part in shown for part in TOKEN.split("."))


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    payload = {
        "action": "say",
        "text": "<img src=x>, by the bearer of it",
        "expires_at": 7,
        "list": [None, True, 1.5],
        "footprint": {"session": "morning", "key": "c"},
    }
    text = frame(type="request", id="m1", resource="chat", room="r", payload=payload)
    shown = glimpse(text)
    assert json.loads(shown.text)["payload"] == payload
    assert (shown.id, shown.room) == ("m1", "r")
    assert HIDDEN not in shown.text


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 60_000, b"\xff\xfe", '{"type": 7}', '"text"', "\ud800"]
)
def test_of_what_cannot_be_read_only_the_size_is_shown(text: str | bytes) -> None:
    shown = glimpse(text)
    assert (shown.type, shown.text) == ("malformed", "")


def test_what_is_long_is_cut_off_and_what_is_deep_left_out() -> None:
    long = glimpse(frame(type="event", payload={"type": "x", "data": "a" * 60_000}))
    assert len(long.text) == SHOWN + 1
    assert long.size > 60_000
    deep = '{"type": "event", "payload": ' + "[" * 100 + "]" * 100 + "}"
    assert "…" in glimpse(deep).text
