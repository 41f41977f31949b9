"""A plain ASGI loop: a list of ``send``s, each awaited in turn; the event is encoded once.

It echoes what it is sent. ``/ws?rooms=a,b`` puts a socket into those rooms.
"""

from __future__ import annotations

import json
from collections import defaultdict
from urllib.parse import parse_qs

from .control import event, serve_control
from .lifespan import Receive, Scope, Send, lifespan

rooms: defaultdict[str, dict[Send, None]] = defaultdict(dict)


async def publish(room: str, count: int) -> None:
    """Send *count* events to everybody in *room*."""
    for number in range(count):
        message = {"type": "websocket.send", "text": json.dumps(event(number))}
        for send in list(rooms[room]):
            await send(message)


async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send, start)
        return
    await receive()
    await send({"type": "websocket.accept"})
    mine = parse_qs(scope["query_string"].decode()).get("rooms", ["bench"])[0].split(",")
    for room in mine:
        rooms[room][send] = None
    try:
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    finally:
        for room in mine:
            rooms[room].pop(send, None)
