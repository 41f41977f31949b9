"""The core seen from outside: real clients against a real hypercorn."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from quart_realtime.backoff import Backoff
from quart_realtime.client import connect

from ..proxy import proxying
from .conftest import APP
from .server import Server, serving
from .sockets import Token, ask, close_code, opened, post, read

SEED_REQUEST = """
{
  "type": "request",
  "id": "msg-123456789",
  "resource": "conversations",
  "payload": {
    "action": "get_all",
    "user_id": "user123"
  }
}
"""
SEED_RESPONSE = """
{
  "type": "response",
  "id": "msg-123456789",
  "payload": {
    "conversations": [
      {
        "id": "conv123",
        "title": "Conversación 1",
        "created_at": "2025-05-20T12:34:56Z"
      },
      {
        "id": "conv456",
        "title": "Conversación 2",
        "created_at": "2025-05-20T12:45:00Z"
      }
    ]
  }
}
"""
SEED_EVENT = """
{
  "type": "event",
  "id": "evt-987654321",
  "payload": {
    "type": "new_message",
    "data": {
      "id": "msg456",
      "conversation_id": "conv123",
      "content": "Hola mundo",
      "sender_id": "user789",
      "timestamp": "2025-05-20T12:34:56Z"
    }
  }
}
"""
SEED_ERROR = """
{
  "type": "error",
  "id": "msg-123456789",
  "payload": {
    "code": "not_found",
    "message": "Conversación no encontrada",
    "details": {
      "conversation_id": "conv999"
    }
  }
}
"""


async def test_the_seeds_messages_are_sent_and_received_to_the_letter(token: Token) -> None:
    # Without history an event's frame has nothing that the seed's hasn't.
    with serving(APP, HISTORY_SIZE=0) as server:
        async with (
            opened(server, token("user123")) as socket,
            opened(server, token("user789")) as other,
        ):
            assert await ask(socket, SEED_REQUEST) == json.loads(SEED_RESPONSE)
            unknown = json.loads(SEED_REQUEST)
            unknown["payload"] = {"action": "get", "conversation_id": "conv999"}
            assert await ask(socket, unknown) == json.loads(SEED_ERROR)
            message = {
                "conversation_id": "conv123",
                "content": "Hola mundo",
                "sender_id": "user789",
            }
            create = {"action": "create", "message": message}
            await other.send(
                json.dumps(
                    {"type": "request", "id": "1", "resource": "messages", "payload": create}
                )
            )
            event = await read(socket)
            assert event["id"].startswith("evt-")
            assert event | {"id": "evt-987654321"} == json.loads(SEED_EVENT)


async def test_what_is_written_by_rest_is_heard_on_the_socket(server: Server, token: Token) -> None:
    async with opened(server, token("ana")) as socket:
        message = {"conversation_id": "conv123", "content": "Hola", "sender_id": "luis"}
        assert await post(f"{server.url}/messages", token("luis"), {"message": message}) == 201
        event = await read(socket)
    assert event["payload"]["data"]["content"] == "Hola"
    assert event["offset"] == 1


async def test_a_client_dropped_50_times_sees_each_of_1000_events_once_and_in_order(
    server: Server, token: Token
) -> None:
    heard: list[int] = []
    drops: list[Any] = []
    more = asyncio.Condition()

    async def hear(number: int) -> None:
        async with more:
            heard.append(number)
            more.notify_all()

    async def drop(disconnect: Any) -> None:
        async with more:
            drops.append(disconnect)
            more.notify_all()

    async def at_least(count: int, what: list[Any]) -> None:
        async with asyncio.timeout(10), more:
            await more.wait_for(lambda: len(what) >= count)

    chance = random.Random(50)
    async with proxying(server.port) as proxy:
        backoff = Backoff(base=0.01, ceiling=0.02)
        client = connect(f"ws://127.0.0.1:{proxy.port}/ws", token=token("ana"), backoff=backoff)
        client.on_disconnect(drop)
        async with client:
            room = await client.subscribe("numbers:drops")
            room.on("number", hear)
            for start in range(0, 1000, 20):
                publishing = asyncio.create_task(
                    post(f"{server.url}/numbers/drops/{start}/{start + 20}", token("luis"))
                )
                # Dropped anywhere in the twenty: after the first, between, and after the last.
                await at_least(start + chance.randint(1, 20), heard)
                proxy.cut()
                assert await publishing == 204
            await at_least(1000, heard)
            await at_least(50, drops)
            assert room.recovered is True
    assert all(drop.reconnecting for drop in drops[:50])
    assert heard == list(range(1000))


async def test_a_foreign_origin_is_refused_with_403_and_ones_own_is_not(
    server: Server, token: Token
) -> None:
    for origin in (
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{server.port}.evil.example",
        f"https://127.0.0.1:{server.port}",
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(server, token("ana"), origin=origin):
                pass
        assert refused.value.response.status_code == 403
    async with opened(server, token("ana"), origin=server.url):
        pass
    assert server.logs("QUART_REALTIME_ALLOWED_ORIGINS")


async def test_a_flood_is_refused_then_closed_and_nobody_else_notices(token: Token) -> None:
    with serving(APP) as server:
        async with (
            opened(server, token("ana")) as flooding,
            opened(server, token("luis")) as other,
        ):
            reading = asyncio.create_task(close_code(flooding))
            try:
                for number in range(5000):
                    await flooding.send(json.dumps({"type": "ping", "id": str(number)}))
            except ConnectionClosed:
                pass
            assert await reading == 4006
            assert await ask(other, {"type": "ping"}) == {"type": "pong"}


async def test_a_token_that_ends_while_connected_asks_for_a_fresh_one(
    server: Server, token: Token
) -> None:
    async with opened(server, token("ana", seconds=2)) as socket:
        assert (await read(socket))["payload"]["reconnect"] is True
        assert await close_code(socket) == 4001


async def test_no_token_appears_in_the_servers_log(server: Server, token: Token) -> None:
    good, bad = token("ana"), token("ana", seconds=-10)
    async with opened(server, good) as socket:
        await ask(socket, {"type": "auth", "id": "1", "payload": {"token": bad}})
        await ask(socket, {"type": "auth", "id": "2", "payload": {"token": "x.y.z"}})
    async with connect_socket(server.ws_url, subprotocols=["realtime.v1", f"bearer.{bad}"]) as late:
        assert await close_code(late) == 4001
    log = "".join(server.log)
    assert good not in log
    assert bad not in log


async def test_behind_a_proxy_that_ends_tls_its_origin_is_the_apps_own(token: Token) -> None:
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com"}
    with serving("tests.e2e.app:proxied") as server:
        how: dict[str, Any] = {"additional_headers": proxy}
        async with opened(server, token("ana"), origin="https://app.example.com", **how) as socket:
            who = {"action": "route", "number": "1"}
            answer = await ask(
                socket, {"type": "request", "id": "1", "resource": "who", "payload": who}
            )
            assert answer["payload"]["who"] == ["ana"] * 3
        with pytest.raises(InvalidStatus):
            async with opened(server, token("ana"), origin=server.url, **how):
                pass


async def test_a_request_that_is_sent_again_after_a_drop_has_run_once(
    server: Server, token: Token
) -> None:
    async with proxying(server.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        backoff = Backoff(base=0.01, ceiling=0.02)
        async with connect(url, token=token("ana"), backoff=backoff) as client:
            asking = asyncio.create_task(
                client.request("slow", "run", name="paid", seconds=0.3, retry=True)
            )
            # Once this is answered, the request before it has reached the server too.
            await client.request("who", "native", number="1")
            proxy.cut()
            assert await asyncio.wait_for(asking, 10) == 1
            assert await client.request("slow", "run", name="paid", seconds=0) == 2


async def test_a_full_queue_is_answered_whole_within_the_servers_rate(
    server: Server, token: Token
) -> None:
    async with proxying(server.port) as proxy:
        proxy.go_away()
        backoff = Backoff(base=0.01, ceiling=0.02)
        client = connect(f"ws://127.0.0.1:{proxy.port}/ws", token=token("ana"), backoff=backoff)
        connecting = asyncio.create_task(client.connect())
        await asyncio.sleep(0)  # Begun, and refused again and again.
        asking = [client.request("who", "native", number=str(number)) for number in range(100)]
        answers = asyncio.gather(*asking)
        await asyncio.sleep(0)  # All of them wait.
        proxy.come_back()
        async with asyncio.timeout(20):
            await connecting
            assert [answer["number"] for answer in await answers] == list(map(str, range(100)))
        await client.disconnect()


async def test_who_is_silent_is_closed_and_who_answers_pings_is_not(token: Token) -> None:
    with serving(APP, PING_INTERVAL=0.5, IDLE_TIMEOUT=3) as server:
        async with (
            connect(server.ws_url, token=token("luis")) as answering,
            opened(server, token("ana")) as silent,
        ):
            before = answering.connection_id
            assert (await read(silent)) == {"type": "ping"}
            assert await close_code(silent) == 4003
            assert (await answering.request("who", "native", number="1"))["number"] == "1"
            assert answering.connection_id == before
