"""A server that stops: everybody is told, what is in flight is answered, and the process ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed

from quart_realtime.backoff import Backoff
from quart_realtime.client import connect

from ..e2e.conftest import APP
from ..e2e.raw_socket import raw_socket
from ..e2e.server import Server, serving
from ..e2e.sockets import Token, ask, opened, post, read, subscribe
from ..proxy import proxying
from .conftest import Timed

CLOSING = {"code": "restart", "reconnect": True, "retry_after_ms": 5000}


async def story(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Return all that is said until the end, and the close code."""
    frames: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(15):
            while True:
                frames.append(json.loads(await socket.recv()))
    except ConnectionClosed as closed:
        return frames, closed.rcvd.code if closed.rcvd else 1006


async def farewell(socket: ClientConnection) -> tuple[dict[str, Any], int]:
    """Return the last thing that was said, and the close code."""
    frames, code = await story(socket)
    return frames[-1], code


async def ended(server: Server) -> int:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(server.process.wait)


async def crowd(
    stack: AsyncExitStack, server: Server, token: str, size: int
) -> list[ClientConnection]:
    """Open *size* sockets, some at a time."""
    sockets: list[ClientConnection] = []
    for _ in range(0, size, 50):
        many = (stack.enter_async_context(opened(server, token)) for _ in range(50))
        sockets += await asyncio.gather(*many)
    return sockets


@pytest.mark.line(5, "SIGTERM with 1 000 sockets")
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_thousand_idle_clients_are_told_and_the_process_ends(
    token: Token, workers: int, timed: Timed
) -> None:
    with serving(APP, workers=workers, RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=1000) as server:
        async with AsyncExitStack() as stack:
            sockets = await crowd(stack, server, token("ana"), 1000)
            with timed(f"all told and ended, {workers} workers,"):
                server.process.terminate()
                farewells = await asyncio.gather(*(farewell(socket) for socket in sockets))
                assert farewells == [({"type": "closing", "payload": CLOSING}, 1012)] * 1000
                assert await ended(server) == 0


async def test_an_interrupt_is_a_stop_too(token: Token) -> None:
    with serving(APP) as server:
        async with opened(server, token("ana")) as socket:
            # As Ctrl-C does, to all processes of the group.
            os.killpg(server.process.pid, signal.SIGINT)
            assert await farewell(socket) == ({"type": "closing", "payload": CLOSING}, 1012)
        assert await ended(server) == 0


async def test_a_worker_that_is_ended_by_itself_says_goodbye_and_ends(token: Token) -> None:
    with serving(APP) as server:
        async with opened(server, token("ana")) as socket:
            os.kill(server.worker, signal.SIGTERM)
            assert await farewell(socket) == ({"type": "closing", "payload": CLOSING}, 1012)
        await ended(server)


@pytest.mark.line(5, "SIGTERM while events are sent")
async def test_what_was_sent_before_a_stop_arrives_before_the_close(token: Token) -> None:
    with serving(APP, RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=1000) as server:
        async with AsyncExitStack() as stack:
            sockets = await crowd(stack, server, token("ana"), 200)
            subscribe = {"type": "subscribe", "id": "1", "payload": {"rooms": ["numbers:last"]}}
            await asyncio.gather(*(ask(socket, subscribe) for socket in sockets))
            await post(f"{server.url}/numbers/last/0/50", token("ana"))
            server.process.terminate()
            for socket in sockets:
                frames, code = await story(socket)
                numbers = [f["payload"]["data"] for f in frames if f["type"] == "event"]
                assert numbers == list(range(50))
                assert (frames[-1]["type"], code) == ("closing", 1012)
            assert await ended(server) == 0


@pytest.mark.line(5, "SIGTERM, and a reader that has stopped")
@pytest.mark.parametrize("cut_off", [True, False])
async def test_a_reader_that_stopped_does_not_keep_the_process(token: Token, cut_off: bool) -> None:
    with serving(APP, SEND_BUFFER=262_144 if cut_off else 2**26, RATE_LIMIT=None) as server:
        async with raw_socket(server.port, token("ana"), receive_buffer=4096) as ana:
            await subscribe(ana, "numbers:stuck")
            ana.stop_reading()
            await post(f"{server.url}/numbers/stuck/0/128/padded/65536", token("luis"))
            assert server.logs("4005 too much was waiting") == cut_off
            server.process.terminate()
            assert await ended(server) == 0


async def test_a_server_that_drains_sends_all_away_and_takes_no_more(token: Token) -> None:
    with serving(APP) as server:
        async with opened(server, token("ana")) as socket:
            draining = asyncio.create_task(post(f"{server.url}/drain", token("ana")))
            assert await farewell(socket) == ({"type": "closing", "payload": CLOSING}, 1012)
            assert await asyncio.wait_for(draining, 10) == 204
        async with connect_socket(server.ws_url) as late:
            last, code = await farewell(late)
            assert last["payload"] == {**CLOSING, "code": "try_later"}
            assert code == 1013


# Of two workers one is idle, and has ended long before; 4 seconds are more than the 3 for which
# Hypercorn itself lets things go on.
@pytest.mark.parametrize(("workers", "seconds"), [(1, 4), (2, 1)])
async def test_a_request_in_flight_is_answered_before_the_close(
    token: Token, workers: int, seconds: int
) -> None:
    with serving(APP, workers=workers) as server:
        async with opened(server, token("ana")) as socket:
            payload = {"action": "wait", "seconds": seconds}
            frame = {"type": "request", "id": "1", "resource": "slow", "payload": payload}
            await socket.send(json.dumps(frame))
            await socket.send(json.dumps({"type": "ping"}))
            assert await read(socket) == {"type": "pong"}
            server.process.terminate()
            assert await read(socket) == {"type": "response", "id": "1", "payload": "done"}
            assert (await farewell(socket))[1] == 1012
        assert await ended(server) == 0


@pytest.mark.line(5, "SIGTERM, and another server")
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
