"""What clients of real servers see when Redis fails: RESILIENCE's lines 7 to 10."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any
from urllib.error import HTTPError

import pytest
from websockets.asyncio.client import connect as connect_socket

from quart_realtime.client import Client, Disconnect, Room

from ..e2e.conftest import APP, make_token
from ..e2e.nodes import BOUND, call, client, nodes, publish
from ..e2e.server import Server, serving
from ..e2e.sockets import close_code
from ..proxy import proxying
from ..valkey import Valkey, cluster, cluster_url, replica_of, sentinels, valkey
from ..waiting import until
from .conftest import Timed

SLOW = 20.0
"""How many seconds it may take to get over a fault."""


async def is_up(server: Server, **counts: int) -> dict[str, Any]:
    """Wait until *server*'s health says so; returns its broker's."""

    async def broker() -> dict[str, Any] | None:
        said: dict[str, Any] = (await call(server, "GET", "/health"))["broker"]
        return said if said["up"] and all(said[name] >= counts[name] for name in counts) else None

    found: dict[str, Any] = await until(broker, SLOW)
    return found


async def again_and_again(work: Callable[[], Awaitable[Any]], within: float = SLOW) -> None:
    """Do *work* until it succeeds."""

    async def done() -> bool:
        try:
            await work()
        except HTTPError:
            return False
        return True

    await until(done, within)


class Story:
    """What happens to a room of a client: data, and each return with whether all was recovered."""

    def __init__(self, room: Room) -> None:
        self.events: list[Any] = []
        self.returns: list[bool] = []
        self._news = asyncio.Event()
        room.on("number", self._event)
        room.on_recovered(self._returned)

    def _event(self, data: Any) -> None:
        self.events.append(data)
        self._news.set()

    def _returned(self, recovered: bool) -> None:
        self.returns.append(recovered)
        self._news.set()

    async def until(self, what: Callable[[Story], bool], within: float = SLOW) -> None:
        """Wait until *what* is true."""
        async with asyncio.timeout(within):
            while not what(self):
                self._news.clear()
                await self._news.wait()


async def story_of(connected: Client, name: str) -> Story:
    return Story(await connected.subscribe(f"numbers:{name}"))


@pytest.mark.line(9, "Redis paused for 10 s")
async def test_while_redis_is_paused_sockets_stay_and_requests_and_rest_writes_succeed() -> None:
    with nodes() as (redis, servers):
        async with client(servers[0], "ana") as ana:
            ends: list[Disconnect] = []
            ana.on_disconnect(ends.append)
            story = await story_of(ana, "paused")
            await publish(servers[1], "paused", 0, 3)
            await story.until(lambda story: len(story.events) == 3)
            redis.pause()
            loop = asyncio.get_running_loop()
            began = loop.time()
            writes = 0
            while loop.time() < began + 10:
                started = loop.time()
                # The event of this write can't go out; the write stands all the same.
                created = await call(
                    servers[0], "POST", "/messages", body={"message": {"content": "Hola"}}
                )
                assert created["message"]["content"] == "Hola"
                assert loop.time() - started < 5
                assert await ana.request("echo", "say", text="hi") == "hi"
                writes += 1
                await asyncio.sleep(0.2)  # As somebody writes who types.
            assert writes > 4
            health = await call(servers[0], "GET", "/health")
            assert not health["broker"]["up"]
            assert health["failed_events"] == writes
            redis.go_on()
            for server in servers:
                await is_up(server)
            await again_and_again(lambda: publish(servers[1], "paused", 3, 6))
            await story.until(lambda story: len(story.events) == 6)
            assert story.events == [0, 1, 2, 3, 4, 5]
            assert ends == []


async def test_who_connects_while_redis_is_away_is_told_to_come_back_and_gets_in_later() -> None:
    with nodes(1) as (redis, (server,)):
        redis.kill()
        protocols = ["realtime.v1", f"bearer.{make_token('ana')}"]
        async with connect_socket(server.ws_url, subprotocols=protocols) as socket:
            async with asyncio.timeout(BOUND):
                error, closing = [json.loads(await socket.recv()) for _ in range(2)]
            assert error["payload"]["code"] == "unavailable"
            assert closing["payload"]["reconnect"]
            assert await close_code(socket) == 1013
        connecting = Client(server.ws_url, token=make_token("ana"), connect_timeout=SLOW)
        waiting = asyncio.create_task(connecting.connect())
        await asyncio.sleep(0.5)  # Long enough to be turned away once.
        redis.start()
        async with asyncio.timeout(SLOW):
            await waiting
        await connecting.disconnect()


@pytest.mark.line(8, "Redis back, empty")
async def test_when_redis_returns_empty_everybody_is_told_that_the_place_is_lost() -> None:
    with nodes(RETRY_AFTER=0.2) as (redis, servers):
        async with client(servers[0], "ana") as ana, client(servers[1], "bob") as bob:
            ends: asyncio.Queue[Disconnect] = asyncio.Queue()
            stories = []
            for each in (ana, bob):
                each.on_disconnect(ends.put_nowait)
                stories.append(await story_of(each, "emptied"))
            await publish(servers[0], "emptied", 0, 3)
            for story in stories:
                await story.until(lambda story: len(story.events) == 3)
            redis.restart()
            async with asyncio.timeout(SLOW):
                told = [await ends.get() for _ in range(2)]
            assert {(end.code, end.reconnecting) for end in told} == {(4007, True)}
            for story in stories:
                await story.until(lambda story: story.returns[:1] == [False])
            await again_and_again(lambda: publish(servers[1], "emptied", 10, 13))
            for story in stories:
                await story.until(lambda story: len(story.events) >= 6)
                assert story.events == [0, 1, 2, 10, 11, 12]


@pytest.mark.line(10, "the subscriber's link black-holed")
async def test_a_node_whose_link_is_black_holed_makes_up_for_it_and_its_clients_see_nothing(
    timed: Timed,
) -> None:
    with valkey() as redis:
        async with proxying(redis.port) as proxy:
            far_url = f"redis://127.0.0.1:{proxy.port}/0"
            near = serving(APP, BROKER_URL=redis.url, RATE_LIMIT=None)
            far = serving(APP, BROKER_URL=far_url, RATE_LIMIT=None)
            with near as one:
                # The proxy lives in this event loop, and must answer while the server starts.
                other = await asyncio.to_thread(far.__enter__)
                try:
                    async with client(other, "ana") as ana:
                        ends: list[Disconnect] = []
                        ana.on_disconnect(ends.append)
                        story = await story_of(ana, "holed")
                        await publish(one, "holed", 0, 3)
                        await story.until(lambda story: len(story.events) == 3)
                        with timed("delivered late by"):
                            proxy.swallow()
                            proxy.pass_new_on()
                            await publish(one, "holed", 3, 6)
                            await story.until(lambda story: len(story.events) == 6)
                        assert story.events == [0, 1, 2, 3, 4, 5]
                        assert ends == []
                        broker = await is_up(other, links_broken=1, gaps_filled=1)
                        assert broker["rooms_lost"] == 0
                finally:
                    await asyncio.to_thread(far.__exit__, None, None, None)


async def test_when_the_leader_dies_sentinel_s_replica_takes_over_and_nobody_is_misled() -> None:
    with valkey() as leader, replica_of(leader), sentinels(leader) as url:
        await _survives_the_death_of(leader, url, 30)


async def test_when_a_leader_of_a_cluster_dies_its_replica_takes_over() -> None:
    with cluster(replicas=1) as servers:
        with servers[0].client as asking:
            slot = asking.execute_command("CLUSTER", "KEYSLOT", "{r:numbers:failing}")
        # The one that has the room of the story.
        leader = servers[min(2, slot * 3 // 16384)]
        await _survives_the_death_of(leader, cluster_url(servers), 30)


async def _survives_the_death_of(leader: Valkey, url: str, within: float) -> None:
    with (
        serving(APP, BROKER_URL=url, RATE_LIMIT=None, RETRY_AFTER=0.2) as one,
        serving(APP, BROKER_URL=url, RATE_LIMIT=None, RETRY_AFTER=0.2) as other,
    ):
        async with client(one, "ana") as ana, client(other, "bob") as bob:
            stories = [await story_of(each, "failing") for each in (ana, bob)]
            await publish(one, "failing", 0, 5)
            for story in stories:
                await story.until(lambda story: len(story.events) == 5)
            with leader.client as asking:
                asking.wait(1, 1000)  # The replica has all that was heard so far.
            leader.kill()
            numbers = count(5)
            number = 0

            async def try_the_next() -> None:
                nonlocal number
                number = next(numbers)
                await publish(one, "failing", number, number + 1)

            await again_and_again(try_the_next, within)
            for server in (one, other):
                await is_up(server)
            # Who was told that the place is lost may not be back yet.
            later = count(1000)

            async def all_hear() -> bool:
                late = next(later)
                await publish(other, "failing", late, late + 1)
                return all(story.events[-1] >= 1000 for story in stories)

            await until(all_hear, SLOW)
            for story in stories:
                assert story.events[:5] == [0, 1, 2, 3, 4]
                assert story.events == sorted(set(story.events))
                # What was accepted is there, or it was told that it may not be.
                assert number in story.events or False in story.returns
