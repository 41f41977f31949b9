"""What the memory broker does as time goes by, and how it stops."""

from __future__ import annotations

import asyncio

import pytest

from quart_realtime.broker import MemoryBroker, Recovery
from quart_realtime.errors import RealtimeError
from quart_realtime.protocol import HistoryPolicy, Position

from ..unit.fakes import BOUND, Clock, Recorder, event

KEPT = HistoryPolicy(100, 60)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def broker(clock: Clock) -> MemoryBroker:
    broker = MemoryBroker(clock)
    await broker.start(Recorder())
    return broker


async def test_an_event_is_recovered_until_its_time_is_over(
    broker: MemoryBroker, clock: Clock
) -> None:
    start = (await broker.recover(Position("room"), KEPT)).position
    await broker.publish(event(1), KEPT)
    clock.forward(59)
    assert (await broker.recover(start, KEPT)).recovered
    clock.forward(1)
    recovery = await broker.recover(start, KEPT)
    assert recovery == Recovery(Position("room", start.epoch, 1))


async def test_what_has_expired_in_part_is_not_recovered_in_part(
    broker: MemoryBroker, clock: Clock
) -> None:
    start = (await broker.recover(Position("room"), KEPT)).position
    await broker.publish(event(1), KEPT)
    clock.forward(30)
    await broker.publish(event(2), KEPT)
    clock.forward(30)
    assert not (await broker.recover(start, KEPT)).recovered
    later = await broker.recover(Position("room", start.epoch, 1), KEPT)
    assert [item.value() for item in later.events] == [2]


async def test_who_returns_to_a_quiet_room_has_lost_nothing(
    broker: MemoryBroker, clock: Clock
) -> None:
    sent = await broker.publish(event(1), KEPT)
    clock.forward(60 + 3599)
    recovery = await broker.recover(Position("room", sent.epoch, 1), KEPT)
    assert recovery.recovered
    assert recovery.events == ()


async def test_a_forgotten_room_begins_a_new_epoch(broker: MemoryBroker, clock: Clock) -> None:
    old = await broker.publish(event(1), KEPT)
    clock.forward(60 + 3601)
    new = await broker.publish(event(2), KEPT)
    assert new.offset == 1
    assert new.epoch != old.epoch
    assert not (await broker.recover(Position("room", old.epoch, 1), KEPT)).recovered


async def test_rooms_and_answers_that_have_expired_leave_nothing_behind(
    broker: MemoryBroker, clock: Clock
) -> None:
    for n in range(1000):
        await broker.publish(event(n, f"room {n}"), KEPT)
        await broker.begin(f"key {n}", "what", 120)
        await broker.finish(f"key {n}", b"answer")
    clock.forward(3 * 3600)
    await broker.publish(event(1, "last"), KEPT)
    assert list(broker._rooms) == ["last"]
    assert not broker._once


async def test_the_events_of_a_quiet_room_do_not_outlive_their_time(
    broker: MemoryBroker, clock: Clock
) -> None:
    await broker.publish(event("x" * 1000, "quiet"), KEPT)
    clock.forward(61)
    await broker.publish(event(1, "busy"), KEPT)
    assert not broker._rooms["quiet"].events


async def test_presence_leaves_nothing_behind(broker: MemoryBroker) -> None:
    for n in range(1000):
        await broker.enter(f"room {n % 7}", f"user {n % 11}", f"connection {n}")
    for n in range(1000):
        await broker.exit(f"room {n % 7}", f"user {n % 11}", f"connection {n}")
    assert not broker._present


async def test_an_answer_is_kept_until_its_time_is_over(broker: MemoryBroker, clock: Clock) -> None:
    await broker.begin("key", "what", 120)
    await broker.finish("key", b"answer")
    clock.forward(119)
    assert await broker.begin("key", "what", 120) == b"answer"
    clock.forward(1)
    assert await broker.begin("key", "else", 120) is None


async def test_a_request_that_runs_on_and_on_still_runs_once(
    broker: MemoryBroker, clock: Clock
) -> None:
    await broker.begin("key", "what", 120)
    clock.forward(1000)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        waiting = group.create_task(broker.begin("key", "what", 120))
        await asyncio.sleep(0)
        assert not waiting.done()
        await broker.finish("key", b"answer")
    assert waiting.result() == b"answer"


async def test_stop_lets_go_of_those_who_wait_for_an_answer(broker: MemoryBroker) -> None:
    await broker.begin("key", "what", 120)
    waiting = asyncio.ensure_future(broker.begin("key", "what", 120))
    await asyncio.sleep(0)
    await broker.stop()
    async with asyncio.timeout(BOUND):
        await asyncio.wait([waiting])
    assert waiting.done()


async def test_who_waits_for_an_answer_is_told_when_the_broker_stops(broker: MemoryBroker) -> None:
    await broker.begin("key", "what", 120)
    waiting = asyncio.ensure_future(broker.begin("key", "what", 120))
    await asyncio.sleep(0)
    await broker.stop()
    async with asyncio.timeout(BOUND):
        await asyncio.wait([waiting])
    assert not waiting.cancelled()
    assert isinstance(waiting.exception(), RealtimeError)


async def test_after_stop_publishing_and_commanding_reach_nobody(clock: Clock) -> None:
    broker, listener = MemoryBroker(clock), Recorder()
    await broker.start(listener)
    await broker.subscribe("room", KEPT)
    await broker.stop()
    await broker.publish(event(1), KEPT)
    await broker.command({"do": "disconnect"})
    assert not listener.events
    assert not listener.commands


async def test_a_broker_can_be_started_again(clock: Clock) -> None:
    broker, listener = MemoryBroker(clock), Recorder()
    await broker.start(Recorder())
    await broker.stop()
    await broker.start(listener)
    await broker.subscribe("room", KEPT)
    await broker.publish(event(1), KEPT)
    assert [item.value() for item in listener.events] == [1]
