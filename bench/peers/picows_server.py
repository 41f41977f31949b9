"""A server on picows, in C: one write a frame. It echoes what it is sent."""

from __future__ import annotations

import asyncio
import json
import sys

import picows
import uvloop

from .control import event, serve_control

transports: dict[picows.WSTransport, None] = {}
TEXT, CLOSE = picows.WSMsgType.TEXT, picows.WSMsgType.CLOSE


class Listener(picows.WSListener):
    """One socket."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Remember it."""
        transports[transport] = None

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Echo a text; answer a close."""
        if frame.msg_type == TEXT:
            transport.send(TEXT, frame.get_payload_as_bytes())
        elif frame.msg_type == CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """Forget it."""
        transports.pop(transport, None)


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody."""
    for number in numbers:
        message = json.dumps(event(number)).encode()
        for transport in list(transports):
            transport.send(TEXT, message)


async def main() -> None:
    """Serve until the process is ended."""
    await serve_control(publish)
    server = await picows.ws_create_server(
        lambda request: Listener(),
        "127.0.0.1",
        0,
        use_aiofastnet=False if "asyncio" in sys.argv else None,
    )
    await server.serve_forever()


if __name__ == "__main__":
    plain = "asyncio" in sys.argv
    loop_factory = asyncio.new_event_loop if plain else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
