"""A server that speaks the wire and does what a test tells it to.

::

    async with FakeServer() as server:
        async with connect(server.url, "token") as client:
            peer = await server.peer()              # the newest connection, greeted
            asking = asyncio.create_task(client.request("a", "b"))
            request = await peer.next("request")    # the next frame of that type
            await peer.answer(request, {"ok": True})

What a test doesn't touch is answered by itself: a greeting at once, each room as asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

PATIENCE = 10.0
"""How many seconds anything may take before a test fails."""


class Peer:
    """One client's connection, as the server sees it."""

    def __init__(self, server: FakeServer, socket: ServerConnection, number: int) -> None:
        self.server = server
        self.socket = socket
        self.number = number
        offered = socket.request.headers.get("Sec-WebSocket-Protocol", "") if socket.request else ""
        self.offered = [name.strip() for name in offered.split(",") if name.strip()]
        self.closed = asyncio.Event()
        self.greeted = False
        self.frames: list[dict[str, Any]] = []
        self._unread: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()

    @property
    def token(self) -> str | None:
        """The token that was offered at the handshake."""
        bearers = [name for name in self.offered if name.startswith("bearer.")]
        return bearers[0].removeprefix("bearer.") if bearers else None

    async def send(self, kind: str, **rest: Any) -> None:
        await self.send_text(json.dumps({"type": kind, **rest}))

    async def send_text(self, text: str | bytes) -> None:
        await self.socket.send(text)

    async def greet(self, **more: Any) -> None:
        payload = {
            "connection_id": f"conn-{self.number}",
            "user_id": "7",
            "protocol": 1,
            "ping_interval": 25,
            "idle_timeout": 300,
            "expires_at": None,
            "rooms": [],
        }
        self.greeted = True
        await self.send("connected", payload={**payload, **self.server.greeting, **more})

    async def answer(self, frame: dict[str, Any], payload: Any) -> None:
        await self.send("response", id=frame["id"], payload=payload)

    async def refuse(self, frame: dict[str, Any], code: str, message: str = "no") -> None:
        told = {"code": code, "message": message, "details": {"why": "test"}}
        await self.send("error", id=frame["id"], payload=told)

    async def event(self, kind: str, data: Any = None, **place: Any) -> None:
        await self.send("event", **event(kind, data, **place))

    async def enter(self, frame: dict[str, Any], *answers: dict[str, Any]) -> None:
        """Answer a subscribe."""
        await self.answer(frame, {"rooms": list(answers)})

    async def close(self, close_code: int, reason: str = "", /, **closing: Any) -> None:
        """Close, after a ``closing`` frame if there are words for it."""
        if closing:
            await self.send("closing", payload=closing)
        await self.socket.close(close_code, reason)

    async def cut(self) -> None:
        """Drop the connection without a word."""
        self.socket.transport.abort()
        await within(self.closed.wait())

    async def next(self, kind: str) -> dict[str, Any]:
        """Return the next frame of *kind*, past those of other kinds."""

        async def find() -> dict[str, Any]:
            while True:
                for frame in self._unread:
                    if frame["type"] == kind:
                        self._unread.remove(frame)
                        return frame
                self._arrived.clear()
                await self._arrived.wait()

        return await within(find())

    async def settle(self) -> None:
        """Wait until the client has read all that was sent to it so far."""
        await self.send("ping")
        await self.next("pong")

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of *kind* that came so far."""
        return [frame for frame in self.frames if frame["type"] == kind]

    async def read(self) -> None:
        try:
            async for text in self.socket:
                frame = json.loads(text)
                self.frames.append(frame)
                reply = self.server.replies.get(frame["type"])
                if reply is None:
                    self._unread.append(frame)
                    self._arrived.set()
                else:
                    await reply(self, frame)
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()


class FakeServer:
    """Takes connections on a port of its own.

    Attributes:
        greeting: What ``connected`` says besides the usual.
        on_open: Runs for each new connection instead of the greeting.
        replies: Answers frames by their type; those without a reply wait for :meth:`Peer.next`.
        status: What handshakes are answered with instead of a websocket.
        subprotocol: What is chosen of what clients offer.

    """

    def __init__(self) -> None:
        self.greeting: dict[str, Any] = {}
        self.on_open: Callable[[Peer], Any] | None = None
        self.replies: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {}
        self.status: int | None = None
        self.subprotocol: str | None = "realtime.v1"
        self.peers: list[Peer] = []
        self._greeted: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        self._server = await serve(
            self._run,
            "127.0.0.1",
            self.port,
            select_subprotocol=lambda *_: self.subprotocol,  # type: ignore[arg-type,return-value]
            process_request=self._process,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Take no more connections, and drop those that are."""
        assert self._server is not None
        for peer in self.peers:
            peer.socket.transport.abort()
        self._server.close()
        await within(self._server.wait_closed())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def peer(self) -> Peer:
        """Return the next connection that was opened and greeted."""
        return await within(self._greeted.get())

    def _process(self, connection: ServerConnection, request: Any) -> Any:
        return None if self.status is None else connection.respond(self.status, "no\n")

    async def _run(self, socket: ServerConnection) -> None:
        peer = Peer(self, socket, len(self.peers) + 1)
        self.peers.append(peer)
        if self.on_open is None:
            await peer.greet()
        else:
            await self.on_open(peer)
        if peer.greeted:
            self._greeted.put_nowait(peer)
        await peer.read()


class Gate:
    """Holds the greeting of new connections back until a test lets it go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        self.reached.set()
        await self.go_on.wait()
        await peer.greet()


def event(kind: str, data: Any = None, **place: Any) -> dict[str, Any]:
    """Return an event frame without its type."""
    return {"id": "evt-1", "payload": {"type": kind, "data": data}, **place}


def missed(kind: str, data: Any = None, **place: Any) -> dict[str, Any]:
    """Return a whole event frame, as an answer to a subscribe carries it."""
    return {"type": "event", **event(kind, data, **place)}


async def within(waiting: Any) -> Any:
    """Await *waiting*, but not for ever."""
    async with asyncio.timeout(PATIENCE):
        return await waiting
