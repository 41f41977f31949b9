"""A server that does to a client what none should, each path under ``/rude`` in its way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from quart import Quart, Response, send_from_directory, websocket

import quart_realtime

CLIENT = Path(quart_realtime.__file__).parent / "static"
ROOM = "conversation:conv-welcome"

app = Quart(__name__)


@app.get("/")
async def page() -> Response:
    return Response("<!doctype html><title>Rude</title>")


@app.get("/rude/client/<path:name>")
async def module(name: str) -> Response:
    return await send_from_directory(CLIENT, name)


async def say(**frame: Any) -> None:
    await websocket.send(json.dumps(frame))


async def greet() -> None:
    payload = {"connection_id": "c", "user_id": "ana", "protocol": 1, "ping_interval": 25}
    await say(type="connected", payload={**payload, "rooms": []})


async def event(content: Any, offset: int | None = None) -> None:
    place = {} if offset is None else {"room": ROOM, "epoch": "e", "offset": offset}
    data = {"content": content}
    await say(type="event", id="evt", payload={"type": "new_message", "data": data}, **place)


async def closes() -> None:
    """Accept, and close at once."""
    await websocket.close(1011)


async def greets_and_closes() -> None:
    """Greet, and close at once."""
    await greet()
    await websocket.close(1011)


async def talks_nonsense() -> None:
    """Say what is no frame, or a frame that nobody knows, before the greeting and after it."""
    nonsense = ["", "{", "null", "[]", "7", '"text"', b"\x00\xff", "{}", "\u0000", "[" * 10_000]
    odd = [
        {"type": "later", "payload": {}},
        {"type": None},
        {"type": "connected"},
        {"type": "connected", "payload": None},
        {"type": "event"},
        {"type": "event", "payload": {"type": "new_message"}, "room": 7, "offset": "x"},
        {"type": "event", "payload": {"type": "room_joined", "data": None}},
        {"type": "event", "payload": {"type": "room_left", "data": {"room": {}}}},
        {"type": "event", "payload": {"type": "__proto__", "data": {}}, "room": "__proto__"},
        {"type": "response", "id": "c1", "payload": "to nobody"},
        {"type": "response", "id": {}, "payload": {}},
        {"type": "error", "id": "toString", "payload": 7},
        {"type": "closing", "payload": "soon"},
    ]
    for said in (*nonsense, *map(json.dumps, odd)):
        await websocket.send(said)
    await greet()
    for said in (*nonsense, *map(json.dumps, odd)):
        await websocket.send(said)
    await event("sense")
    while True:
        await websocket.receive()


async def miscounts() -> None:
    """Say events twice, and leave some out until it is asked for them."""
    await greet()
    asked = json.loads(await websocket.receive())
    await enter(asked, 0, [])
    for offset in (1, 1, 2, 5, 1, 6, 5):
        await event(offset, offset)
    asked = json.loads(await websocket.receive())
    place = asked["payload"]["rooms"][0]
    await enter(asked, 5, [3, 4, 5] if place["offset"] == 2 else [])
    await event(7, 7)
    while True:
        await websocket.receive()


async def enter(asked: dict[str, Any], offset: int, missed: list[int]) -> None:
    """Answer a subscribe."""
    events = [
        {
            "type": "event",
            "id": "evt",
            "payload": {"type": "new_message", "data": {"content": number}},
            "room": ROOM,
            "epoch": "e",
            "offset": number,
        }
        for number in missed
    ]
    room = {"room": ROOM, "epoch": "e", "offset": offset, "recovered": True, "events": events}
    await say(type="response", id=asked["id"], payload={"rooms": [room]})


async def speaks_another_version() -> None:
    """Greet as a server that has gone on to the next version does."""
    greeting = {"connection_id": "rude", "user_id": "ana", "protocol": 2}
    await say(type="connected", payload=greeting)
    while True:
        await websocket.receive()


WAYS: dict[str, Callable[[], Awaitable[None]]] = {
    way.__name__: way
    for way in (
        closes,
        greets_and_closes,
        talks_nonsense,
        miscounts,
        speaks_another_version,
    )
}


@app.websocket("/rude/<way>")
async def rude(way: str) -> None:
    await websocket.accept(subprotocol="realtime.v1")
    await WAYS[way]()
