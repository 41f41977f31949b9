"""What may be shown of a frame to somebody it wasn't meant for: never a token, and not too much."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from attrs import frozen

SHOWN = 2048
"""How many characters of a frame are shown."""
HIDDEN = "•••"
"""What stands in place of what isn't shown."""
_DEEPEST = 40
_SECRET_NAME = re.compile(
    r"token|passw|pwd|secret|credential|authoriz|cookie|csrf|jwt|(?<![a-z])otp(?![a-z])"
    r"|(?:api|private|session)[_-]?key|session[_-]?id",
    re.IGNORECASE,
)
# RFC 7515: the first part of a token is the base64url of an object, which begins with a brace.
_TOKEN = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,4}|bearer[ .][\w.~+/=-]{16,}", re.IGNORECASE)


@frozen
class Glimpse:
    """What is shown of a frame.

    Args:
        type: The frame's type; ``malformed`` where it can't be made out.
        name: What it is about: an event's type, a request's resource and action, an error's code.
        room: The room that it belongs to, where it names one.
        id: The id that pairs a request with its answer.
        text: Its JSON, without secrets, and cut off where it is long.
        size: How many bytes the whole of it has.
    """

    type: str
    name: str
    room: str | None
    id: str | None
    text: str
    size: int


def glimpse(frame: str | bytes) -> Glimpse:
    """Return what is shown of *frame*.

    Of one that can't be read nothing is shown, since what is in it can't be told. What has the name
    of a secret is hidden, and so is whatever looks like a token.
    """
    size = len(frame.encode(errors="replace") if isinstance(frame, str) else frame)
    try:
        read = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        read = None
    if not isinstance(read, dict) or not isinstance(read.get("type"), str):
        return Glimpse("malformed", "", None, None, "", size)
    kind = _short(read["type"]) or "malformed"
    if kind == "auth":
        read["payload"] = HIDDEN
    text = msgspec.json.encode(without_secrets(read)).decode()
    if len(text) > SHOWN:
        text = text[:SHOWN] + "…"
    return Glimpse(
        kind, _name_of(read), _short(read.get("room")), _short(read.get("id")), text, size
    )


def without_secrets(value: Any, depth: int = 0) -> Any:
    """Return a JSON *value* with what may be a secret hidden, and what is too deep left out."""
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, str):
        return _TOKEN.sub(HIDDEN, value)
    if isinstance(value, list):
        return [without_secrets(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            _TOKEN.sub(HIDDEN, name): HIDDEN
            if item is not None and _SECRET_NAME.search(name)
            else without_secrets(item, depth + 1)
            for name, item in value.items()
        }
    return value


def _name_of(frame: dict[str, Any]) -> str:
    payload = frame.get("payload")
    if not isinstance(payload, dict):
        return ""
    match frame["type"]:
        case "request":
            return f"{_short(frame.get('resource'))}.{_short(payload.get('action'))}"
        case "event":
            return _short(payload.get("type")) or ""
        case "error" | "closing":
            return _short(payload.get("code")) or ""
        case "subscribe" | "unsubscribe":
            rooms = payload.get("rooms")
            names = rooms if isinstance(rooms, list) else []
            return ", ".join(str(_short(_room_in(room))) for room in names[:3])
    return ""


def _room_in(place: Any) -> Any:
    return place.get("room") if isinstance(place, dict) else place


def _short(value: Any) -> str | None:
    """Return a name as it may be shown, None where it is no text."""
    return _TOKEN.sub(HIDDEN, value[:256]) if isinstance(value, str) else None
