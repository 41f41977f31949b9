"""A contract as an AsyncAPI 3 document: https://www.asyncapi.com/docs/reference/specification/v3.0.0.

It is written from the server's side: what clients ask is received and replied to, events are sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from .contract import Contract, EventContract, Operation, RoomContract
from .envelopes import (
    event_message,
    first_line,
    protocol_messages,
    request_message,
    response_message,
)
from .errors import ERRORS
from .protocol import (
    BEARER_PREFIX,
    EVERYONE,
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    CloseCode,
    may_reconnect,
)
from .schemas import Schema, draft_7

VERSION = "3.0.0"
SERVER = "ws://localhost:8000"
"""Where an app is said to be when nobody says where it is."""

_CHANNEL = "realtime"
_CHANNEL_REF = f"#/channels/{_CHANNEL}"
_ERROR = "error"


def asyncapi_document(contract: Contract, server: str = SERVER) -> dict[str, Any]:
    """Return the AsyncAPI document of *contract*, as a JSON value.

    Args:
        contract: What to describe.
        server: Where the app is: an origin, ``wss://chat.example.com``.
    """
    messages = dict(protocol_messages(contract))
    operations: dict[str, Any] = {}
    for operation in contract.operations:
        key = _key(operation.name)
        messages[f"{key}.request"] = request_message(operation, contract)
        messages[f"{key}.response"] = response_message(operation)
        operations[key] = _asked(operation, contract)
    for event in contract.events:
        messages[_event_key(event)] = event_message(event)
        operations[_event_key(event)] = _told(event)
    operations |= _protocol_operations()
    return {
        "asyncapi": VERSION,
        "info": {
            "title": contract.title,
            "version": contract.version,
            "description": _about(contract),
        },
        "defaultContentType": "application/json",
        "servers": {"app": _server(contract, server)},
        "channels": {
            _CHANNEL: {
                "address": contract.url,
                "title": "The websocket",
                "description": "All that is asked and told goes over one connection.",
                "messages": messages,
            },
            **dict(_room_channels(contract)),
        },
        "operations": operations,
        "components": {
            "schemas": {name: draft_7(schema) for name, schema in contract.schemas.items()},
            "securitySchemes": _security_schemes(contract),
        },
        "x-error-codes": [
            {"code": error.code, "status": error.status, "description": first_line(error)}
            for error in ERRORS
        ],
        "x-close-codes": [
            {"code": int(code), "name": code.label, "reconnect": may_reconnect(code)}
            for code in CloseCode
        ],
    }


def _key(name: str) -> str:
    """Return *name* as a key of the document, which takes no other characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _event_key(event: EventContract) -> str:
    return f"event.{_key(event.name)}"


def _about(contract: Contract) -> str:
    limits = [f"A message has at most {contract.max_message_size} bytes"]
    if contract.rate_limit is not None:
        limits.append(f"a connection sends at most {contract.rate_limit}")
    text = (
        f"JSON text frames over one websocket, version {PROTOCOL_VERSION} of the protocol, under "
        f"the subprotocol `{SUBPROTOCOL}`. {'; '.join(limits)}."
    )
    return f"{contract.description}\n\n{text}" if contract.description else text


def _server(contract: Contract, server: str) -> dict[str, Any]:
    parts = urlsplit(server)
    protocol = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return {
        "host": parts.netloc,
        **({"pathname": parts.path} if parts.path.strip("/") else {}),
        "protocol": protocol,
        "protocolVersion": "13",
        "security": _security(contract),
    }


# Who may


def _security(contract: Contract) -> list[dict[str, str]]:
    return [
        {"$ref": f"#/components/securitySchemes/{name}"} for name in _security_schemes(contract)
    ]


def _security_schemes(contract: Contract) -> dict[str, Any]:
    names = contract.token_names
    schemes: dict[str, Any] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": (
                f"As the subprotocol `{BEARER_PREFIX}<token>` beside `{SUBPROTOCOL}`, which is "
                "what a browser can do; in the header "
                f"`{names.get('headers') or 'Authorization'}`; or in an `auth` message within the "
                "time to log in."
            ),
        }
    }
    if "cookies" in contract.tokens:
        schemes["cookie"] = {
            "type": "httpApiKey",
            "in": "cookie",
            "name": names.get("cookies") or "access_token_cookie",
            "description": "The token in a cookie, beside an Origin that is allowed.",
        }
    if "query_string" in contract.tokens:
        schemes["query"] = {
            "type": "httpApiKey",
            "in": "query",
            "name": names.get("query_string") or "jwt",
            "description": "The token in the websocket's URL.",
        }
    return schemes


# What is asked


def _asked(operation: Operation, contract: Contract) -> dict[str, Any]:
    key = _key(operation.name)
    described: dict[str, Any] = {
        "action": "receive",
        "channel": {"$ref": _CHANNEL_REF},
        "title": operation.name,
        **({"summary": operation.summary} if operation.summary else {}),
        "description": "\n\n".join(_notes(operation)),
        "tags": [{"name": operation.resource}],
        "messages": [_message_ref(f"{key}.request")],
        "reply": _reply(f"{key}.response"),
    }
    if operation.login:
        described["security"] = _security(contract)
    if operation.origin is not None:
        described["x-route"] = {
            "method": operation.origin.method,
            "rule": operation.origin.rule,
            "guards": list(operation.origin.guards),
        }
    if operation.rate_limit is not None:
        described["x-rate-limit"] = operation.rate_limit
    return described


def _notes(operation: Operation) -> Iterator[str]:
    if operation.description:
        yield operation.description
    yield (
        "Only for those who are logged in." if operation.login else "Nobody needs to be logged in."
    )
    origin = operation.origin
    if origin is not None:
        guards = "".join(f", guarded by `@{guard}`" for guard in origin.guards)
        yield f"Answered by the route `{origin.method} {origin.rule}`{guards}."
    if operation.rate_limit is not None:
        yield f"Each user may ask {operation.rate_limit}."
    if operation.timeout is not None:
        yield f"Answered within {operation.timeout:g} s."


def _message_ref(key: str) -> dict[str, str]:
    return {"$ref": f"{_CHANNEL_REF}/messages/{key}"}


def _reply(*keys: str) -> dict[str, Any]:
    refs = [_message_ref(key) for key in (*keys, _ERROR)]
    return {"channel": {"$ref": _CHANNEL_REF}, "messages": refs}


# What is told


def _told(event: EventContract) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": _CHANNEL_REF},
        "title": event.name,
        "summary": f"Tells {event.name}.",
        "description": "\n\n".join(_audience(event)),
        "tags": [{"name": "events"}],
        "messages": [_message_ref(_event_key(event))],
    }


def _audience(event: EventContract) -> Iterator[str]:
    if event.rooms:
        yield f"Goes to {', '.join(f'`{room}`' for room in event.rooms)}."
    for function in event.chosen_by:
        yield f"Goes to the rooms that `{function}` says."
    if event.everyone:
        yield "Goes to everyone who is logged in."
    if not (event.rooms or event.chosen_by or event.everyone):
        yield "Goes to the rooms that the app says each time."
    if not event.history:
        yield "No room keeps it for those who return."


def _room_channels(contract: Contract) -> Iterator[tuple[str, Any]]:
    """Yield a channel for each kind of room, with the events that go there."""
    known = [
        *contract.rooms,
        *(room for room in _rooms_of_the_server(contract) if room.pattern),
    ]
    shapes = {_shape(room.pattern): room for room in known}
    for shape, room in shapes.items():
        told = [event for event in contract.events if shape in map(_shape, _addresses(event))]
        yield f"room.{_key(room.pattern)}", _room_channel(room, told)


def _addresses(event: EventContract) -> list[str]:
    return [*event.rooms, *([EVERYONE] if event.everyone else [])]


def _shape(name: str) -> str:
    """Return the name of a room, or a template or pattern of one, without its variables' names."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "*", name)


def _rooms_of_the_server(contract: Contract) -> Iterator[RoomContract]:
    """Yield the rooms that nobody asks to join: each user's own, and everyone's."""
    history = contract.default_history
    own = "What is for one user alone; joined at login."
    yield RoomContract("user:<user_id>", {"user_id": {"type": "string"}}, False, history, own)
    if any(event.everyone for event in contract.events):
        yield RoomContract(EVERYONE, {}, False, history, "What is for everyone; joined at login.")


def _room_channel(room: RoomContract, events: list[EventContract]) -> dict[str, Any]:
    address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", room.pattern)
    kept = room.history
    notes = [
        room.summary,
        "A room: subscribed to over the websocket, by its name.",
        f"The last {kept.size} events are kept for {kept.ttl:g} s." if kept.size else "",
        "Members are told who is there." if room.presence else "",
    ]
    channel: dict[str, Any] = {
        "address": address,
        "title": room.pattern,
        "description": "\n\n".join(filter(None, notes)),
        "messages": {_event_key(event): _message_ref(_event_key(event)) for event in events},
        "x-presence": room.presence,
        "x-history": {"size": kept.size, "ttl": kept.ttl},
    }
    if room.variables:
        channel["parameters"] = {
            name: _parameter(schema) for name, schema in room.variables.items()
        }
    return channel


def _parameter(schema: Schema) -> dict[str, Any]:
    """Return a variable of a room's name; all that AsyncAPI takes for one is text."""
    if "enum" in schema:
        return {"enum": [str(value) for value in schema["enum"]]}
    return {"description": f"Of type {schema['type']}."} if "type" in schema else {}


# The protocol's own


_OWN = {
    "auth": "Logs in, or brings a fresh token for the same user.",
    "subscribe": "Follows rooms, from a position on where one is given.",
    "unsubscribe": "Follows rooms no longer.",
}
_TOLD = {
    "connected": "Greets a connection that has logged in.",
    "closing": "Tells why the server is about to close.",
    "ping": "Asks whether the client is there; a pong is the answer.",
}


def _protocol_operations() -> Iterator[tuple[str, Any]]:
    common = {"channel": {"$ref": _CHANNEL_REF}, "tags": [{"name": "protocol"}]}
    for name, summary in _OWN.items():
        yield (
            f"protocol.{name}",
            {
                "action": "receive",
                **common,
                "title": name,
                "summary": summary,
                "messages": [_message_ref(f"{name}.request")],
                "reply": _reply(f"{name}.response"),
            },
        )
    for name, summary in _TOLD.items():
        yield (
            f"protocol.{name}",
            {
                "action": "send",
                **common,
                "title": name,
                "summary": summary,
                "messages": [_message_ref(name)],
                **({"reply": {"messages": [_message_ref("pong")]}} if name == "ping" else {}),
            },
        )
