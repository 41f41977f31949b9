"""Two processes with one Valkey between them are one server to their clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_socket

from quart_realtime.client import Client, Disconnect, Room

from ..proxy import proxying
from ..valkey import valkey
from ..waiting import until
from .conftest import APP, make_token
from .nodes import BOUND, SOON, call, client, nodes, publish
from .server import HYPERCORN, Server, serving
from .sockets import close_code, opened
from .test_lanes import granian, uvicorn


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Server]]:
    with nodes() as (_, servers):
        yield servers


async def take(room: Room, count: int) -> list[Any]:
    """Return the data of the next *count* events of *room*."""
    async with asyncio.timeout(BOUND):
        return [(await anext(room)).data for _ in range(count)]


async def test_what_rest_writes_on_one_is_heard_on_the_other(pair: list[Server]) -> None:
    one, other = pair
    async with client(other, "ana") as ana:
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ana.on("new_message", heard.set_result)
        message = {"conversation_id": "conv123", "content": "Hola"}
        await call(one, "POST", "/messages", body={"message": message})
        async with asyncio.timeout(BOUND):
            assert (await heard)["content"] == "Hola"


async def test_a_client_that_returns_to_another_node_gets_what_it_missed(
    pair: list[Server],
) -> None:
    async with proxying(pair[0].port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/ws"
        async with Client(url, token=make_token("ana"), backoff=SOON) as ana:
            room = await ana.subscribe("numbers:moving")
            recoveries: asyncio.Queue[bool] = asyncio.Queue()
            room.on_recovered(recoveries.put_nowait)
            await publish(pair[0], "moving", 0, 3)
            assert await take(room, 3) == [0, 1, 2]
            proxy.go_away()
            await publish(pair[0], "moving", 3, 7)
            proxy.target = pair[1].port
            proxy.come_back()
            assert await take(room, 4) == [3, 4, 5, 6]
            async with asyncio.timeout(BOUND):
                assert await recoveries.get()
            await publish(pair[0], "moving", 7, 8)
            assert await take(room, 1) == [7]


async def test_one_key_on_two_nodes_runs_once(pair: list[Server]) -> None:
    frame = (
        '{"type":"request","id":"%s","resource":"slow","key":"pay-1",'
        '"payload":{"action":"run","name":"pay","seconds":0.5}}'
    )
    protocols = ["realtime.v1", f"bearer.{make_token('ana')}"]
    async with (
        connect_socket(pair[0].ws_url, subprotocols=protocols) as here,
        connect_socket(pair[1].ws_url, subprotocols=protocols) as there,
        client(pair[0], "bob") as first,
        client(pair[1], "bob") as second,
    ):
        for socket in (here, there):
            await socket.recv()
        async with asyncio.timeout(BOUND):
            for number, socket in enumerate((here, there)):
                await socket.send(frame % f"r{number}")
            answers = [await socket.recv() for socket in (here, there)]
            ran = [await each.request("slow", "ran", name="pay") for each in (first, second)]
    assert [str(answer).partition('"payload":')[2] for answer in answers] == ["1}", "1}"]
    assert sum(ran) == 1


async def test_the_app_sends_a_user_away_from_every_node(pair: list[Server]) -> None:
    async with client(pair[0], "eve") as here, client(pair[1], "eve") as there:
        ends: asyncio.Queue[Disconnect] = asyncio.Queue()
        for each in (here, there):
            each.on_disconnect(ends.put_nowait)
        await call(pair[0], "POST", "/users/eve/disconnect")
        async with asyncio.timeout(BOUND):
            told = [await ends.get() for _ in range(2)]
        assert {(end.code, end.reconnecting) for end in told} == {(4502, False)}


async def test_the_app_joins_and_leaves_rooms_for_a_user_on_every_node(
    pair: list[Server],
) -> None:
    async with client(pair[1], "joe") as joe:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        joe.on("number", heard.put_nowait)

        await call(pair[0], "POST", "/users/joe/rooms/numbers:given")
        await until(lambda: "numbers:given" in joe.rooms)
        await publish(pair[0], "given", 5, 6)
        async with asyncio.timeout(BOUND):
            assert await heard.get() == 5
        await call(pair[0], "DELETE", "/users/joe/rooms/numbers:given")
        await until(lambda: "numbers:given" not in joe.rooms)


async def test_presence_is_of_all_nodes(pair: list[Server]) -> None:
    async with client(pair[0], "ana") as ana:
        hall = await ana.subscribe("hall:one")
        comings: asyncio.Queue[Any] = asyncio.Queue()
        hall.on("presence_join", lambda data: comings.put_nowait(("+", data["user_id"])))
        hall.on("presence_leave", lambda data: comings.put_nowait(("-", data["user_id"])))
        async with client(pair[1], "bob") as bob:
            there = await bob.subscribe("hall:one")
            assert there.presence == {"ana": 1, "bob": 1}
            async with asyncio.timeout(BOUND):
                assert await comings.get() == ("+", "bob")
            assert await call(pair[0], "GET", "/presence/hall:one") == {"ana": 1, "bob": 1}
        async with asyncio.timeout(BOUND):
            assert await comings.get() == ("-", "bob")


async def test_a_user_s_connections_are_counted_over_all_nodes() -> None:
    with nodes(MAX_CONNECTIONS_PER_USER=3) as (_, servers):
        token = make_token("ana")
        async with AsyncExitStack() as opening:
            enter = opening.enter_async_context
            sockets = [await enter(opened(servers[number % 2], token)) for number in range(3)]
            protocols = ["realtime.v1", f"bearer.{token}"]
            async with connect_socket(servers[1].ws_url, subprotocols=protocols) as fourth:
                assert await close_code(fourth) == 4503
            await sockets[0].close()

            async def has_room() -> bool:
                present = await call(servers[1], "GET", "/presence/user:ana")
                return bool(present == {"ana": 2})

            await until(has_room, BOUND)
            await enter(opened(servers[1], token))


async def test_two_workers_of_one_server_are_one_to_their_clients() -> None:
    with (
        valkey() as redis,
        serving(APP, workers=2, BROKER_URL=redis.url, RATE_LIMIT=None) as server,
    ):
        async with asyncio.timeout(60):
            clients: dict[int, Client] = {}
            while len(clients) < 2:
                new = Client(server.ws_url, token=make_token("ana"), backoff=SOON)
                await new.connect()
                pid = await new.request("node", "pid")
                if pid in clients:
                    await new.disconnect()
                else:
                    clients[pid] = new
        try:
            rooms = [await each.subscribe("numbers:both") for each in clients.values()]
            await publish(server, "both", 0, 5)
            assert [await take(room, 5) for room in rooms] == [[0, 1, 2, 3, 4]] * 2
        finally:
            for each in clients.values():
                await each.disconnect()
        assert not any("a broker of its own" in line for line in server.log)


@pytest.mark.parametrize("command", [lambda: HYPERCORN, uvicorn, granian])
async def test_workers_that_share_nothing_are_found_out(
    command: Callable[[], Sequence[str]],
) -> None:
    with serving(APP, workers=2, command=command()) as server:
        assert server.logs("QUART_REALTIME_BROKER_URL")
        assert any("ERROR" in line and "2 workers" in line for line in server.log)


async def test_one_worker_is_not_told_of_others() -> None:
    with serving(APP) as server:
        async with client(server, "ana"):
            pass
        assert not any("a broker of its own" in line for line in server.log)
