"""A server that stops: everybody is told, what is in flight is answered, and the process ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from quart_realtime.backoff import Backoff
from quart_realtime.client import connect

from .conftest import APP
from .server import Server, proxying
from .test_core import Token, opened, read


async def farewell(socket: ClientConnection) -> tuple[dict[str, Any], int]:
    """Return the last thing that was said, and the close code."""
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(15):
            while True:
                last = json.loads(await socket.recv())
    except ConnectionClosed as closed:
        return last, closed.rcvd.code if closed.rcvd else 1006


async def ended(server: Server) -> int:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(server.process.wait)


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_client_is_told_and_the_process_ends(token: Token, workers: int) -> None:
    server = Server(APP, workers=workers, RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=100)
    try:
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(opened(server, token("ana"))) for _ in range(30)
            ]
            server.process.terminate()
            farewells = await asyncio.gather(*(farewell(socket) for socket in sockets))
            told = {"code": "restart", "reconnect": True, "retry_after_ms": 5000}
            assert farewells == [({"type": "closing", "payload": told}, 1012)] * 30
            assert await ended(server) == 0
    finally:
        server.stop()


async def test_a_request_in_flight_is_answered_before_the_close(token: Token) -> None:
    server = Server(APP)
    try:
        async with opened(server, token("ana")) as socket:
            payload = {"action": "wait", "seconds": 1}
            frame = {"type": "request", "id": "1", "resource": "slow", "payload": payload}
            await socket.send(json.dumps(frame))
            await socket.send(json.dumps({"type": "ping"}))
            assert await read(socket) == {"type": "pong"}
            server.process.terminate()
            assert await read(socket) == {"type": "response", "id": "1", "payload": "done"}
            assert (await farewell(socket))[1] == 1012
        assert await ended(server) == 0
    finally:
        server.stop()


async def test_clients_come_back_to_the_next_server_by_themselves(token: Token) -> None:
    first = Server(APP, RETRY_AFTER=0.2)
    try:
        async with proxying(first.port) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            backoff = Backoff(base=0.05, ceiling=0.2)
            async with connect(url, token=token("ana"), backoff=backoff) as client:
                before = client.connection_id
                recoveries: asyncio.Queue[bool] = asyncio.Queue()
                room = await client.subscribe("numbers:stop")
                room.on_recovered(recoveries.put_nowait)
                first.process.terminate()
                assert await ended(first) == 0
                second = Server(APP)
                try:
                    proxy.target = second.port
                    # The second server knows nothing of the first's events, and says so.
                    assert await asyncio.wait_for(recoveries.get(), 20) is False
                    assert client.connection_id != before
                finally:
                    second.stop()
    finally:
        first.stop()
