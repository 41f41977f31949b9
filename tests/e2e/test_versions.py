"""How a client and a server that speak several versions of the protocol agree on one, or don't."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from .server import Server
from .sockets import Token, ask, close_code, read


def offering(server: Server, *subprotocols: str, token: str | None = None) -> connect:
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    names = [Subprotocol(name) for name in subprotocols]
    return connect(server.ws_url, subprotocols=names or None, additional_headers=headers)


@pytest.mark.parametrize(
    "offered",
    [
        ["realtime.v1"],
        ["realtime.v2", "realtime.v1"],
        ["realtime.v1", "realtime.v2"],
        ["realtime.v01", "realtime.v1", "realtime.v999999999"],
        ["something.else", "realtime.v1"],
    ],
)
async def test_the_highest_version_that_both_know_is_chosen(
    server: Server, token: Token, offered: list[str]
) -> None:
    async with offering(server, *offered, token=token("ana")) as socket:
        assert socket.subprotocol == "realtime.v1"
        assert (await read(socket))["payload"]["protocol"] == 1


@pytest.mark.parametrize("offered", [[], ["something.else"], ["realtime.next"]])
async def test_who_names_no_version_is_taken_to_speak_the_first(
    server: Server, token: Token, offered: list[str]
) -> None:
    async with offering(server, *offered, token=token("ana")) as socket:
        assert socket.subprotocol is None
        assert (await read(socket))["payload"]["protocol"] == 1
        assert (await ask(socket, '{"type": "ping"}'))["type"] == "pong"


@pytest.mark.parametrize("offered", [["realtime.v2"], ["realtime.v3", "realtime.v2"]])
async def test_who_knows_other_versions_alone_is_told_so_and_not_let_in(
    server: Server, token: Token, offered: list[str]
) -> None:
    async with offering(server, *offered, f"bearer.{token('ana')}") as socket:
        # Browsers pass on nothing of a connection whose subprotocol they haven't offered.
        assert socket.subprotocol == offered[0]
        told = await read(socket)
        assert (told["type"], told["payload"]["code"]) == ("error", "bad_request")
        assert told["payload"]["details"] == {"spoken": ["realtime.v1"]}
        closing = await read(socket)
        assert closing["payload"] == {
            "code": "protocol_error",
            "reconnect": False,
            "retry_after_ms": None,
        }
        assert await close_code(socket) == 4501
        with pytest.raises(ConnectionClosed, match=r"this server speaks realtime\.v1"):
            await socket.recv()
