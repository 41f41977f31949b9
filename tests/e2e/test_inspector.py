"""The inspector's websocket on a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..conftest import SECRET
from .conftest import APP, make_token
from .server import Server, serving
from .sockets import ask, opened

BOUND = 20.0


def looking(server: Server, **claims: Any) -> Any:
    data = {"identity": "eva", "type": "access", "fresh": False, "jti": "1", "user_claims": claims}
    token = jwt.encode(data, SECRET, "HS256")
    return connect_socket(
        f"{server.ws_url}/inspector/live", subprotocols=["realtime.v1", f"bearer.{token}"]
    )


async def told(page: ClientConnection, part: str) -> Any:
    async with asyncio.timeout(BOUND):
        while part not in (news := json.loads(await page.recv())):
            pass
    return news[part]


async def test_a_page_sees_what_goes_over_the_sockets_of_others() -> None:
    with serving(APP, INSPECTOR="inspector", PING_INTERVAL=0.2) as server:
        async with (
            looking(server, inspector=True) as page,
            opened(server, make_token("ana")) as ana,
        ):
            assert page.subprotocol == "realtime.v1"
            request = {"type": "request", "id": "1", "resource": "echo"}
            await ask(ana, {**request, "payload": {"action": "say", "text": "hello"}})
            seen: dict[str, Any] = {}
            while not {"request", "response", "ping"} <= seen.keys():
                seen |= {frame["type"]: frame for frame in await told(page, "frames")}
            assert (seen["request"]["user"], seen["request"]["direction"]) == ("ana", "in")
            assert "hello" in seen["response"]["text"]
        with pytest.raises(InvalidStatus) as refused:
            await looking(server)
        assert refused.value.response.status_code == 403


async def test_a_server_that_is_only_looked_at_stops_as_others_do() -> None:
    with serving(APP, INSPECTOR="inspector") as server:
        async with looking(server, inspector=True) as page:
            await told(page, "about")
            server.process.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                await told(page, "nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            async with asyncio.timeout(BOUND):
                await asyncio.to_thread(server.process.wait)
