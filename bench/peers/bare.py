"""The least that an ASGI app can do with a websocket: accept it, and read."""

from __future__ import annotations

from .control import serve_control
from .lifespan import Receive, Scope, Send, lifespan


async def publish(room: str, numbers: range) -> None:
    """Send nothing: there is nobody it knows of."""


async def start() -> None:
    """Listen for the order to collect garbage."""
    await serve_control(publish)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send, start)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        pass
