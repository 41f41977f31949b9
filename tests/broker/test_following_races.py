"""Following rooms over Redis: joins and leaves beside catching up, and forgotten numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest

from quart_realtime.broker_url import parse_broker_url
from quart_realtime.protocol import Position
from quart_realtime.redis_broker import names_of
from quart_realtime.redis_link import Links
from quart_realtime.redis_scripts import RECOVER, Script
from quart_realtime.redis_servers import OneServer

from ..proxy import proxying
from ..unit.fakes import BOUND, Recorder
from ..valkey import Valkey, valkey
from ..waiting import until
from .nodes import KEPT, SLOW, node, publish_until_it_works


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


def data_of(recorder: Recorder, room: str = "room") -> list[Any]:
    return [item.value() for item in recorder.events if item.room == room]


# Joining and leaving


async def test_a_room_that_is_joined_again_while_others_catch_up_loses_nothing(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_realtime.redis_rooms.CATCH_UP_AT_ONCE", 1)
    url = f"{server.url}?prefix={uuid4().hex}"
    names = names_of(parse_broker_url(url))
    async with node(url, "first", "room", "last") as (broker, recorder):
        run = broker._servers.run
        asked: list[str] = []
        reached = {"first": asyncio.Event(), "room": asyncio.Event()}
        opened = {"first": asyncio.Event(), "room": asyncio.Event()}

        async def gated(script: Script, keys: Sequence[str], *words: Any, **options: Any) -> Any:
            answer = await run(script, keys, *words, **options)
            asked.append(keys[0])
            for name in reached:
                if script is RECOVER and keys[0] == names.place(name):
                    reached[name].set()
                    await opened[name].wait()
            return answer

        monkeypatch.setattr(broker._servers, "run", gated)
        with server.client as client:
            client.client_kill_filter(_type="pubsub")
        async with asyncio.timeout(SLOW):
            await reached["first"].wait()
            await broker.unsubscribe("room")
            joining = asyncio.create_task(broker.subscribe("room", KEPT))
            await reached["room"].wait()
            opened["first"].set()
            await until(lambda: names.place("last") in asked)
            opened["room"].set()
            await joining
        for data in (1, 2):
            await publish_until_it_works(broker, data)
        await until(lambda: 2 in data_of(recorder))
        assert data_of(recorder) == [1, 2]
        assert recorder.lost == []


async def test_a_room_that_could_not_be_caught_up_with_for_no_known_reason_is_heard_again(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(f"{server.url}?prefix={uuid4().hex}", "room") as (broker, recorder):
        recover, fails = broker._rooms.recover, iter([True])

        async def failing(position: Position, *words: Any, **options: Any) -> Any:
            if position.room == "room" and next(fails, False):
                raise RuntimeError("a fault of ours")
            return await recover(position, *words, **options)

        monkeypatch.setattr(broker._rooms, "recover", failing)
        with server.client as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: "room" in recorder.lost)
        await publish_until_it_works(broker, 1)
        await until(lambda: data_of(recorder) or broker._rooms._followed["room"].waiting)
        await publish_until_it_works(broker, 2)
        await until(lambda: data_of(recorder)[-1:] == [2])
        await until(lambda: broker.health.up)


class FakeConnection:
    """A connection on which a test answers."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str]] = []
        self._answers: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def connect(self) -> None: ...

    async def send_command(self, verb: str, *names: str, check_health: bool) -> None:
        self.orders += [(verb, name) for name in names]

    async def read_response(self, *, disconnect_on_error: bool) -> list[Any]:
        return await self._answers.get()

    async def disconnect(self, *, nowait: bool) -> None: ...

    def answer(self, verb: str, name: str) -> None:
        self._answers.put_nowait([verb.lower().encode(), name.encode(), 1])


class FakeServers(OneServer):
    """One server, whose only connection is a test's."""

    def __init__(self) -> None:
        self.fake = FakeConnection()

    def connection(self, endpoint: str) -> Any:
        return self.fake

    async def command(self, *words: Any) -> Any: ...

    def is_back(self, endpoint: str) -> None: ...


class Nobody:
    """Hears, and does nothing about it."""

    def heard(self, channel: str, message: bytes) -> None: ...

    def cut_off(self, channels: Iterable[str]) -> None: ...

    def hears_again(self, channel: str) -> None: ...

    async def rest(self) -> None: ...


async def test_a_channel_that_is_left_and_wanted_again_waits_for_its_own_answer() -> None:
    servers = FakeServers()
    links = Links(servers, Nobody(), lambda salt: "probe")
    first = asyncio.ensure_future(links.listen("channel"))
    orders = servers.fake.orders
    await until(lambda: ("SUBSCRIBE", "channel") in orders)
    links.leave("channel")
    second = asyncio.ensure_future(links.listen("channel"))
    await until(lambda: orders.count(("SUBSCRIBE", "channel")) == 2)
    assert orders.index(("UNSUBSCRIBE", "channel")) < len(orders) - 1
    servers.fake.answer("SUBSCRIBE", "channel")
    servers.fake.answer("SUBSCRIBE", "probe")
    await until(lambda: links.up)
    early = second.done()
    servers.fake.answer("UNSUBSCRIBE", "channel")
    servers.fake.answer("SUBSCRIBE", "channel")
    async with asyncio.timeout(BOUND):
        await second
    assert first.cancelled()
    await links.stop()
    assert not early


# A server that forgot


async def test_numbers_that_one_heard_and_the_server_forgot_are_given_to_no_other_events() -> None:
    with valkey() as server:
        async with (
            proxying(server.port) as before_behind,
            proxying(server.port) as before_ahead,
            node(f"redis://127.0.0.1:{before_behind.port}/0", "room") as (behind, _),
            node(f"redis://127.0.0.1:{before_ahead.port}/0", "room") as (ahead, recorder),
        ):
            for data in ("one", "two", "three"):
                await publish_until_it_works(ahead, data)
            await until(lambda: behind._rooms._followed["room"].offset == 3)
            before_behind.swallow_answers()
            with server.client as client:
                client.save()
            for data in ("four", "five"):
                newest = await publish_until_it_works(ahead, data)
            await until(lambda: data_of(recorder)[-1] == "five")
            before_ahead.go_away()
            before_behind.go_away()
            server.restart()
            before_behind.come_back()
            await until(lambda: behind.health.up and behind.health.links_broken)
            for data in ("other four", "other five"):
                await publish_until_it_works(behind, data)
            seen = await behind.recover(newest, KEPT)
            before_ahead.come_back()
            await until(lambda: ahead.health.up and ahead.health.links_broken)
            await publish_until_it_works(behind, "last")
            await until(lambda: data_of(recorder)[-1] == "last" or recorder.lost)
            told = {"other four", "other five"} <= {*data_of(recorder)}
            assert told or "room" in recorder.lost
            assert not seen.recovered
