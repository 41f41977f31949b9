"""What every broker guarantees: in memory, over Valkey or Redis, and over a cluster."""

from __future__ import annotations

import asyncio

import pytest

from quart_realtime.broker import PRESENCE_HISTORY, Broker, Once, Presence, Recovery, comings
from quart_realtime.errors import Conflict
from quart_realtime.limits import parse_rates
from quart_realtime.protocol import MAX_OFFSET, HistoryPolicy, Position

from ..unit.fakes import BOUND, Recorder, event

KEPT = HistoryPolicy(100, 300)
NONE = HistoryPolicy(0, 300)


async def publish(broker: Broker, *data: object, room: str = "room") -> Position:
    """Publish an event for each of *data* and return where the room stands then."""
    newest = Position(room)
    for item in data:
        sent = await broker.publish(event(item, room), KEPT)
        assert sent.offset is not None
        newest = Position(room, sent.epoch, sent.offset)
    return newest


async def there(broker: Broker, room: str = "room") -> list[Presence]:
    return list((await broker.present(room)).users)


def data_of(recovery: Recovery) -> list[object]:
    return [item.value() for item in recovery.events]


# Publishing


async def test_the_events_of_a_room_are_numbered_from_one_within_an_epoch(broker: Broker) -> None:
    sent = [await broker.publish(event(n), KEPT) for n in range(3)]
    assert [item.offset for item in sent] == [1, 2, 3]
    assert len({item.epoch for item in sent}) == 1
    assert sent[0].epoch


async def test_each_room_has_a_numbering_and_an_epoch_of_its_own(broker: Broker) -> None:
    first = await publish(broker, 1, 2, room="a")
    second = await publish(broker, 1, room="b")
    assert (first.offset, second.offset) == (2, 1)
    assert first.epoch != second.epoch


async def test_a_published_event_keeps_all_else(broker: Broker) -> None:
    told = event({"a": 1}, kind="new", exclude="c1")
    sent = await broker.publish(told, KEPT)
    assert (sent.type, sent.data, sent.room, sent.id, sent.exclude) == (
        told.type,
        told.data,
        told.room,
        told.id,
        told.exclude,
    )


async def test_what_is_delivered_is_what_publish_returned(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    sent = await broker.publish(event("x", exclude="c1"), KEPT)
    await listener.has(events=1)
    assert listener.events == [sent]


async def test_events_are_delivered_in_the_order_of_their_offsets(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    async with asyncio.timeout(BOUND):
        await asyncio.gather(*(broker.publish(event(n), KEPT) for n in range(50)))
    await listener.has(events=50)
    assert [item.offset for item in listener.events] == list(range(1, 51))


async def test_only_rooms_that_are_subscribed_are_delivered(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("mine", KEPT)
    await publish(broker, 1, room="other")
    await publish(broker, 2, room="mine")
    await listener.has(events=1)
    assert [item.room for item in listener.events] == ["mine"]


async def test_nothing_is_delivered_after_unsubscribe_but_it_is_kept(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    await broker.subscribe("marker", KEPT)
    start = await publish(broker, 1)
    await listener.has(events=1)
    await broker.unsubscribe("room")
    await publish(broker, 2)
    await publish(broker, 3, room="marker")
    await listener.has(events=2)
    assert [item.value() for item in listener.events] == [1, 3]
    assert data_of(await broker.recover(start, KEPT)) == [2]


async def test_subscribing_again_delivers_again_and_only_once(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    await broker.unsubscribe("room")
    await broker.subscribe("room", KEPT)
    await broker.subscribe("room", KEPT)
    await publish(broker, 1, 2)
    await listener.has(events=2)
    assert [item.value() for item in listener.events] == [1, 2]


async def test_a_room_without_history_delivers_without_numbers(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    sent = await broker.publish(event("x"), NONE)
    await listener.has(events=1)
    assert listener.events == [sent]
    assert sent.offset is None
    assert sent.epoch is None


@pytest.mark.parametrize("name", ["*?[", "{tag}", "__proto__", "a:b", "é 🙂", "a" * 256])
async def test_no_character_in_the_name_of_a_room_means_anything(
    broker: Broker, listener: Recorder, name: str
) -> None:
    await broker.subscribe(name, KEPT)
    await publish(broker, 1, room="another")
    await publish(broker, 2, room=name)
    await listener.has(events=1)
    assert [item.room for item in listener.events] == [name]


async def test_nothing_is_delivered_after_stop(broker: Broker, listener: Recorder) -> None:
    await broker.subscribe("room", KEPT)
    await publish(broker, 1)
    await listener.has(events=1)
    await broker.stop()
    assert [item.value() for item in listener.events] == [1]


# Recovering


async def test_all_that_came_after_a_position_is_recovered_in_order(broker: Broker) -> None:
    start = await publish(broker, 1, 2)
    newest = await publish(broker, 3, 4, 5)
    recovery = await broker.recover(start, KEPT)
    assert recovery.recovered
    assert recovery.position == newest
    assert data_of(recovery) == [3, 4, 5]
    assert [item.offset for item in recovery.events] == [3, 4, 5]


async def test_who_has_seen_all_recovers_nothing_more(broker: Broker) -> None:
    newest = await publish(broker, 1, 2)
    assert await broker.recover(newest, KEPT) == Recovery(newest, (), recovered=True)


async def test_the_position_before_the_first_event_recovers_all(broker: Broker) -> None:
    empty = (await broker.recover(Position("room"), KEPT)).position
    assert empty.offset == 0
    await publish(broker, 1, 2)
    assert data_of(await broker.recover(empty, KEPT)) == [1, 2]


async def test_without_an_epoch_only_the_newest_position_is_told(broker: Broker) -> None:
    newest = await publish(broker, 1, 2)
    assert await broker.recover(Position("room"), KEPT) == Recovery(newest)


async def test_where_a_room_stands_is_where_the_subscriber_was_brought_to(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    assert (await broker.recover(Position("room"), KEPT)).position.offset == 0
    newest = await publish(broker, 1, 2)
    await listener.has(events=2)
    assert await broker.recover(Position("room"), KEPT) == Recovery(newest)
    assert broker.stands("room") == newest
    assert broker.stands("another") is None


async def test_a_history_that_has_lost_one_recovers_nothing(broker: Broker) -> None:
    small = HistoryPolicy(3, 300)
    first = await broker.publish(event(1), small)
    for n in range(2, 6):
        await broker.publish(event(n), small)
    at = [Position("room", first.epoch, offset) for offset in range(6)]
    lost = await broker.recover(at[1], small)
    assert lost == Recovery(at[5])
    kept = await broker.recover(at[2], small)
    assert kept.recovered
    assert data_of(kept) == [3, 4, 5]


@pytest.mark.parametrize("offset", [4, 1000, MAX_OFFSET, 2**64, -1, -(2**63)])
async def test_an_offset_in_the_future_or_below_zero_recovers_nothing(
    broker: Broker, offset: int
) -> None:
    newest = await publish(broker, 1, 2, 3)
    recovery = await broker.recover(Position("room", newest.epoch, offset), KEPT)
    assert recovery == Recovery(newest)


@pytest.mark.parametrize("offset", [0, 1, 3])
async def test_another_epoch_recovers_nothing(broker: Broker, offset: int) -> None:
    newest = await publish(broker, 1, 2, 3)
    assert await broker.recover(Position("room", "other", offset), KEPT) == Recovery(newest)


async def test_the_position_of_another_room_recovers_nothing(broker: Broker) -> None:
    await publish(broker, "secret", room="theirs")
    theirs = (await broker.recover(Position("theirs"), KEPT)).position
    newest = await publish(broker, 1, room="mine")
    stolen = Position("mine", theirs.epoch, 0)
    assert await broker.recover(stolen, KEPT) == Recovery(newest)


async def test_what_is_published_twice_under_one_key_is_one_event(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", KEPT)
    once = Once("order 17", 60)
    first = await broker.publish(event(1), KEPT, once)
    again = await broker.publish(event(1), KEPT, once)
    other = await broker.publish(event(2), KEPT, Once("order 18", 60))
    await listener.has(events=2)
    assert (again.epoch, again.offset) == (first.epoch, first.offset)
    assert [item.value() for item in listener.events] == [1, 2]
    assert other.offset == 2


async def test_a_key_counts_in_its_own_room_alone(broker: Broker, listener: Recorder) -> None:
    once = Once("order 17", 60)
    for room in ("a", "b"):
        await broker.subscribe(room, KEPT)
        await broker.publish(event(1, room), KEPT, once)
    await listener.has(events=2)
    assert [item.room for item in listener.events] == ["a", "b"]


async def test_a_key_counts_where_no_history_is_kept_too(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe("room", NONE)
    once = Once("order 17", 60)
    for data in (1, 1):
        await broker.publish(event(data), NONE, once)
    await broker.publish(event(2), NONE)
    await listener.has(events=2)
    assert [item.value() for item in listener.events] == [1, 2]


async def test_a_room_without_history_has_no_position(broker: Broker) -> None:
    await broker.publish(event(1), NONE)
    assert await broker.recover(Position("room", "e", 0), NONE) == Recovery(Position("room"))


# Presence


async def test_presence_counts_each_user_s_connections(broker: Broker) -> None:
    assert await broker.enter("room", "ann", "c1") == 1
    assert await broker.enter("room", "ann", "c2") == 2
    assert await broker.enter("room", "bob", "c3") == 1
    present = sorted(await there(broker), key=lambda user: user.user_id)
    assert present == [Presence("ann", 2), Presence("bob", 1)]
    assert await broker.exit("room", "ann", "c1") == 1
    assert await broker.exit("room", "ann", "c2") == 0
    assert await there(broker, "room") == [Presence("bob", 1)]


async def test_one_connection_that_enters_twice_counts_once(broker: Broker) -> None:
    await broker.enter("room", "ann", "c1")
    assert await broker.enter("room", "ann", "c1") == 1
    assert await broker.exit("room", "ann", "c1") == 0
    assert await there(broker, "room") == []


async def test_whoever_is_not_there_can_exit_without_harm(broker: Broker) -> None:
    assert await broker.exit("room", "ann", "c1") is None
    await broker.enter("room", "ann", "c1")
    assert await broker.exit("room", "ann", "c9") is None
    assert await broker.exit("room", "bob", "c1") is None
    assert await there(broker, "room") == [Presence("ann", 1)]


async def test_each_room_has_a_presence_of_its_own(broker: Broker) -> None:
    await broker.enter("a", "ann", "c1")
    assert await broker.enter("b", "ann", "c1") == 1
    await broker.exit("a", "ann", "c1")
    assert await there(broker, "a") == []
    assert await there(broker, "b") == [Presence("ann", 1)]


async def test_who_comes_and_goes_is_told_once_per_user_where_the_room_tells_it(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe(comings("room"), PRESENCE_HISTORY)
    await broker.enter("room", "ann", "c1")
    await broker.enter("room", "ann", "c2")
    await broker.enter("room", 'b"ö\\b', "c3")
    await broker.enter("elsewhere", "eve", "c4")
    await broker.exit("room", "ann", "c1")
    await broker.exit("room", "ann", "c2")
    await broker.exit("room", "ann", "c2")
    await listener.has(events=3)
    assert [(event.type, event.value()) for event in listener.events] == [
        ("presence_join", {"user_id": "ann"}),
        ("presence_join", {"user_id": 'b"ö\\b'}),
        ("presence_leave", {"user_id": "ann"}),
    ]
    assert {event.room for event in listener.events} == {comings("room")}
    assert len({event.id for event in listener.events}) == 3


async def test_who_is_there_is_told_with_the_place_from_which_changes_count(
    broker: Broker, listener: Recorder
) -> None:
    await broker.subscribe(comings("room"), PRESENCE_HISTORY)
    assert (await broker.present("room")).position.offset == 0
    await broker.enter("room", "ann", "c1")
    await broker.enter("room", "bob", "c2")
    attendance = await broker.present("room")
    await broker.exit("room", "bob", "c2")
    await listener.has(events=3)
    at = [(event.epoch, event.offset) for event in listener.events]
    assert at[1] == (attendance.position.epoch, attendance.position.offset)
    assert {user.user_id for user in attendance.users} == {"ann", "bob"}


async def test_a_private_room_tells_nobody_who_comes(broker: Broker, listener: Recorder) -> None:
    await broker.subscribe(comings("\0logins:ann"), PRESENCE_HISTORY)
    await broker.subscribe("marker", KEPT)
    await broker.enter("\0logins:ann", "ann", "c1")
    await publish(broker, 1, room="marker")
    await listener.has(events=1)
    assert [event.room for event in listener.events] == ["marker"]
    assert await there(broker, "\0logins:ann") == [Presence("ann", 1)]


# Commands


async def test_a_command_reaches_the_listener_as_it_was_sent(
    broker: Broker, listener: Recorder
) -> None:
    command = {"do": "disconnect", "user_id": "ann", "reason": "ende", "node": "n"}
    await broker.command(command)
    await listener.has(commands=1)
    assert listener.commands == [command]


# Requests that run once


async def test_the_first_to_begin_runs_and_the_next_gets_its_answer(broker: Broker) -> None:
    assert await broker.begin("key", "what", 60) is None
    await broker.finish("key", b"answer")
    assert await broker.begin("key", "what", 60) == b"answer"
    assert await broker.begin("key", "what", 60) == b"answer"


async def test_an_empty_answer_is_an_answer(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    await broker.finish("key", b"")
    assert await broker.begin("key", "what", 60) == b""


async def test_keys_do_not_touch_each_other(broker: Broker) -> None:
    assert await broker.begin("a", "what", 60) is None
    assert await broker.begin("b", "what", 60) is None


async def test_whoever_comes_while_it_runs_waits_for_the_answer(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        waiting = [group.create_task(broker.begin("key", "what", 60)) for _ in range(20)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await broker.finish("key", b"answer")
    assert {task.result() for task in waiting} == {b"answer"}


async def test_of_many_that_begin_at_once_one_runs(broker: Broker) -> None:
    runs = 0

    async def ask() -> bytes:
        nonlocal runs
        kept = await broker.begin("key", "what", 60)
        if kept is None:
            runs += 1
            await asyncio.sleep(0)
            await broker.finish("key", kept := b"answer")
        return kept

    async with asyncio.timeout(BOUND):
        assert set(await asyncio.gather(*(ask() for _ in range(50)))) == {b"answer"}
    assert runs == 1


async def test_a_key_that_asks_for_something_else_is_a_conflict(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    with pytest.raises(Conflict):
        await broker.begin("key", "else", 60)
    await broker.finish("key", b"answer")
    with pytest.raises(Conflict):
        await broker.begin("key", "else", 60)
    assert await broker.begin("key", "what", 60) == b"answer"


async def test_an_abandoned_key_lets_exactly_one_that_waits_run(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        waiting = {group.create_task(broker.begin("key", "what", 60)) for _ in range(5)}
        await asyncio.sleep(0)
        await broker.abandon("key")
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [None]
        assert len(left) == 4
        await broker.finish("key", b"second")
    assert {task.result() for task in left} == {b"second"}


async def test_an_abandoned_key_may_ask_for_something_else(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    await broker.abandon("key")
    assert await broker.begin("key", "else", 60) is None


async def test_a_key_that_nobody_began_can_be_finished_or_abandoned_without_harm(
    broker: Broker,
) -> None:
    await broker.finish("key", b"answer")
    await broker.abandon("key")
    assert await broker.begin("key", "what", 60) is None


async def test_a_waiter_that_gives_up_disturbs_nobody(broker: Broker) -> None:
    await broker.begin("key", "what", 60)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        quitter = group.create_task(broker.begin("key", "what", 60))
        stayer = group.create_task(broker.begin("key", "what", 60))
        await asyncio.sleep(0)
        quitter.cancel()
        await asyncio.wait([quitter])
        await broker.finish("key", b"answer")
    assert quitter.cancelled()
    assert stayer.result() == b"answer"


# Counting


async def test_so_much_is_counted_and_then_it_says_how_long_to_wait(broker: Broker) -> None:
    rates = parse_rates("3/minute")
    assert [await broker.count("ann", rates) for _ in range(3)] == [0, 0, 0]
    assert 0 < await broker.count("ann", rates) <= 60
    assert await broker.count("bob", rates) == 0


async def test_the_strictest_of_several_rates_holds(broker: Broker) -> None:
    rates = parse_rates("100/second; 2/hour; 50/minute")
    assert [await broker.count("ann", rates) for _ in range(2)] == [0, 0]
    assert 60 < await broker.count("ann", rates) <= 3600


async def test_what_was_refused_is_not_counted_and_room_comes_with_time(broker: Broker) -> None:
    rates = parse_rates("2/second")
    assert [await broker.count("ann", rates) for _ in range(2)] == [0, 0]
    async with asyncio.timeout(BOUND):
        while wait := await broker.count("ann", rates):
            assert wait <= 1
            await asyncio.sleep(wait)
