"""Quart by hand, as its documentation's chat tutorial does it: a broker with a queue a client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from quart import Quart, websocket

from .control import event, serve_control

app = Quart(__name__)


class Broker:
    """Who listens."""

    def __init__(self) -> None:
        self.connections: set[asyncio.Queue[str]] = set()

    async def publish(self, message: str) -> None:
        """Put *message* into everybody's queue."""
        for connection in self.connections:
            await connection.put(message)

    async def subscribe(self) -> AsyncGenerator[str, None]:
        """Yield what is published from now on."""
        connection: asyncio.Queue[str] = asyncio.Queue()
        self.connections.add(connection)
        try:
            while True:
                yield await connection.get()
        finally:
            self.connections.remove(connection)


broker = Broker()


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody."""
    for number in numbers:
        await broker.publish(json.dumps(event(number)))


@app.before_serving
async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)


async def _receive() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/ws")
async def ws() -> None:
    """Serve one socket."""
    await websocket.accept()
    task = asyncio.ensure_future(_receive())
    try:
        async for message in broker.subscribe():
            await websocket.send(message)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
