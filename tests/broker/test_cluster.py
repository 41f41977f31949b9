"""What only a cluster does: slots that move from one server to another, and servers that hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
from redis.crc import key_slot

from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable, SetupError
from quart_realtime.protocol import HistoryPolicy
from quart_realtime.redis_broker import RedisBroker

from ..unit.fakes import Recorder, event
from ..valkey import Valkey, cluster, cluster_url
from .nodes import is_up

KEPT = HistoryPolicy(100, 300)
SLOW = 20.0
ROOMS = [f"room {number}" for number in range(24)]


@pytest.fixture
def servers() -> Iterator[list[Valkey]]:
    with cluster() as servers:
        yield servers


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def broker(servers: list[Valkey], recorder: Recorder) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(parse_broker_url(cluster_url(servers)))
    await broker.start(recorder)
    for room in ROOMS:
        await broker.subscribe(room, KEPT)
    yield broker
    await broker.stop()


def move(servers: list[Valkey], slot: int) -> None:
    """Move *slot*, and the keys in it, from the server that has it to the next."""
    number = min(2, slot * 3 // 16384)
    there, here = servers[number], servers[(number + 1) % 3]
    with there.client as source, here.client as target:
        names = [client.execute_command("CLUSTER", "MYID").decode() for client in (source, target)]
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        if keys:
            source.execute_command("MIGRATE", "127.0.0.1", here.port, "", 0, 5000, "KEYS", *keys)
        for client in (target, source):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])


async def all_are_heard(broker: RedisBroker, recorder: Recorder) -> None:
    """See that what is published to each room comes, sooner or later."""
    for room in ROOMS:
        async with asyncio.timeout(SLOW):
            while True:
                with suppress(BrokerUnavailable):
                    await broker.publish(event("now", room), KEPT)
                before = len(recorder.events)
                try:
                    await recorder.has(events=before + 1, within=0.5)
                except TimeoutError:
                    continue
                if any(each.room == room for each in recorder.events):
                    break


async def test_a_room_whose_slot_moves_is_heard_from_where_it_is(
    servers: list[Valkey], broker: RedisBroker, recorder: Recorder
) -> None:
    await broker.publish(event("before", ROOMS[0]), KEPT)
    await recorder.has(events=1)
    await asyncio.to_thread(move, servers, key_slot(broker._names.place(ROOMS[0]).encode()))
    await all_are_heard(broker, recorder)


async def test_a_link_whose_own_slot_moves_hears_itself_elsewhere(
    servers: list[Valkey], broker: RedisBroker, recorder: Recorder
) -> None:
    probes = [link._probe for link in broker._rooms.links._links.values()]
    for probe in probes:
        await asyncio.to_thread(move, servers, key_slot(probe.encode()))
    await is_up(broker, broken=len(probes))
    await all_are_heard(broker, recorder)


async def test_a_server_that_hangs_keeps_nobody_from_the_others(
    servers: list[Valkey], broker: RedisBroker
) -> None:
    at = {room: min(2, key_slot(broker._names.place(room).encode()) * 3 // 16384) for room in ROOMS}
    servers[0].pause()
    try:
        async with asyncio.timeout(SLOW):
            outcomes = await asyncio.gather(
                *(broker.publish(event(1, room), KEPT) for room in ROOMS * 20),
                return_exceptions=True,
            )
        told = dict(zip(ROOMS * 20, outcomes, strict=True))
        for room, outcome in told.items():
            assert isinstance(outcome, BrokerUnavailable) == (at[room] == 0), room
    finally:
        servers[0].go_on()


async def test_one_server_of_a_cluster_is_no_broker(servers: list[Valkey]) -> None:
    for server in servers:
        alone = RedisBroker(parse_broker_url(server.url))
        with pytest.raises(SetupError, match="cluster"):
            await alone.start(Recorder())
