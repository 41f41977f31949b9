"""python-socketio's asynchronous server; only the websocket transport is used."""

from __future__ import annotations

from typing import Any

import socketio

from .control import event, serve_control

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])


async def publish(room: str, count: int) -> None:
    """Send *count* events to everybody in *room*."""
    for number in range(count):
        await server.emit("tick", event(number), room=room)


async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)


@server.event
async def connect(sid: str, environ: dict[str, Any]) -> None:
    """Put a client into the room."""
    await server.enter_room(sid, "bench")


@server.event
async def echo(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    """Acknowledge with what came."""
    return data


app = socketio.ASGIApp(server, on_startup=start)
