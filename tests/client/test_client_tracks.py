"""Where an event stands decides what is done with it; no socket is needed to tell."""

from __future__ import annotations

import pytest

from quart_realtime.client_link import EventFrame, EventPayload
from quart_realtime.client_rooms import RoomAnswer, Track, Verdict


def frame(offset: int | None, epoch: str | None = "e") -> EventFrame:
    return EventFrame(EventPayload("t"), room="r", offset=offset, epoch=epoch)


@pytest.mark.parametrize(
    ("known", "awaiting", "came", "verdict", "after"),
    [
        # Nothing is known of a room without history, and all its events are wanted.
        ((None, 0), False, (None, None), Verdict.DELIVER, (None, 0)),
        (("e", 5), False, (None, None), Verdict.DELIVER, ("e", 5)),
        (("e", 5), True, (None, None), Verdict.DELIVER, ("e", 5)),
        # In order, twice, and with others missing before it.
        (("e", 5), False, (6, "e"), Verdict.DELIVER, ("e", 6)),
        (("e", 5), False, (6, None), Verdict.DELIVER, ("e", 6)),
        (("e", 5), False, (5, "e"), Verdict.DROP, ("e", 5)),
        (("e", 5), False, (1, "e"), Verdict.DROP, ("e", 5)),
        (("e", 5), False, (7, "e"), Verdict.GAP, ("e", 5)),
        # While an answer is awaited: only what comes next may pass.
        (("e", 5), True, (5, "e"), Verdict.DROP, ("e", 5)),
        (("e", 5), True, (6, "e"), Verdict.DELIVER, ("e", 6)),
        (("e", 5), True, (7, "e"), Verdict.HOLD, ("e", 5)),
        (("e", 5), True, (1, "f"), Verdict.HOLD, ("e", 5)),
        ((None, 0), True, (3, "e"), Verdict.HOLD, (None, 0)),
        ((None, 0), True, (3, None), Verdict.HOLD, (None, 0)),
        # A history that begins, and one that begins anew.
        ((None, 0), False, (3, "e"), Verdict.DELIVER, ("e", 3)),
        (("e", 5), False, (1, "f"), Verdict.NEW_EPOCH, ("f", 1)),
        (("e", 5), False, (9, "f"), Verdict.NEW_EPOCH, ("f", 9)),
    ],
)
def test_what_is_done_with_an_event(known, awaiting, came, verdict, after):
    track = Track("r", *known, awaiting=awaiting)
    assert track.judge(frame(*came)) is verdict
    assert (track.epoch, track.offset) == after


@pytest.mark.parametrize(
    ("answer", "missed", "after"),
    [
        ({"epoch": "e", "offset": 7, "recovered": True, "events": [6, 7]}, [6, 7], ("e", 7)),
        ({"epoch": "e", "offset": 7, "recovered": True, "events": [4, 5, 6, 7]}, [6, 7], ("e", 7)),
        ({"epoch": "e", "offset": 7, "recovered": False}, [], ("e", 7)),
        ({"epoch": "f", "offset": 2, "recovered": False}, [], ("f", 2)),
        ({"epoch": "f", "offset": 2, "recovered": True, "events": [1, 2]}, [], ("f", 2)),
        ({"epoch": None, "offset": None}, [], (None, 0)),
        # A live event was delivered after the answer was made, and came before it.
        ({"epoch": "e", "offset": 3, "recovered": True}, [], ("e", 5)),
    ],
)
def test_an_answer_tells_what_was_missed_and_where_the_room_stands(answer, missed, after):
    track = Track("r", "e", 5, awaiting=True, failures=3)
    events = [frame(offset) for offset in answer.pop("events", [])]
    taken = track.take(RoomAnswer("r", events=events, **answer))
    assert [event.offset for event in taken] == missed
    assert (track.epoch, track.offset) == after
    assert (track.awaiting, track.subscribed) == (False, True)


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr("quart_realtime.client_rooms.BUFFER", 2)
    track = Track("r", "e", 5, awaiting=True)
    for offset in (7, 8, 9):
        track.hold(frame(offset))
    # The last shows that something is missing.
    assert [held.offset for held in track.release()] == [7, 9]
    assert track.release() == []


def test_presence_follows_who_comes_and_goes():
    track = Track("r")
    track.note_presence("presence_join", {"user_id": "1"})
    track.note_presence("presence_join", {"user_id": "2"})
    track.note_presence("presence_join", {"user_id": "1"})
    track.note_presence("presence_leave", {"user_id": "2"})
    track.note_presence("presence_leave", {"user_id": "never there"})
    track.note_presence("new_message", {"user_id": "3"})
    track.note_presence("presence_join", {"user_id": ["a", "list"]})
    track.note_presence("presence_join", "nonsense")
    assert track.present == {"1": 1}
