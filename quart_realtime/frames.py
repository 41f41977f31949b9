"""What the server sends: finished frames, version 1 of the wire."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import evolve, frozen

from .errors import RealtimeError
from .protocol import (
    EVERYONE,
    PROTOCOL_VERSION,
    SKIPPED,
    Event,
    close_label,
    may_reconnect,
)

_encoder = msgspec.json.Encoder()


def _text_frame_header(length: int) -> bytes:
    if length < 126:
        return bytes((0x81, length))
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2)
    return b"\x81\x7f" + length.to_bytes(8)


class Frame:
    """One finished text frame: encoded once, sent to any number of sockets.

    *data* is its JSON; *wire* are the bytes on the wire, one final text frame that isn't masked
    (RFC 6455, section 5.2).
    """

    __slots__ = ("_text", "data", "wire")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.wire = _text_frame_header(len(data)) + data
        self._text: str | None = None

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Frame({self.text!r})"

    @property
    def text(self) -> str:
        """The frame's JSON text."""
        if self._text is None:
            self._text = self.data.decode()
        return self._text


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


def skipped_frame(event: Event) -> Frame:
    """Encode what the connection that *event* leaves out is told in its place."""
    return event_frame(evolve(event, type=SKIPPED, data=b"null"))


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
