"""Talking to a real server frame by frame, and over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed

from .raw_socket import BOUND, RawSocket, text
from .server import Server

Token = Callable[..., str]


async def post(url: str, token: str, body: Any = None) -> int:
    request = Request(
        url,
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )

    def send() -> int:
        with urlopen(request, timeout=30) as response:
            return int(response.status)

    return await asyncio.to_thread(send)


@asynccontextmanager
async def opened(server: Server, token: str | None, **how: Any) -> AsyncIterator[ClientConnection]:
    """Open a socket as a browser does; where there is a token, read the greeting."""
    protocols = None if token is None else ["realtime.v1", f"bearer.{token}"]
    async with connect_socket(server.ws_url, subprotocols=protocols, **how) as socket:
        if token is not None:
            assert socket.subprotocol == "realtime.v1"
            assert (await read(socket))["type"] == "connected"
        yield socket


async def read(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(BOUND):
        return dict(json.loads(await socket.recv()))


async def ask(socket: ClientConnection, frame: str | dict[str, Any]) -> dict[str, Any]:
    await socket.send(frame if isinstance(frame, str) else json.dumps(frame))
    return await read(socket)


async def close_code(socket: ClientConnection) -> int:
    try:
        async with asyncio.timeout(10):
            while True:
                await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


class Ended(Protocol):
    """One end of a connection."""

    local_port: int


def kernel_has(server: Server, raw: Ended) -> bool:
    """Tell whether the server's end of a connection still is in the kernel, in any state."""
    ends = f":{server.port:04X}", f":{raw.local_port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(ends[0]) and line[2].endswith(ends[1]) for line in lines)


async def freed(server: Server, raw: Ended, within: float) -> None:
    """Wait until the kernel has nothing left of the server's end of a connection."""
    async with asyncio.timeout(within):
        while kernel_has(server, raw):  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # The kernel tells nobody.


async def subscribe(raw: RawSocket, *rooms: Any) -> dict[str, Any]:
    """Subscribe; return what the answer says of the first of *rooms*."""
    await raw.send(text({"type": "subscribe", "id": "s", "payload": {"rooms": list(rooms)}}))
    while (answer := await raw.message())["type"] != "response":
        pass
    return dict(answer["payload"]["rooms"][0])
