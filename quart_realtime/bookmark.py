"""Where the reader of an event stream stands in all its rooms, as one ``id:`` line tells it.

WHATWG HTML, "Server-sent events": a browser sends the last ``id:`` it has read when it comes back.
It is base64url of JSON, ``{"room": ["epoch", offset]}``; what comes back is read as a stranger's.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeAlias

import msgspec

from .errors import BadRequest, RoomForbidden
from .frames import Frame
from .protocol import EVERYONE, ROOM_JOINED, ROOM_LEFT

SUBSCRIBED = "rooms"
"""The id of the answer that tells about the rooms which a stream was opened with."""
MAX_BOOKMARK = 4096
"""How many characters one may have: proxies refuse headers that are much longer."""
NOWHERE = "-"
"""An epoch that no room has: whoever comes back from there is told that it has missed events."""
_CUT = ""
"""Stands among the rooms, and can name none, where some didn't fit."""


Places: TypeAlias = dict[str, tuple[str, int]]
"""Rooms, each with the epoch and the offset that it has been read up to."""


class _Frame(msgspec.Struct):
    """As much of a frame as tells where a room stands."""

    type: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    id: str | None = None
    room: str = EVERYONE
    epoch: str | None = None
    offset: int | None = None


_frames = msgspec.json.Decoder(_Frame)
_encoder = msgspec.json.Encoder()
_places = msgspec.json.Decoder(Places)


def _entry(room: str, epoch: str, offset: int) -> bytes:
    """Write one room's place as a member of the bookmark's JSON object."""
    return _encoder.encode({room: (epoch, offset)})[1:-1]


_CUT_ENTRY = _entry(_CUT, NOWHERE, 0)
_MAX_ENTRIES = MAX_BOOKMARK * 3 // 4 - len(b"{}") - len(_CUT_ENTRY)
"""How many bytes of JSON all rooms may take, a comma with each: base64 makes four of three."""


class Bookmark:
    """Follows the frames of one stream: :meth:`pass_over` as they are sent, :meth:`note` as taken.

    No more rooms are kept than fit, those heard of lately, so that no number of them makes
    :meth:`text` expensive.

    Args:
        places: Where its reader stood before, which the first frames must not move: what was missed
            comes with the answer to its ``subscribe``, whose id is :data:`SUBSCRIBED`.

    """

    def __init__(self, places: Places) -> None:
        self._entries: dict[str, bytes] = {}
        self._size = 0
        self._cut = False
        self._resuming = set(places)
        # The same as of what was sent, of which some may not have been taken yet.
        self._awaited = set(places)
        # Those whose answer was an error stay where they were, for another time.
        self._stuck: set[str] = set()
        # Where not all fit, those that stand nowhere lose nothing: they are told of as cut.
        for room, place in sorted(places.items(), key=lambda item: item[1][0] != NOWHERE):
            self._put(room, *place)

    def pass_over(self, frame: Frame) -> bool:
        """Tell whether *frame* is an event that the answer which is on its way has in it too.

        It is asked of each frame in the order in which they are sent, however late they are taken:
        what is sent after the answer isn't in it.
        """
        if not self._awaited:
            return False
        read = _frames.decode(frame.data)
        if read.type == "event" and read.offset is not None:
            return read.room in self._awaited
        self._awaited -= self._settled(read)
        return False

    def _settled(self, frame: _Frame) -> set[str]:
        """Return the rooms of which *frame* says what became of them, or that they were left."""
        match frame.type:
            case "event":
                notice = msgspec.json.decode(frame.payload)
                return {notice["data"]["room"]} if notice["type"] == ROOM_LEFT else set()
            case "response":
                rooms = _answered(frame)
                return {room if isinstance(room, str) else room["room"] for room in rooms}
            case "error" if frame.id == SUBSCRIBED:
                return set(self._awaited)
        return set()

    def note(self, data: bytes) -> bool:
        """Note what a frame's JSON tells, which is written next; tell whether that moves it."""
        return self._moves(_frames.decode(data))

    def text(self) -> str:
        """Return the bookmark as it stands after all that was noted."""
        entries = [*self._entries.values()]
        if self._cut:
            entries.insert(0, _CUT_ENTRY)
        return _in_base64(b"{" + b",".join(entries) + b"}")

    def _moves(self, frame: _Frame) -> bool:
        match frame.type:
            case "event" if frame.offset is not None and frame.epoch is not None:
                return self._put(frame.room, frame.epoch, frame.offset)
            case "event":
                return self._heed(msgspec.json.decode(frame.payload))
            case "connected":
                rooms = msgspec.json.decode(frame.payload)["rooms"]
                return sum(self._enter(place) for place in rooms) > 0
            case "response":
                return sum(self._resume(place) for place in _answered(frame)) > 0
            case "error" if frame.id == SUBSCRIBED:
                self._stuck |= self._resuming
                self._resuming.clear()
        return False

    def _heed(self, notice: dict[str, Any]) -> bool:
        """Follow what the server says of the rooms that the app puts its client into."""
        if notice["type"] == ROOM_JOINED:
            return self._enter(notice["data"])
        return notice["type"] == ROOM_LEFT and self._leave(notice["data"]["room"])

    def _enter(self, place: dict[str, Any]) -> bool:
        """Note a room that the server has put the client in; where that stood counts for more."""
        room = place["room"]
        known = room in self._entries or room in self._resuming
        return not known and self._take(place)

    def _resume(self, place: dict[str, Any] | str) -> bool:
        """Note the answer about one room; its mere name says that the client has left it."""
        if isinstance(place, str):
            return self._leave(place)
        room = place["room"]
        resuming = room in self._resuming
        self._resuming.discard(room)
        if "error" not in place:
            self._stuck.discard(room)
        elif resuming and place["error"]["code"] != RoomForbidden.code:
            self._stuck.add(room)
        elif room in self._entries:
            return self._leave(room)
        return self._take(place)

    def _leave(self, room: str) -> bool:
        self._resuming.discard(room)
        self._stuck.discard(room)
        return self._remove(room)

    def _take(self, place: dict[str, Any]) -> bool:
        epoch, offset = place.get("epoch"), place.get("offset")
        return epoch is not None and offset is not None and self._put(place["room"], epoch, offset)

    def _put(self, room: str, epoch: str, offset: int) -> bool:
        if room in self._stuck:
            return False
        self._remove(room)
        entry = _entry(room, epoch, offset)
        self._entries[room] = entry
        self._size += len(entry) + 1
        # Those that were heard of lately stand last.
        while self._size > _MAX_ENTRIES:
            self._cut = True
            self._remove(next(iter(self._entries)))
        return True

    def _remove(self, room: str) -> bool:
        entry = self._entries.pop(room, None)
        if entry is None:
            return False
        self._size -= len(entry) + 1
        return True


def _answered(frame: _Frame) -> list[dict[str, Any] | str]:
    """Return what a response says of rooms: a place of each, or the mere name of one left."""
    payload = msgspec.json.decode(frame.payload)
    return payload.get("rooms", []) if isinstance(payload, dict) else []


def _in_base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def encode_places(places: Places) -> str:
    """Write *places* as a bookmark."""
    return _in_base64(_encoder.encode(places))


def read_bookmark(bookmark: str | None, rooms: list[str]) -> Places:
    """Return where whoever comes back with *bookmark* stood, in no room if it is new.

    Args:
        bookmark: The last ``id:`` it has read; None, or empty, where there was none.
        rooms: Those it asks for; those that did not fit in there have been read up to nowhere.

    Raises:
        BadRequest: that is no bookmark. Names and numbers in it aren't looked at yet.
    """
    if not bookmark:
        return {}
    try:
        if len(bookmark) > MAX_BOOKMARK:
            raise ValueError
        padded = bookmark + "=" * (-len(bookmark) % 4)
        places = _places.decode(urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, RecursionError, msgspec.DecodeError):
        raise BadRequest("Last-Event-ID must be an id that this server gave") from None
    if places.pop(_CUT, None) is not None:
        places = dict.fromkeys(rooms, (NOWHERE, 0)) | places
    return places


def subscribe_text(rooms: list[str], places: Places) -> str | None:
    """Write the ``subscribe`` message that asks for *rooms* and for *places*; None for none."""
    asked: list[Any] = [
        {"room": room, "epoch": epoch, "offset": offset} for room, (epoch, offset) in places.items()
    ]
    asked += [room for room in dict.fromkeys(rooms) if room not in places]
    if not asked:
        return None
    return json.dumps({"type": "subscribe", "id": SUBSCRIBED, "payload": {"rooms": asked}})
