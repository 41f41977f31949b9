"""python-socketio's asynchronous server; only the websocket transport is used.

Where ``BENCH_REDIS`` is set its processes share that server, by `AsyncRedisManager`.
"""

from __future__ import annotations

import os
from typing import Any

import socketio

from .control import event, serve_control
from .rooms import rooms_of

url = os.environ.get("BENCH_REDIS")
server = socketio.AsyncServer(
    async_mode="asgi",
    transports=["websocket"],
    client_manager=socketio.AsyncRedisManager(url) if url else None,
)


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody in *room*."""
    for number in numbers:
        await server.emit("tick", event(number), room=room)


async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)


@server.event
async def connect(sid: str, environ: dict[str, Any]) -> None:
    """Put a client into its rooms."""
    for room in rooms_of(environ["QUERY_STRING"]):
        await server.enter_room(sid, room)


@server.event
async def echo(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    """Acknowledge with what came."""
    return data


app = socketio.ASGIApp(server, on_startup=start)
