"""Where a stream's reader stands, as its ids tell it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from quart_realtime.bookmark import (
    MAX_BOOKMARK,
    NOWHERE,
    SUBSCRIBED,
    Bookmark,
    Places,
    encode_places,
    read_bookmark,
    subscribe_text,
)
from quart_realtime.errors import RoomForbidden, Unavailable
from quart_realtime.frames import (
    Frame,
    connected_frame,
    error_frame,
    event_frame,
    response_frame,
)
from quart_realtime.protocol import Event


def event(room: str, offset: int, epoch: str = "e") -> Frame:
    return event_frame(Event("happened", b"1", room, offset=offset, epoch=epoch))


def notice(kind: str, **data: Any) -> Frame:
    return Frame(
        b'{"type":"event","payload":{"type":"%s","data":{"room":"a","epoch":"e","offset":4}}}'
        % kind.encode()
    )


def place(room: str, offset: int, **more: Any) -> dict[str, Any]:
    return {"room": room, "epoch": "e", "offset": offset, **more}


def places(text: str | None) -> Places:
    assert text is not None
    return read_bookmark(text, [])


def noted(bookmark: Bookmark, frame: Frame) -> str | None:
    """Send *frame* and take it at once; return the bookmark where that has moved it."""
    assert not bookmark.pass_over(frame)
    return bookmark.text() if bookmark.note(frame.data) else None


def test_events_and_answers_move_it_and_nothing_else_does() -> None:
    bookmark = Bookmark({})
    greeting = connected_frame({"rooms": [place("a", 1), place("b", 2)]})
    assert places(noted(bookmark, greeting)) == {"a": ("e", 1), "b": ("e", 2)}
    assert places(noted(bookmark, event("a", 2))) == {"a": ("e", 2), "b": ("e", 2)}
    answer = response_frame("s", {"rooms": [place("c", 7)]})
    assert places(noted(bookmark, answer))["c"] == ("e", 7)
    assert noted(bookmark, Frame(b'{"type":"ping"}')) is None
    assert noted(bookmark, response_frame("r", "pong")) is None
    assert noted(bookmark, response_frame("r", {"other": 1})) is None


def test_rooms_come_and_go_with_the_server_s_word_and_with_unsubscribe() -> None:
    bookmark = Bookmark({})
    assert places(noted(bookmark, notice("room_joined"))) == {"a": ("e", 4)}
    assert places(noted(bookmark, notice("room_left"))) == {}
    noted(bookmark, event("a", 5))
    assert places(noted(bookmark, response_frame("u", {"rooms": ["a"]}))) == {}


def test_nothing_moves_it_past_what_was_missed_before_that_has_been_told() -> None:
    bookmark = Bookmark({"a": ("e", 3)})
    assert noted(bookmark, connected_frame({"rooms": [place("a", 9)]})) is None
    assert bookmark.pass_over(event("a", 10))
    assert not bookmark.pass_over(event("b", 1))
    answer = response_frame(SUBSCRIBED, {"rooms": [place("a", 10)]})
    assert places(noted(bookmark, answer)) == {"a": ("e", 10)}
    assert not bookmark.pass_over(event("a", 11))


def test_a_room_that_could_not_be_resumed_stays_where_it_was() -> None:
    for refusal in (
        response_frame(SUBSCRIBED, {"rooms": [{"room": "a", "error": {"code": Unavailable.code}}]}),
        error_frame(SUBSCRIBED, Unavailable()),
    ):
        bookmark = Bookmark({"a": ("e", 3)})
        noted(bookmark, refusal)
        assert not bookmark.pass_over(event("a", 10))
        assert noted(bookmark, event("a", 10)) is None
        assert places(noted(bookmark, event("b", 1))) == {"a": ("e", 3), "b": ("e", 1)}


def test_a_room_that_is_forbidden_now_is_forgotten() -> None:
    bookmark = Bookmark({"a": ("e", 3), "b": ("e", 1)})
    refused = {"room": "a", "error": {"code": RoomForbidden.code}}
    answer = response_frame(SUBSCRIBED, {"rooms": [refused, place("b", 1)]})
    assert places(noted(bookmark, answer)) == {"b": ("e", 1)}


def test_it_keeps_those_heard_of_last_where_not_all_fit() -> None:
    bookmark = Bookmark({})
    text = None
    for number in range(500):
        text = noted(bookmark, event(f"room-{number}", 1))
    assert text is not None
    assert len(text) <= MAX_BOOKMARK
    kept = read_bookmark(text, ["room-0", "room-499", "room-new"])
    assert kept["room-499"] == ("e", 1)
    # Who asks for them is told that something was missed.
    assert kept["room-0"][0] != "e"
    assert "room-1" not in kept


def test_what_is_sent_after_an_answer_is_not_in_it_though_neither_has_been_taken() -> None:
    bookmark = Bookmark({"a": ("e", 3), "b": ("e", 1), "c": ("e", 1)})
    left = notice("room_left")
    answer = response_frame(SUBSCRIBED, {"rooms": [place("b", 2)]})
    for told, passed in ((left, "bc"), (answer, "c"), (error_frame(SUBSCRIBED, Unavailable()), "")):
        assert not bookmark.pass_over(told)
        assert [room for room in "abc" if bookmark.pass_over(event(room, 9))] == [*passed]
    # What isn't taken isn't claimed.
    assert places(bookmark.text()) == {"a": ("e", 3), "b": ("e", 1), "c": ("e", 1)}


def test_a_thousand_rooms_are_not_encoded_for_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    bookmark = Bookmark({})
    names = [f"room-{number}" for number in range(1000)]
    noted(bookmark, connected_frame({"rooms": [place(name, 1) for name in names]}))
    encoded: list[int] = []

    def encode(data: bytes) -> bytes:
        encoded.append(len(data))
        return urlsafe_b64encode(data)

    monkeypatch.setattr("quart_realtime.bookmark.urlsafe_b64encode", encode)
    kept = places(noted(bookmark, event("room-0", 2)))
    assert (kept["room-0"], kept["room-999"], "room-1" in kept) == (("e", 2), ("e", 1), False)
    assert len(encoded) == 1
    assert encoded[0] <= MAX_BOOKMARK * 3 // 4
    # No more are left out than must be.
    assert encoded[0] > MAX_BOOKMARK * 3 // 4 - 2 * len('"room-999":["e",1],')


def test_a_known_place_is_not_left_out_for_those_that_were_left_out_before() -> None:
    names = [f"room-{number}" for number in range(500)]
    text = encode_places({"": (NOWHERE, 0), "room-7": ("e", 3)})
    bookmark = Bookmark(read_bookmark(text, names))
    back = read_bookmark(bookmark.text(), names)
    assert len(bookmark.text()) <= MAX_BOOKMARK
    assert back["room-7"] == ("e", 3)
    assert {back[name][0] for name in names if name != "room-7"} == {NOWHERE}
    # Not even the server's greeting gets any of them past what was missed.
    assert noted(bookmark, connected_frame({"rooms": [place("room-0", 9)]})) is None


def test_what_is_asked_for_is_every_place_and_every_room_once() -> None:
    assert subscribe_text([], {}) is None
    text = subscribe_text(["a", "b", "b"], {"a": ("e", 3)})
    rooms = [{"room": "a", "epoch": "e", "offset": 3}, "b"]
    assert text is not None
    assert json.loads(text)["payload"]["rooms"] == rooms
    assert read_bookmark(encode_places({"a": ("e", 3)}), ["a"]) == {"a": ("e", 3)}
