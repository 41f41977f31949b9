"""The wire, version 1: frames, close codes and the states of a connection.

Pure functions over text and values: nothing here reads a socket or knows Quart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from functools import cached_property
from typing import Any, TypeAlias
from uuid import uuid4

import msgspec
from attrs import field, frozen

from .errors import BadRequest, RealtimeError

PROTOCOL_VERSION = 1
SUBPROTOCOL = "realtime.v1"
BEARER_PREFIX = "bearer."
EVERYONE = "everyone"
"""The room that each logged-in connection is in; an event without a room goes there."""

PRESENCE_JOIN = "presence_join"
PRESENCE_LEAVE = "presence_leave"
ROOM_JOINED = "room_joined"
ROOM_LEFT = "room_left"
RESERVED_EVENTS = frozenset({PRESENCE_JOIN, PRESENCE_LEAVE, ROOM_JOINED, ROOM_LEFT})
"""Events of the server's own, by which clients keep track of rooms."""

MAX_ID_LENGTH = 64
MAX_ROOM_LENGTH = 256
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


Message: TypeAlias = Request | Subscribe | Unsubscribe | Auth | Ping | Pong


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


class Frame:
    """One finished text frame: encoded once, sent to any number of sockets."""

    __slots__ = ("__dict__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Frame({self.text!r})"

    @cached_property
    def text(self) -> str:
        """The frame's JSON text."""
        return self.data.decode()


@frozen
class Event:
    """Something that happened, as the members of a room are told.

    *data* is its JSON, encoded; *offset* and *epoch* say where it stands in the room's history,
    None where the room keeps none. *exclude* is the connection that isn't to be told.
    """

    type: str
    data: bytes
    room: str
    id: str = field(factory=lambda: f"evt-{uuid4().hex}")
    offset: int | None = None
    epoch: str | None = None
    exclude: str | None = None

    def value(self) -> Any:
        """Return *data* decoded."""
        return msgspec.json.decode(self.data)


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
_encoder = msgspec.json.Encoder()


def decode(text: str | bytes) -> Message:
    """Read one message of a client.

    Args:
        text: A text frame's content.

    Raises:
        MalformedFrame: it isn't JSON, isn't an envelope of a known type, or lacks what its type
            needs. The error carries the message's id where that could be read.

    """
    envelope = _read_envelope(text)
    frame_id = envelope.id if _is_name(envelope.id, MAX_ID_LENGTH) else None
    try:
        read = _READERS.get(envelope.type) if isinstance(envelope.type, str) else None
        if read is None:
            known = ", ".join(_READERS)
            raise MalformedFrame(f"type must be one of {known}")
        if envelope.id is not None and frame_id is None:
            raise MalformedFrame(f"id must be a string of 1 to {MAX_ID_LENGTH} characters")
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


def _too_deep(data: bytes) -> bool:
    """Tell whether *data* nests too deep for Python's own JSON reader further on.

    Counting brackets settles it for nearly every message; only the rest is walked through.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    in_string = escaped = False
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


def is_room_name(value: object) -> bool:
    """Tell whether *value* can name a room: 1 to 256 printable characters."""
    return _is_name(value, MAX_ROOM_LENGTH)


def check_event_name(name: object) -> None:
    """Raise ValueError unless *name* can name an event of the app's."""
    if not _is_name(name, MAX_ROOM_LENGTH):
        raise ValueError(f"{name!r} can't name an event: write 1 to 256 printable characters")
    if name in RESERVED_EVENTS:
        raise ValueError(f"the event {name!r} is the server's own: choose another name")


def _is_name(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _required_id(envelope: _Envelope) -> str:
    if envelope.id is None:
        raise MalformedFrame(f"id is missing: a string of 1 to {MAX_ID_LENGTH} characters")
    return str(envelope.id)


def _payload(envelope: _Envelope) -> dict[str, Any]:
    if not isinstance(envelope.payload, dict):
        raise MalformedFrame("payload must be an object")
    return envelope.payload


def _read_request(envelope: _Envelope) -> Request:
    request_id = _required_id(envelope)
    payload = dict(_payload(envelope))
    action = payload.pop("action", None)
    if not _is_name(envelope.resource, MAX_ID_LENGTH):
        raise MalformedFrame("resource must be a string, such as 'messages'")
    if not _is_name(action, MAX_ID_LENGTH):
        raise MalformedFrame("payload.action must be a string, such as 'get_all'")
    if envelope.key is not None and not _is_name(envelope.key, MAX_ID_LENGTH):
        raise MalformedFrame(f"key must be a string of 1 to {MAX_ID_LENGTH} characters")
    return Request(request_id, envelope.resource, action, payload, envelope.key)


def _rooms(envelope: _Envelope) -> list[Any]:
    rooms = _payload(envelope).get("rooms")
    if not isinstance(rooms, list) or not rooms:
        raise MalformedFrame("payload.rooms must be a list with a room in it")
    return rooms


def _read_subscribe(envelope: _Envelope) -> Subscribe:
    frame_id = _required_id(envelope)
    return Subscribe(frame_id, tuple(_read_position(item) for item in _rooms(envelope)))


def _read_position(item: object) -> Position:
    if isinstance(item, str):
        item = {"room": item}
    if not isinstance(item, dict) or not is_room_name(item.get("room")):
        raise MalformedFrame("a room is its name, or an object with room, epoch and offset")
    epoch, offset = item.get("epoch"), item.get("offset", 0)
    if epoch is None:
        return Position(item["room"])
    if not _is_name(epoch, MAX_ID_LENGTH):
        raise MalformedFrame("epoch must be the string that the server gave")
    if type(offset) is not int or not 0 <= offset <= MAX_OFFSET:
        raise MalformedFrame("offset must be a whole number from 0 to 2**53 - 1")
    return Position(item["room"], epoch, offset)


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


def _frame(**envelope: Any) -> Frame:
    return Frame(_encoder.encode(envelope))


@frozen
class Answer:
    """What a request comes to: a response's or an error's payload, encoded, for any id."""

    payload: bytes
    error_code: str | None = None

    @classmethod
    def of_error(cls, error: RealtimeError) -> Answer:
        """Make the answer that tells *error*."""
        return cls(_encoder.encode(error.as_payload()), error.code)

    def frame(self, frame_id: str) -> Frame:
        """Encode it as the answer to the request *frame_id*."""
        kind = "response" if self.error_code is None else "error"
        return _frame(type=kind, id=frame_id, payload=msgspec.Raw(self.payload))


def response_frame(frame_id: str, payload: Any) -> Frame:
    """Encode the answer to the request *frame_id*.

    Args:
        frame_id: The request's own id.
        payload: A JSON value, or a :class:`msgspec.Raw` that is encoded already.

    """
    return _frame(type="response", id=frame_id, payload=payload)


def error_frame(frame_id: str | None, error: RealtimeError) -> Frame:
    """Encode *error* as the answer to *frame_id*, None where no id could be read."""
    return _frame(type="error", id=frame_id, payload=error.as_payload())


def event_object(event: Event) -> dict[str, Any]:
    """Return the whole event frame as an object, for an answer that carries missed events."""
    frame: dict[str, Any] = {
        "type": "event",
        "id": event.id,
        "payload": {"type": event.type, "data": msgspec.Raw(event.data)},
    }
    if event.room != EVERYONE or event.offset is not None:
        frame["room"] = event.room
    if event.offset is not None:
        frame |= {"offset": event.offset, "epoch": event.epoch}
    return frame


def event_frame(event: Event) -> Frame:
    """Encode *event*; its data is taken as it stands."""
    return _frame(**event_object(event))


def connected_frame(payload: dict[str, Any]) -> Frame:
    """Encode the greeting of a connection that has logged in."""
    return _frame(type="connected", payload={"protocol": PROTOCOL_VERSION, **payload})


def closing_frame(code: int, retry_after_ms: int | None = None) -> Frame:
    """Encode the notice that comes just before the server closes with *code*.

    Args:
        code: The close code that follows.
        retry_after_ms: Within how many milliseconds to come back; None leaves it to the client.

    """
    return _frame(
        type="closing",
        payload={
            "code": close_label(code),
            "reconnect": may_reconnect(code),
            "retry_after_ms": retry_after_ms,
        },
    )


def pong_frame(frame_id: str | None) -> Frame:
    """Encode the answer to a client's ping, with its id if it had one."""
    return PONG if frame_id is None else _frame(type="pong", id=frame_id)


PING = _frame(type="ping")
PONG = _frame(type="pong")
