"""The wire, version 1: what clients send, close codes, and the states of a connection.

Pure functions over text and values: nothing here reads a socket or knows Quart. What the server
sends is in :mod:`quart_realtime.frames`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from itertools import accumulate
from typing import Any, TypeAlias
from uuid import uuid4

import msgspec
from attrs import field, frozen

from .errors import (
    BadRequest,
    InternalError,
    RateLimited,
    RealtimeError,
    RequestTimeout,
    TokenRefused,
    Unavailable,
    UnknownVersion,
)

PROTOCOL_VERSION = 1
SUBPROTOCOL = "realtime.v1"
SUBPROTOCOLS = {SUBPROTOCOL: PROTOCOL_VERSION}
"""The versions that are spoken here, by the subprotocols that stand for them."""
BEARER_PREFIX = "bearer."
EVERYONE = "everyone"
"""The room that each logged-in connection is in; an event without a room goes there."""

ACTION = "action"
"""The key of a request's payload that says what is asked; all other keys are its arguments."""

PRESENCE_JOIN = "presence_join"
PRESENCE_LEAVE = "presence_leave"
ROOM_JOINED = "room_joined"
ROOM_LEFT = "room_left"
SKIPPED = "skipped"
"""Stands for an event that its own connection isn't told, so that the numbers have no gap."""
RESERVED_EVENTS = frozenset({PRESENCE_JOIN, PRESENCE_LEAVE, ROOM_JOINED, ROOM_LEFT, SKIPPED})
"""Events of the server's own, by which clients keep track of rooms."""

MAX_ID_LENGTH = 64
MAX_ROOM_LENGTH = 256
_SHORT_TEXT = f"a string of 1 to {MAX_ID_LENGTH} printable characters"
MAX_OFFSET = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact (RFC 8259, section 6)."""
MAX_DEPTH = 128


class CloseCode(IntEnum):
    """Why a connection ended. RFC 6455 section 7.4 gives those below 4000 their meaning."""

    NORMAL = 1000
    GOING_AWAY = 1001
    ABNORMAL = 1006
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    TOKEN_EXPIRED = 4001
    AUTH_TIMEOUT = 4002
    IDLE_TIMEOUT = 4003
    HEARTBEAT_TIMEOUT = 4004
    SLOW_CONSUMER = 4005
    RATE_LIMITED = 4006
    RESYNC = 4007
    UNAUTHORIZED = 4500
    PROTOCOL_ERROR = 4501
    DISCONNECTED = 4502
    TOO_MANY_CONNECTIONS = 4503

    @property
    def label(self) -> str:
        """The code's name, as a ``closing`` frame tells it."""
        return self.name.lower()


def close_label(code: int) -> str:
    """Return the name of *code* as a ``closing`` frame tells it."""
    try:
        return CloseCode(code).label
    except ValueError:
        return "closed_by_app"


_COME_BACK = frozenset({1001, 1006, 1011, 1012, 1013})


def may_reconnect(code: int) -> bool:
    """Tell whether a client that was closed with *code* should come back by itself."""
    return code in _COME_BACK or 4000 <= code < 4500


def code_for_turning_away(error: RealtimeError) -> CloseCode:
    """Return what a connection is closed with that *error* keeps out."""
    match error:
        case TokenRefused():
            return CloseCode.TOKEN_EXPIRED if error.expired else CloseCode.UNAUTHORIZED
        case Unavailable() | RateLimited() | RequestTimeout():
            return CloseCode.TRY_LATER
        case InternalError():
            return CloseCode.INTERNAL_ERROR
        case UnknownVersion():
            return CloseCode.PROTOCOL_ERROR
        case _:
            return CloseCode.DISCONNECTED


_NO_STATUS = 1005
"""There was no code in the close (RFC 6455, section 7.4.1)."""


def code_of_peer(code: int) -> int:
    """Return what it stands for that a client closes with *code*.

    Those from 4000 on are this library's and its app's to say: of a client they say nothing.
    """
    return _NO_STATUS if code >= 4000 else code


def check_close_code(code: int) -> None:
    """Raise ValueError unless an app may close with *code*."""
    if code != CloseCode.NORMAL and not 4000 <= code <= 4999:
        raise ValueError(f"close with 1000 or with a code from 4000 to 4999, not {code}")


def close_reason(reason: str) -> str:
    """Return as much of *reason* as a close frame has room for (RFC 6455, section 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")


@frozen
class Position:
    """A place in a room's history: all up to *offset* of *epoch* has been seen.

    Without an epoch it is no place, only the room's name.
    """

    room: str
    epoch: str | None = None
    offset: int = 0


@frozen
class HistoryPolicy:
    """How much of a room's past is kept: *size* events, each for *ttl* seconds."""

    size: int
    ttl: float

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all, and so whether the room's events are numbered."""
        return self.size > 0


@frozen
class Request:
    """A client asks *resource* to do *action*; *id* pairs it with its answer.

    *key* makes it run once however often it is sent.
    """

    id: str
    resource: str
    action: str
    payload: dict[str, Any]
    key: str | None = None


@frozen
class Subscribe:
    """A client asks to hear *rooms*; *id* pairs it with its answer."""

    id: str
    rooms: tuple[Position, ...]


@frozen
class Unsubscribe:
    """A client no longer wants to hear *rooms*."""

    id: str
    rooms: tuple[str, ...]


@frozen
class Auth:
    """A client shows a token: its first message, or a fresh one on a live connection."""

    id: str
    token: str = field(repr=False)


@frozen
class Ping:
    """A client asks whether the server is there."""

    id: str | None = None


@frozen
class Pong:
    """A client answers the server's ping."""

    id: str | None = None


Asked: TypeAlias = Request | Subscribe | Unsubscribe | Auth
"""What is answered."""
Message: TypeAlias = Asked | Ping | Pong


class State(Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"


TRANSITIONS: Mapping[State, Mapping[type[Message], State]] = {
    # A request before login is for handlers that need none: each handler decides.
    State.CONNECTING: {
        Auth: State.OPEN,
        Request: State.CONNECTING,
        Ping: State.CONNECTING,
        Pong: State.CONNECTING,
    },
    State.OPEN: {
        Auth: State.OPEN,
        Request: State.OPEN,
        Subscribe: State.OPEN,
        Unsubscribe: State.OPEN,
        Ping: State.OPEN,
        Pong: State.OPEN,
    },
    State.CLOSING: {},
}
"""Which messages a state takes, and the state it is in once they have succeeded."""


@frozen
class Event:
    """Something that happened, as the members of a room are told.

    *data* is its JSON, encoded; *offset* and *epoch* say where it stands in the room's history,
    None where the room keeps none. *exclude* is the connection that isn't to be told.
    """

    type: str
    data: bytes
    room: str
    id: str = field(factory=lambda: new_event_id())
    offset: int | None = None
    epoch: str | None = None
    exclude: str | None = None

    def value(self) -> Any:
        """Return *data* decoded."""
        return msgspec.json.decode(self.data)


@frozen
class Notification:
    """An event as the app sent it: once, to all of *rooms*. *data* is its JSON, encoded."""

    type: str
    data: bytes
    rooms: tuple[str, ...]

    def value(self) -> Any:
        """Return *data* decoded."""
        return msgspec.json.decode(self.data)


def new_event_id() -> str:
    """Make the id of an event."""
    return f"evt-{uuid4().hex}"


class MalformedFrame(BadRequest):
    """A message is not a frame of this protocol.

    Args:
        reason: What is wrong with it.
        id: The message's own id, where one could be read.

    """

    def __init__(self, reason: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(reason)
        self.id = id


class _Envelope(msgspec.Struct):
    type: Any = None
    id: Any = None
    resource: Any = None
    key: Any = None
    payload: Any = None


_decoder = msgspec.json.Decoder(_Envelope)


def decode(text: str | bytes) -> Message:
    """Read one message of a client.

    Args:
        text: A text frame's content.

    Raises:
        MalformedFrame: it isn't JSON, isn't an envelope of a known type, or lacks what its type
            needs. The error carries the message's id where that could be read.

    """
    envelope = _read_envelope(text)
    frame_id = envelope.id if is_short_name(envelope.id) else None
    try:
        read = _READERS.get(envelope.type) if isinstance(envelope.type, str) else None
        if read is None:
            known = ", ".join(_READERS)
            raise MalformedFrame(f"type must be one of {known}")
        if envelope.id is not None and frame_id is None:
            raise MalformedFrame(f"id must be {_SHORT_TEXT}")
        return read(envelope)
    except MalformedFrame as error:
        error.id = frame_id
        raise


def _read_envelope(text: str | bytes) -> _Envelope:
    try:
        data = text.encode() if isinstance(text, str) else text
        if _too_deep(data):
            raise MalformedFrame(f"nested more than {MAX_DEPTH} deep")
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedFrame(f"not a JSON object: {error}") from None


# What it has read it never reads again, however a string goes on: time grows as the length.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""In and out, as signed bytes."""


def _too_deep(data: bytes) -> bool:
    """Tell whether *data* nests too deep for Python's own JSON reader further on.

    Counting brackets settles it for nearly every message.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    steps = _STRING.sub(b"", data).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


def is_short_name(value: object) -> bool:
    """Tell whether *value* can be an id, a key, a resource or an action: 1 to 64 characters."""
    return _is_name(value, MAX_ID_LENGTH)


def is_room_name(value: object) -> bool:
    """Tell whether *value* can name a room: 1 to 256 printable characters."""
    return _is_name(value, MAX_ROOM_LENGTH)


def request_payload(
    action: str, payload: Mapping[str, Any] | None, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the payload of a request for *action*, with all that is given for it.

    Raises:
        ValueError: there is an :data:`ACTION` among that, which would be another one.
    """
    body = {**(payload or {}), **arguments}
    if ACTION in body:
        raise ValueError("the action is the second argument; the payload can't have another")
    return {ACTION: action, **body}


def check_event_name(name: object) -> None:
    """Raise ValueError unless *name* can name an event of the app's."""
    if not _is_name(name, MAX_ROOM_LENGTH):
        raise ValueError(f"{name!r} can't name an event: write 1 to 256 printable characters")
    if name in RESERVED_EVENTS:
        raise ValueError(f"the event {name!r} is the server's own: choose another name")


def check_key(key: object) -> None:
    """Raise ValueError unless *key* can be the key that an event is sent once under, or None."""
    if key is not None and not is_short_name(key):
        raise ValueError(f"{key!r} can't be a key: write {_SHORT_TEXT}")


def _is_name(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _required_id(envelope: _Envelope) -> str:
    if envelope.id is None:
        raise MalformedFrame(f"id is missing: {_SHORT_TEXT}")
    return str(envelope.id)


def _payload(envelope: _Envelope) -> dict[str, Any]:
    if not isinstance(envelope.payload, dict):
        raise MalformedFrame("payload must be an object")
    return envelope.payload


def _read_request(envelope: _Envelope) -> Request:
    request_id = _required_id(envelope)
    payload = dict(_payload(envelope))
    action = payload.pop(ACTION, None)
    if not is_short_name(envelope.resource):
        raise MalformedFrame("resource must be a string, such as 'messages'")
    if not is_short_name(action):
        raise MalformedFrame("payload.action must be a string, such as 'get_all'")
    if envelope.key is not None and not is_short_name(envelope.key):
        raise MalformedFrame(f"key must be {_SHORT_TEXT}")
    return Request(request_id, envelope.resource, action, payload, envelope.key)


def _rooms(envelope: _Envelope) -> list[Any]:
    rooms = _payload(envelope).get("rooms")
    if not isinstance(rooms, list) or not rooms:
        raise MalformedFrame("payload.rooms must be a list with a room in it")
    return rooms


def _read_subscribe(envelope: _Envelope) -> Subscribe:
    frame_id = _required_id(envelope)
    positions = tuple(_read_position(item) for item in _rooms(envelope))
    if len({position.room for position in positions}) < len(positions):
        raise MalformedFrame("payload.rooms names a room twice")
    return Subscribe(frame_id, positions)


def _read_position(item: object) -> Position:
    if isinstance(item, str):
        item = {"room": item}
    if not isinstance(item, dict) or not is_room_name(item.get("room")):
        raise MalformedFrame("a room is its name, or an object with room, epoch and offset")
    epoch, offset = item.get("epoch"), item.get("offset", 0)
    if epoch is not None and not is_short_name(epoch):
        raise MalformedFrame("epoch must be the string that the server gave")
    if type(offset) is not int or not 0 <= offset <= MAX_OFFSET:
        raise MalformedFrame("offset must be a whole number from 0 to 2**53 - 1")
    return Position(item["room"]) if epoch is None else Position(item["room"], epoch, offset)


def _read_unsubscribe(envelope: _Envelope) -> Unsubscribe:
    frame_id = _required_id(envelope)
    rooms = _rooms(envelope)
    if not all(is_room_name(room) for room in rooms):
        raise MalformedFrame("payload.rooms must be names of rooms")
    return Unsubscribe(frame_id, tuple(rooms))


def _read_auth(envelope: _Envelope) -> Auth:
    frame_id = _required_id(envelope)
    token = _payload(envelope).get("token")
    if not isinstance(token, str) or not token:
        raise MalformedFrame("payload.token must be a string")
    return Auth(frame_id, token)


_READERS: dict[str, Callable[[_Envelope], Message]] = {
    "request": _read_request,
    "subscribe": _read_subscribe,
    "unsubscribe": _read_unsubscribe,
    "auth": _read_auth,
    "ping": lambda envelope: Ping(envelope.id),
    "pong": lambda envelope: Pong(envelope.id),
}
