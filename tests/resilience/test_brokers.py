"""Several processes, and a Redis that is killed, emptied of its scripts, or written to by others.

Its pauses, its returns and its links are in ``test_bad_redis.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from quart_realtime.broker_url import parse_broker_url
from quart_realtime.client import Room
from quart_realtime.redis_broker import names_of

from ..e2e.nodes import BOUND, call, client, nodes, publish
from ..e2e.server import Server
from ..valkey import Valkey
from ..waiting import until
from .conftest import Figures

PRESENCE_BOUND = 25.0
"""Within how many seconds a process that was killed is known to be dead, with some to spare."""

END = 1_000_000
"""From which number on it is only looked whether a client is back."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Valkey, list[Server]]]:
    with nodes() as both:
        yield both


async def take(room: Room, count: int) -> list[Any]:
    """Return the data of the next *count* events of *room*."""
    async with asyncio.timeout(BOUND):
        return [(await anext(room)).data for _ in range(count)]


@pytest.mark.line(6, "SIGKILL of one of two processes")
async def test_the_presence_of_a_node_that_is_killed_goes_and_the_others_stay(
    figures: Figures,
) -> None:
    loop = asyncio.get_running_loop()
    with nodes() as (_, servers):
        async with client(servers[0], "ana") as ana, client(servers[1], "bob") as bob:
            hall = await ana.subscribe("hall:one")
            gone: asyncio.Future[Any] = loop.create_future()
            hall.on("presence_leave", lambda data: gone.set_result(data["user_id"]))
            await bob.subscribe("hall:one")
            os.killpg(servers[1].process.pid, signal.SIGKILL)
            began = loop.time()
            async with asyncio.timeout(PRESENCE_BOUND):
                assert await gone == "bob"
            figures("presence gone after", f"{loop.time() - began:.1f} s")
            assert hall.presence == {"ana": 1}
            # Neither is the login of the dead counted any longer.
            assert await call(servers[0], "GET", "/presence/user:bob") == {}
            room = await ana.subscribe("numbers:still")
            await publish(servers[0], "still", 0, 1)
            assert await take(room, 1) == [0]


async def accepted(server: Server, number: int, key: str) -> bool:
    """Publish *number* under *key*; tell whether the server says that it went out."""
    try:
        await call(server, "POST", f"/numbers/killed/{number}/{number + 1}/keyed/{key}")
    except HTTPError as error:
        if error.code != 503:
            raise
        return False
    return True


@pytest.mark.line(7, "Redis killed while events are published")
async def test_when_redis_is_killed_the_publisher_is_told_or_it_is_delivered_and_a_retry_is_one(
    figures: Figures,
) -> None:
    """Redis keeps what it has, so that a key which it took before it died is known after it."""
    with nodes(options=("--appendonly", "yes", "--appendfsync", "always")) as (redis, servers):
        async with client(servers[0], "ana") as ana:
            room = await ana.subscribe("numbers:killed")
            heard: list[int] = []
            returns: list[bool] = []
            room.on("number", heard.append)
            room.on_recovered(returns.append)
            told: dict[int, bool] = {}

            async def kill_and_start() -> None:
                await until(lambda: len(told) >= 20)
                await asyncio.to_thread(redis.kill)
                await until(lambda: False in told.values())
                await asyncio.to_thread(redis.start)

            killing = asyncio.create_task(kill_and_start())
            number = 0
            while not killing.done() or number < 60:
                told[number] = await accepted(servers[number % 2], number, f"n{number}")
                number += 1
            await killing
            refused = [each for each, went in told.items() if not went]
            assert refused
            for each in refused:

                async def again(each: int = each) -> bool:
                    return await accepted(servers[each % 2], each, f"n{each}")

                await until(again, BOUND)
            ends = itertools.count(END)

            async def is_back() -> bool:
                number = next(ends)
                await publish(servers[0], "killed", number, number + 1)
                return max(heard, default=0) >= END

            await until(is_back, BOUND)
            assert len(heard) == len(set(heard))
            # What a client isn't told though it went out it is told that it misses.
            assert set(told) <= set(heard) or False in returns
            figures("told that it failed", f"{len(refused)} of {len(told)}")


@pytest.mark.line(11, "SCRIPT FLUSH")
async def test_publishing_goes_on_when_scripts_are_flushed(
    pair: tuple[Valkey, list[Server]],
) -> None:
    redis, servers = pair
    async with client(servers[0], "ana") as ana:
        room = await ana.subscribe("numbers:flushed")
        for number in range(3):
            with redis.client as outsider:
                outsider.script_flush()
            await publish(servers[1], "flushed", number, number + 1)
        assert await take(room, 3) == [0, 1, 2]


@pytest.mark.line(12, "two processes publish to one room at once")
async def test_two_nodes_that_publish_at_once_are_heard_in_one_order(
    pair: tuple[Valkey, list[Server]],
) -> None:
    one, other = pair[1]
    async with client(one, "ana") as here, client(other, "bob") as there:
        rooms = [await each.subscribe("numbers:busy") for each in (here, there)]
        await asyncio.gather(publish(one, "busy", 0, 300), publish(other, "busy", 1000, 1300))
        first, second = [await take(room, 600) for room in rooms]
        assert first == second
        assert [number for number in first if number < 1000] == list(range(300))
        assert [number for number in first if number >= 1000] == list(range(1000, 1300))


class Nasty:
    """Were it unpickled, it would leave a folder behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.line(13, "garbage and pickles on the channel")
async def test_garbage_and_pickles_are_ignored_and_counted_and_what_follows_is_heard(
    pair: tuple[Valkey, list[Server]], tmp_path: Path
) -> None:
    redis, servers = pair
    folder = tmp_path / uuid4().hex
    channel = names_of(parse_broker_url(redis.url)).channel("numbers:garbage")
    garbage = [b"", b"\xff" * 100, b"{}", pickle.dumps(Nasty(folder)), b"x" * 1_000_000]
    async with client(servers[0], "ana") as ana:
        room = await ana.subscribe("numbers:garbage")
        before = (await call(servers[0], "GET", "/health"))["broker"]["ignored"]
        with redis.client as outsider:
            for message in garbage:
                assert outsider.publish(channel, message) == 1
        await publish(servers[1], "garbage", 0, 3)
        assert await take(room, 3) == [0, 1, 2]
        health = (await call(servers[0], "GET", "/health"))["broker"]
        assert (health["ignored"] - before, health["up"]) == (len(garbage), True)
    assert not folder.exists()
