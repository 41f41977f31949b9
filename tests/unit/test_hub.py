"""Rooms and their subscribers: delivery, presence and commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from quart_realtime.broker import MemoryBroker, Presence
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.hub import Hub, rooms_of_login, user_room
from quart_realtime.members import HELD_EVENTS, Entry
from quart_realtime.protocol import EVERYONE, HistoryPolicy, Position
from quart_realtime.registry import HistoryPolicies, Registry

from .fakes import BOUND, Member, event


def hub_over(broker: MemoryBroker) -> Hub:
    return Hub(broker, HistoryPolicies(Registry(), HistoryPolicy(100, 300)))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = hub_over(MemoryBroker())
    await hub.start()
    yield hub
    await hub.stop()


async def enter(hub: Hub, member: Member, room: str = "room", **options: Any) -> Entry:
    entry = await hub.join(member, Position(room), **options)
    entry.open()
    return entry


async def arrive(hub: Hub, name: str, user_id: str) -> Member:
    member = Member(name)
    await hub.attach(member, user_id)
    return member


async def test_members_hear_what_is_published_and_nobody_else_does(hub: Hub) -> None:
    ann, bob, eve = Member("a"), Member("b"), Member("e")
    for member, room in ((ann, "room"), (bob, "room"), (eve, "other")):
        await hub.attach(member, member.id)
        await enter(hub, member, room)
    await hub.publish(event("hello"))
    assert ann.heard == bob.heard == ["hello"]
    assert eve.heard == []


async def test_one_event_is_encoded_once_for_all(hub: Hub) -> None:
    members = [await arrive(hub, str(n), "user") for n in range(3)]
    for member in members:
        await enter(hub, member)
    await hub.publish(event("hello"))
    assert len({id(member.frames[0]) for member in members}) == 1


async def test_who_has_left_hears_no_more_and_may_leave_again(hub: Hub) -> None:
    ann, bob = await arrive(hub, "a", "ann"), await arrive(hub, "b", "bob")
    await enter(hub, ann)
    await enter(hub, bob)
    assert await hub.leave(ann, "room")
    assert not await hub.leave(ann, "room")
    await hub.publish(event("hello"))
    assert ann.heard == []
    assert bob.heard == ["hello"]
    assert ann.rooms == set()


async def test_leaving_a_room_that_nobody_is_in_does_nothing(hub: Hub) -> None:
    assert not await hub.leave(await arrive(hub, "a", "ann"), "room")


async def test_the_excluded_connection_does_not_hear_the_event(hub: Hub) -> None:
    ann, bob = await arrive(hub, "a", "ann"), await arrive(hub, "b", "bob")
    await enter(hub, ann)
    await enter(hub, bob)
    await hub.publish(event("hello", exclude="a"))
    assert (ann.kinds, ann.heard) == (["skipped"], [None])
    assert ann.told[0]["offset"] == bob.told[0]["offset"] == 1
    assert bob.heard == ["hello"]


async def test_live_events_wait_until_the_entry_is_opened(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    entry = await hub.join(ann, Position("room"))
    for n in (1, 2):
        await hub.publish(event(n))
    assert ann.heard == []
    entry.open()
    await hub.publish(event(3))
    assert ann.heard == [1, 2, 3]


async def test_an_event_without_history_waits_too(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    entry = await hub.join(ann, Position("room"))
    await hub.broker.publish(event("hello"), HistoryPolicy(0, 0))
    entry.open()
    assert ann.heard == ["hello"]


async def test_an_excluded_connection_does_not_hear_it_later_either(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    entry = await hub.join(ann, Position("room"))
    await hub.publish(event("hello", exclude="a"))
    entry.open()
    assert (ann.kinds, ann.heard) == (["skipped"], [None])
    resumed = await hub.join(ann, Position("room", entry.recovery.position.epoch, 0))
    assert (resumed.recovery.recovered, resumed.recovery.events) == (True, ())


async def test_more_than_can_be_held_back_costs_the_place(hub: Hub) -> None:
    ann, bob = await arrive(hub, "a", "ann"), await arrive(hub, "b", "bob")
    await enter(hub, bob)
    await hub.join(ann, Position("room"))
    for n in range(HELD_EVENTS):
        await hub.publish(event(n))
    assert ann.lost_places == 0
    await hub.publish(event("one too many"))
    assert ann.lost_places == 1
    assert bob.lost_places == 0
    assert len(bob.frames) == HELD_EVENTS + 1


async def test_a_member_is_resumed_where_it_stood(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    first = (await enter(hub, ann)).recovery.position
    await hub.leave(ann, "room")
    for n in (1, 2):
        await hub.publish(event(n))
    entry = await hub.join(ann, Position("room", first.epoch, first.offset))
    await hub.publish(event(3))
    entry.open()
    assert entry.recovery.recovered
    assert [item.value() for item in entry.recovery.events] == [1, 2]
    assert ann.heard == [3]


async def test_a_member_that_joins_again_hears_each_event_once(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    await enter(hub, ann)
    await enter(hub, ann)
    await hub.publish(event("hello"))
    assert ann.heard == ["hello"]


# Who is here


async def test_subscribers_are_told_by_room_and_in_all(hub: Hub) -> None:
    ann, bob = await arrive(hub, "a", "ann"), await arrive(hub, "b", "bob")
    await enter(hub, ann)
    assert hub.subscribers() == [ann, bob]
    assert hub.subscribers("room") == [ann]
    assert hub.subscribers("nowhere") == []


async def test_attach_counts_the_connections_of_a_user(hub: Hub) -> None:
    assert await hub.attach(Member("1"), "ann") == 1
    assert await hub.attach(Member("2"), "ann") == 2
    assert await hub.attach(Member("3"), "bob") == 1
    assert await hub.logins("ann") == [Presence("ann", 2)]


async def test_detach_takes_a_subscriber_out_of_everything_and_may_come_twice(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    await enter(hub, ann, "one", presence=True)
    await enter(hub, ann, "two")
    await hub.detach(ann)
    await hub.detach(ann)
    assert hub.subscribers() == hub.subscribers("one") == hub.subscribers("two") == []
    assert await hub.present("one") == await hub.present(user_room("ann")) == []
    assert ann.rooms == set()


async def test_the_rooms_of_a_login_are_the_user_s_and_everyone_s() -> None:
    assert rooms_of_login("7") == ("user:7", EVERYONE)


# Presence


async def test_presence_is_told_once_per_user_and_not_to_the_one_who_comes(hub: Hub) -> None:
    watcher = await arrive(hub, "w", "watcher")
    await enter(hub, watcher, presence=True)
    tabs = [await arrive(hub, f"t{n}", "ann") for n in range(3)]
    for tab in tabs:
        await enter(hub, tab, presence=True)
    assert watcher.kinds == ["presence_join"]
    assert watcher.heard == [{"user_id": "ann"}]
    assert "offset" not in watcher.told[0]
    assert tabs[0].frames == []
    assert await hub.present("room") == [Presence("watcher", 1), Presence("ann", 3)]
    for tab in tabs[:2]:
        await hub.leave(tab, "room")
    assert watcher.kinds == ["presence_join"]
    await hub.detach(tabs[2])
    assert watcher.kinds == ["presence_join", "presence_leave"]
    assert await hub.present("room") == [Presence("watcher", 1)]


async def test_a_member_that_joins_again_is_not_told_again(hub: Hub) -> None:
    watcher, ann = await arrive(hub, "w", "watcher"), await arrive(hub, "a", "ann")
    await enter(hub, watcher, presence=True)
    await enter(hub, ann, presence=True)
    await enter(hub, ann, presence=True)
    assert watcher.kinds == ["presence_join"]


async def test_a_room_without_presence_tells_nothing(hub: Hub) -> None:
    watcher, ann = await arrive(hub, "w", "watcher"), await arrive(hub, "a", "ann")
    await enter(hub, watcher)
    await enter(hub, ann)
    await hub.detach(ann)
    assert watcher.frames == []
    assert await hub.present("room") == []


# Commands


async def test_a_command_is_carried_out_on_all_connections_of_the_user_alone(hub: Hub) -> None:
    tabs = [await arrive(hub, f"t{n}", "ann") for n in range(2)]
    bob = await arrive(hub, "b", "bob")
    await hub.command(do="join", user_id="ann", room="room")
    await hub.command(do="leave", user_id="ann", room="room")
    await hub.command(do="disconnect", user_id="ann", reason="ende")
    for tab in tabs:
        assert tab.told_to_join == tab.told_to_leave == ["room"]
        assert tab.sent_away == ["ende"]
    assert bob.told_to_join == bob.told_to_leave == bob.sent_away == []


async def test_a_command_of_another_process_is_obeyed_before_the_hub_stops(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    hub.obey({"do": "join", "user_id": "ann", "room": "room", "node": "another"})
    async with asyncio.timeout(BOUND):
        await hub.stop()
    assert ann.told_to_join == ["room"]


async def test_a_command_for_nobody_here_and_an_unknown_one_do_nothing(hub: Hub) -> None:
    ann = await arrive(hub, "a", "ann")
    await hub.command(do="disconnect", user_id="nobody", reason="")
    await hub.command(do="dance", user_id="ann")
    assert ann.sent_away == []


# No leak


async def test_ten_thousand_joins_and_leaves_at_once_leave_nothing_behind(hub: Hub) -> None:
    chance = Random(1)
    members = [await arrive(hub, f"m{n}", f"u{n % 10}") for n in range(50)]
    rooms = [f"room {n}" for n in range(20)]

    async def wander(member: Member) -> None:
        for _ in range(100):
            room = chance.choice(rooms)
            await enter(hub, member, room, presence=True)
            await asyncio.sleep(0)
            if chance.random() < 0.8:
                await hub.leave(member, room)

    async with asyncio.timeout(60):
        await asyncio.gather(*(wander(member) for member in members for _ in range(2)))
        assert all(member in hub.subscribers(room) for member in members for room in member.rooms)
        await asyncio.gather(*(hub.detach(member) for member in members))
    assert hub.subscribers() == []
    for room in rooms:
        assert hub.subscribers(room) == []
        assert await hub.present(room) == []
    assert not hub._rooms
    assert not hub._users
    assert not hub._user_ids
    assert not hub._changing
    assert isinstance(hub.broker, MemoryBroker)
    assert not hub.broker._subscribed
    assert not hub.broker._present


async def test_a_publisher_is_told_when_the_broker_is_away() -> None:
    class Away(MemoryBroker):
        async def publish(self, *_: Any) -> Any:
            raise BrokerUnavailable

    with pytest.raises(BrokerUnavailable):
        await hub_over(Away()).publish(event())


async def test_a_command_to_one_connection_waits_for_none_of_the_others(hub: Hub) -> None:
    checked = asyncio.Event()

    class Slow(Member):
        async def recheck(self) -> None:
            await asyncio.Event().wait()

    class Quick(Member):
        async def recheck(self) -> None:
            checked.set()

    await hub.attach(Slow("a"), "ann")
    await hub.attach(Quick("b"), "ann")
    command = asyncio.ensure_future(hub.command(do="recheck", user_id="ann"))
    async with asyncio.timeout(BOUND):
        await checked.wait()
    command.cancel()


class SlowDoor(MemoryBroker):
    """A broker that lets nobody in until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        self.asked.set()
        await self.open.wait()
        return await super().enter(room, user_id, connection_id)


async def test_who_is_being_let_in_is_sent_away_with_the_others() -> None:
    door = SlowDoor()
    hub = hub_over(door)
    await hub.start()
    ann = Member("a")
    attaching = asyncio.ensure_future(hub.attach(ann, "ann"))
    async with asyncio.timeout(BOUND):
        await door.asked.wait()
        await hub.command(do="disconnect", user_id="ann", reason="go")
        assert ann.sent_away == ["go"]
        # And ends before it was let in.
        await hub.detach(ann)
        door.open.set()
        await attaching
    assert await hub.logins("ann") == []
    assert hub.subscribers() == []
    await hub.stop()


async def test_who_could_not_be_let_in_is_known_no_longer() -> None:
    class Closed(MemoryBroker):
        async def enter(self, room: str, user_id: str, connection_id: str) -> int:
            raise BrokerUnavailable

    hub = hub_over(Closed())
    with pytest.raises(BrokerUnavailable):
        await hub.attach(Member("a"), "ann")
    assert hub.subscribers() == []
