"""The wire's frames as AsyncAPI messages: those of requests and events, and the protocol's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contract import Contract, EventContract, Operation
from .errors import ERRORS, RealtimeError
from .protocol import (
    MAX_ID_LENGTH,
    MAX_OFFSET,
    MAX_ROOM_LENGTH,
    PROTOCOL_VERSION,
    CloseCode,
    may_reconnect,
)
from .schemas import Schema, draft_7, followed

_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_LENGTH,
    "description": "Chosen by the client; the answer repeats it.",
}
_TEXT: Schema = {"type": "string"}
_ROOM: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ROOM_LENGTH}
_CORRELATION = {"location": "$message.payload#/id"}


def first_line(error: type[RealtimeError]) -> str:
    """Return what *error* is about, in a sentence."""
    return str(error.__doc__).strip().partition("\n")[0]


def _object(
    properties: Mapping[str, Schema], required: list[str] | None = None, **more: Any
) -> Schema:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": dict(properties), "required": names, **more}


def _message(name: str, title: str, payload: Schema, **more: Any) -> dict[str, Any]:
    return {"name": name, "title": title, **more, "payload": payload}


def request_message(operation: Operation, contract: Contract) -> dict[str, Any]:
    """Return the frame that asks for *operation*."""
    envelope = {
        "type": {"const": "request"},
        "id": _ID,
        "resource": {"const": operation.resource},
        "key": {
            **_ID,
            "description": "Requests of one user with the same key run once.",
        },
        "payload": _with_action(operation, contract),
    }
    return _message(
        "request",
        f"{operation.name} (request)",
        _object(envelope, ["type", "id", "resource", "payload"]),
        correlationId=_CORRELATION,
    )


def response_message(operation: Operation) -> dict[str, Any]:
    """Return the frame that answers *operation*."""
    payload = _object(
        {"type": {"const": "response"}, "id": _ID, "payload": draft_7(operation.response)}
    )
    return _message("response", f"{operation.name} (response)", payload, correlationId=_CORRELATION)


def event_message(event: EventContract) -> dict[str, Any]:
    """Return the frame that tells *event*."""
    payload = {"type": {"const": event.name}, "data": draft_7(event.schema)}
    envelope = {
        "type": {"const": "event"},
        "id": _TEXT,
        "payload": _object(payload),
        "room": {**_ROOM, "description": "Left out of what goes to everyone, unless kept."},
        "offset": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_OFFSET,
            "description": "Its number in the room's history, where that keeps one.",
        },
        "epoch": {"type": "string", "description": "Which of the room's histories that is."},
    }
    return _message("event", event.name, _object(envelope, ["type", "id", "payload"]))


def _with_action(operation: Operation, contract: Contract) -> Schema:
    """Return what the payload of a request is: its arguments, and beside them the action."""
    action: Schema = {"action": {"const": operation.action}}
    known = followed(operation.request, contract.schemas)
    if set(known) - {
        "title",
        "description",
        "type",
        "properties",
        "required",
        "additionalProperties",
    }:
        return {"allOf": [_object(action), draft_7(operation.request)]}
    schema = draft_7(known)
    return {
        **schema,
        "type": "object",
        "properties": {**action, **schema.get("properties", {})},
        "required": ["action", *schema.get("required", [])],
    }


def protocol_messages(contract: Contract) -> Iterator[tuple[str, Any]]:
    """Yield the frames of the protocol's own, by the names that operations have for them."""
    answer = {"type": {"const": "response"}, "id": _ID}
    yield "error", _error_message()
    token = _object({"token": _TEXT})
    auth = _object({"type": {"const": "auth"}, "id": _ID, "payload": token})
    yield "auth.request", _message("auth", "auth", auth, correlationId=_CORRELATION)
    identity = _object({"user_id": _TEXT, "expires_at": {"type": ["number", "null"]}})
    yield (
        "auth.response",
        _message("response", "auth (response)", _object({**answer, "payload": identity})),
    )
    place = _object(
        {"room": _ROOM, "epoch": {"type": ["string", "null"]}, "offset": {"type": "integer"}},
        ["room"],
    )
    for kind, rooms in (("subscribe", {"anyOf": [_ROOM, place]}), ("unsubscribe", _ROOM)):
        listed: Schema = {"type": "array", "minItems": 1, "items": rooms}
        asked = _object({"type": {"const": kind}, "id": _ID, "payload": _object({"rooms": listed})})
        yield f"{kind}.request", _message(kind, kind, asked, correlationId=_CORRELATION)
    yield (
        "subscribe.response",
        _message(
            "response",
            "subscribe (response)",
            _object({**answer, "payload": _object({"rooms": _joined()})}),
        ),
    )
    yield (
        "unsubscribe.response",
        _message("response", "unsubscribe (response)", _object({**answer, "payload": {}})),
    )
    greeting = {
        "connection_id": _TEXT,
        "user_id": {"type": ["string", "null"]},
        "protocol": {"const": PROTOCOL_VERSION},
        "ping_interval": {"type": "number"},
        "idle_timeout": {"type": "number"},
        "max_message_size": {"type": "integer", "const": contract.max_message_size},
        "expires_at": {"type": ["number", "null"]},
        "rooms": {"type": "array", "items": {"type": "object"}},
    }
    connected = _object({"type": {"const": "connected"}, "payload": _object(greeting)})
    yield "connected", _message("connected", "connected", connected)
    yield "closing", _closing_message()
    for kind in ("ping", "pong"):
        payload = _object({"type": {"const": kind}, "id": _TEXT}, ["type"])
        yield kind, _message(kind, kind, payload)


def _joined() -> Schema:
    told: dict[str, Schema] = {
        "room": _ROOM,
        "epoch": {"type": ["string", "null"]},
        "offset": {"type": ["integer", "null"]},
        "recovered": {"type": "boolean"},
        "events": {"type": "array", "items": {"type": "object"}},
        "presence": {
            "type": "array",
            "items": _object({"user_id": _TEXT, "connections": {"type": "integer"}}),
        },
        "error": _object({"code": _TEXT, "message": _TEXT}),
    }
    return {"type": "array", "items": _object(told, ["room"])}


def _error_message() -> dict[str, Any]:
    rows = [f"| `{error.code}` | {error.status} | {first_line(error)} |" for error in ERRORS]
    payload: dict[str, Schema] = {
        "code": {"type": "string", "enum": [error.code for error in ERRORS]},
        "message": _TEXT,
        "details": {"type": "object"},
    }
    envelope: dict[str, Schema] = {
        "type": {"const": "error"},
        "id": {"type": ["string", "null"], "description": "Null where none could be read."},
        "payload": _object(payload),
    }
    description = "\n".join(["| code | HTTP status | meaning |", "|---|---|---|", *rows])
    return _message("error", "error", _object(envelope), description=description)


def _closing_message() -> dict[str, Any]:
    rows = [
        f"| {int(code)} | `{code.label}` | {'yes' if may_reconnect(code) else 'no'} |"
        for code in CloseCode
    ]
    payload: dict[str, Schema] = {
        "code": {"type": "string", "description": "The name of the close code that follows."},
        "reconnect": {"type": "boolean"},
        "retry_after_ms": {"type": ["integer", "null"]},
    }
    envelope = _object({"type": {"const": "closing"}, "payload": _object(payload)})
    description = "\n".join(["| close code | name | come back? |", "|---|---|---|", *rows])
    return _message("closing", "closing", envelope, description=description)
