"""How long a connection lives, and what ends it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from quart import Quart, websocket

from quart_realtime import CloseCode, Realtime, heartbeat
from quart_realtime.testing import RealtimeClient, realtime_client

from ..conftest import make_app


async def closed_with(client: RealtimeClient, code: CloseCode) -> dict[str, Any]:
    """Check that the server says and does close with *code*, and return what it said."""
    closing = (await client.receive("closing"))["payload"]
    assert closing["code"] == code.label
    assert await client.wait_closed() == code
    return dict(closing)


def quiet(client: RealtimeClient) -> None:
    """Have *client* answer no more pings."""

    async def ignore(frame: Any) -> None: ...

    client.send = ignore  # type: ignore[method-assign]


async def test_the_greeting_tells_what_a_client_must_know(app: Quart) -> None:
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        told = client.connected
    assert set(told) == {
        "connection_id",
        "user_id",
        "protocol",
        "ping_interval",
        "idle_timeout",
        "max_message_size",
        "expires_at",
        "rooms",
    }
    assert (told["protocol"], told["ping_interval"], told["idle_timeout"]) == (1, 25, 300)
    assert [room["room"] for room in told["rooms"]] == ["user:ana", "everyone"]


async def test_a_ping_is_answered_with_its_id_if_it_has_one(app: Quart) -> None:
    Realtime(app)
    async with realtime_client(app) as client:
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}
        await client.send({"type": "ping", "id": "7"})
        assert await client.receive() == {"type": "pong", "id": "7"}


async def test_who_answers_pings_lives_past_the_idle_time_out() -> None:
    app = make_app(PING_INTERVAL=0.05, IDLE_TIMEOUT=0.2)
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        client._timeout = 0.6
        with pytest.raises(AssertionError, match="no close within"):
            await client.wait_closed()


async def test_who_is_silent_is_closed_after_the_idle_time_out() -> None:
    app = make_app(PING_INTERVAL=30, IDLE_TIMEOUT=0.2)
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        told = await closed_with(client, CloseCode.IDLE_TIMEOUT)
    assert told["reconnect"] is True


async def test_who_stops_answering_pings_is_closed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "GRACE", 0.2)
    app = make_app(PING_INTERVAL=0.05)
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        await client.send({"type": "pong"})
        quiet(client)
        await closed_with(client, CloseCode.HEARTBEAT_TIMEOUT)


@pytest.mark.parametrize("text", ["x" * 1001, "ñ" * 501, json.dumps({"type": "x" * 1000})])
async def test_a_message_over_the_size_closes(text: str) -> None:
    app = make_app(MAX_MESSAGE_SIZE=1000)
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        await client.send(text)
        told = await closed_with(client, CloseCode.MESSAGE_TOO_BIG)
    assert told["reconnect"] is False


async def test_a_message_of_just_the_size_is_taken() -> None:
    app = make_app(MAX_MESSAGE_SIZE=1000)
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        frame = json.dumps({"type": "ping", "more": ""})
        await client.send(frame.replace('""', json.dumps("x" * (1000 - len(frame)))))
        assert (await client.receive())["type"] == "pong"


@pytest.mark.parametrize("message", [b"", b"{}", b"\xff"])
async def test_binary_messages_close(app: Quart, message: bytes) -> None:
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        await client.send(message)
        await closed_with(client, CloseCode.PROTOCOL_ERROR)


MALFORMED = ["", "[]", "null", '"x"', "{", '{"type": NaN}', "[" * 60_000, '{"type": "\\ud800"}']


@pytest.mark.parametrize("text", MALFORMED)
async def test_a_malformed_message_is_an_error_and_nothing_else(app: Quart, text: str) -> None:
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        await client.send(text)
        error = await client.receive("error")
        assert (error["id"], error["payload"]["code"]) == (None, "bad_request")
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}


async def test_malformed_messages_on_end_close_but_not_those_in_between(app: Quart) -> None:
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        for _ in range(3):
            for _ in range(9):
                await client.send("nonsense")
                await client.receive("error")
            await client.send({"type": "ping"})
            await client.receive("pong")
        for _ in range(10):
            await client.send("nonsense")
        told = await closed_with(client, CloseCode.PROTOCOL_ERROR)
    assert told["reconnect"] is False


async def test_too_many_messages_are_refused_and_who_goes_on_is_closed() -> None:
    app = make_app(RATE_LIMIT="10/minute")
    Realtime(app)
    async with realtime_client(app, user_id="ana") as client:
        for number in range(11):
            await client.send({"type": "ping", "id": str(number)})
        error = await client.receive("error")
        assert (error["id"], error["payload"]["code"]) == ("10", "rate_limited")
        assert 0 < error["payload"]["details"]["retry_after"] <= 60
        for _ in range(100):
            await client.send("nonsense")
        await closed_with(client, CloseCode.RATE_LIMITED)


async def test_a_refused_message_is_not_acted_upon() -> None:
    app = make_app(RATE_LIMIT="1/minute")
    realtime = Realtime(app)
    runs = []

    @realtime.handler("work", "do")
    async def work() -> None:
        runs.append(1)

    frame = {"type": "request", "id": "1", "resource": "work", "payload": {"action": "do"}}
    async with realtime_client(app, user_id="ana") as client:
        await client.send(frame)
        await client.receive("response")
        await client.send(frame)
        await client.receive("error")
    assert runs == [1]


class StuckSocket:
    """The ASGI side of a client that has stopped reading."""

    def __init__(self, token: str) -> None:
        self.greeted = asyncio.Event()
        self.queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.scope = {
            "type": "websocket",
            "path": "/ws",
            "raw_path": b"/ws",
            "query_string": b"",
            "scheme": "ws",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost")],
            "subprotocols": ["realtime.v1", f"bearer.{token}"],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "extensions": {},
        }

    async def send(self, message: dict[str, Any]) -> None:
        if self.greeted.is_set():
            await asyncio.Event().wait()
        if "connected" in message.get("text", ""):
            self.greeted.set()


async def test_who_stops_reading_is_closed_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quart_realtime.connection.PATIENCE", 0.05)
    monkeypatch.setattr("quart_realtime.asgi.CLOSE_GRACE", 0.05)
    app = make_app(SEND_BUFFER=10_000)
    realtime = Realtime(app)
    async with realtime_client(app, user_id="luis") as luis:
        token = await app.extensions["QUART_REALTIME"].authenticator.issue("ana")
        socket = StuckSocket(token)
        serving = asyncio.create_task(app(socket.scope, socket.queue.get, socket.send))
        await asyncio.wait_for(socket.greeted.wait(), 2)
        for number in range(100):
            await realtime.notify("said", {"n": number, "text": "x" * 500})
        await asyncio.wait_for(serving, 5)
        assert realtime.connections("user:ana") == []
        assert await realtime.presence("user:ana") == []
        for number in range(100):
            assert (await luis.expect("said"))["n"] == number


async def test_a_frame_larger_than_the_buffer_goes_out_alone() -> None:
    app = make_app(SEND_BUFFER=1000)
    realtime = Realtime(app)

    @realtime.handler("text", "get")
    async def text() -> str:
        return "x" * 5000

    async with realtime_client(app, user_id="ana") as client:
        assert len(await client.request("text", "get")) == 5000


async def test_when_the_app_stops_clients_are_told_to_come_back(app: Quart) -> None:
    Realtime(app)
    running = app.test_app()
    await running.startup()
    async with realtime_client(app, user_id="ana") as client:
        stopping = asyncio.create_task(running.shutdown())
        closing = (await client.receive("closing"))["payload"]
        assert closing == {"code": "restart", "reconnect": True, "retry_after_ms": 5000}
        assert await client.wait_closed() == CloseCode.RESTART
        await asyncio.wait_for(stopping, 5)


async def test_attributes_of_a_connection(app: Quart) -> None:
    realtime = Realtime(app)
    async with realtime_client(app, user_id="ana", claims={"role": "x"}) as client:
        (connection,) = realtime.connections()
        assert connection.id == client.id
        assert connection.user_id == "ana"
        assert connection.claims == {"role": "x"}
        assert connection.rooms == {"user:ana", "everyone"}
        assert connection.remote_addr == "<local>"
        assert connection.connected_at > 1_700_000_000
        assert "ana" in repr(connection)
        assert connection.handshake.token is not None
        assert connection.handshake.token not in repr(connection.handshake)
        assert connection.identity is not None
        assert connection.identity.token not in repr(connection.identity)


async def test_ordinary_websockets_of_the_app_work_as_before(app: Quart) -> None:
    Realtime(app)

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with app.test_client().websocket("/echo") as socket:
        await socket.send("hello")
        assert await asyncio.wait_for(socket.receive(), 2) == "hello"


async def test_draining_answers_what_is_in_flight_and_takes_nothing_new() -> None:
    app = make_app(MAX_REQUESTS=1)
    realtime = Realtime(app)
    begun, finish = asyncio.Event(), asyncio.Event()

    @realtime.handler("work", "do")
    async def work(n: int) -> int:
        begun.set()
        await finish.wait()
        return n

    def ask(number: int) -> dict[str, Any]:
        payload = {"action": "do", "n": number}
        return {"type": "request", "id": str(number), "resource": "work", "payload": payload}

    async with (
        realtime_client(app, user_id="ana") as busy,
        realtime_client(app, user_id="luis") as idle,
    ):
        await busy.send(ask(1))
        await busy.send(ask(2))
        await asyncio.wait_for(begun.wait(), 2)
        draining = asyncio.create_task(realtime.drain())
        assert await idle.wait_closed() == CloseCode.RESTART
        await busy.send(ask(3))
        assert (await busy.receive("error"))["payload"]["code"] == "unavailable"
        token = await app.extensions["QUART_REALTIME"].authenticator.issue("eva")
        async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{token}"]) as late:
            closing = (await late.receive("closing"))["payload"]
            assert closing == {"code": "try_later", "reconnect": True, "retry_after_ms": 5000}
            assert await late.wait_closed() == CloseCode.TRY_LATER
        finish.set()
        answers = [await busy.receive("response") for _ in range(2)]
        assert [answer["payload"] for answer in answers] == [1, 2]
        assert await busy.wait_closed() == CloseCode.RESTART
        await asyncio.wait_for(draining, 5)


async def test_draining_waits_no_longer_than_it_may() -> None:
    app = make_app(DRAIN_TIMEOUT=0.1)
    realtime = Realtime(app)

    @realtime.handler("work", "do")
    async def work() -> None:
        await asyncio.Event().wait()

    async with realtime_client(app, user_id="ana") as ana:
        frame = {"type": "request", "id": "1", "resource": "work", "payload": {"action": "do"}}
        await ana.send(frame)
        await ana.send({"type": "ping"})
        await ana.receive("pong")
        await asyncio.wait_for(realtime.drain(), 5)
        assert await ana.wait_closed() == CloseCode.RESTART
