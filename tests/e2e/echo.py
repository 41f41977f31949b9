"""An echo straight on the transports: what the websocket's own conformance is tested on."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from quart_realtime.frames import Frame
from quart_realtime.servers import Transports
from quart_realtime.settings import Settings
from quart_realtime.transport import Incoming, Receive, Send, Signal, Transport

MIB = 1_048_576


class BinaryFrame(Frame):
    """A binary frame, which the package itself never sends."""

    @property
    def text(self) -> Any:
        """The data as it is: wsproto takes bytes for a binary message where it compresses."""
        return self.data

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.wire = b"\x82" + self.wire[1:]


class Echo:
    """Sends back whatever comes."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(
            **{"max_message_size": 17 * MIB, "send_buffer": 64 * MIB, **settings}
        )
        self.transports: Transports | None = None
        # The event loop keeps only weak references to tasks.
        self.closing: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            if self.transports is None:
                self.transports = Transports(self.settings)
            await receive()
            transport = self.transports.make(receive, send)
            await transport.accept(None)
            await transport.serve(lambda incoming: self.answer(transport, incoming))
            transport.abort()

    def answer(self, transport: Transport, incoming: Incoming) -> None:
        if incoming is Signal.TOO_BIG:
            closing = asyncio.create_task(transport.close(1009, ""))
            self.closing.add(closing)
            closing.add_done_callback(self.closing.discard)
        elif isinstance(incoming, str):
            transport.send(Frame(incoming.encode()))
        elif isinstance(incoming, bytes):
            transport.send(BinaryFrame(incoming))


settings = json.loads(os.environ.get("TEST_SETTINGS", "{}"))
app = Echo(**{name.lower(): value for name, value in settings.items()})
