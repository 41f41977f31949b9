"""What the load generator is checked with: bytes made beforehand, all frames in one write."""

from __future__ import annotations

import asyncio
import json
import struct

import picows
import uvloop

from .control import event, serve_control
from .picows_server import Listener, transports


def frame(text: bytes) -> bytes:
    """Return *text* of 126 to 65 535 bytes as a frame."""
    return b"\x81\x7e" + struct.pack(">H", len(text)) + text


async def publish(room: str, numbers: range) -> None:
    """Write the frames of those numbers to everybody, in one write each."""
    data = b"".join(frame(json.dumps(event(number)).encode()) for number in numbers)
    for transport in transports:
        transport.underlying_transport.write(data)


async def main() -> None:
    """Serve until the process is ended."""
    await serve_control(publish)
    server = await picows.ws_create_server(lambda request: Listener(), "127.0.0.1", 0)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
