"""A plain ASGI loop: a list of ``send``s, each awaited in turn; the event is encoded once.

It echoes what it is sent. ``/ws?rooms=a,b`` puts a socket into those rooms.
"""

from __future__ import annotations

import json
from collections import defaultdict

from .control import event, serve_control
from .lifespan import Receive, Scope, Send, lifespan
from .rooms import rooms_of

rooms: defaultdict[str, dict[Send, None]] = defaultdict(dict)


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody in *room*."""
    for number in numbers:
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
    mine = rooms_of(scope["query_string"].decode())
    for room in mine:
        rooms[room][send] = None
    try:
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
    finally:
        for room in mine:
            rooms[room].pop(send, None)
