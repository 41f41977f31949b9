"""Joins beside publishing, leaving and a broker that fails or takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quart_realtime.broker import MemoryBroker, Once, Recovery
from quart_realtime.errors import BrokerUnavailable, RoomForbidden
from quart_realtime.hub import Hub
from quart_realtime.members import HELD_EVENTS, Entry
from quart_realtime.protocol import Event, HistoryPolicy, Position
from quart_realtime.registry import HistoryPolicies, Registry
from quart_realtime.subscriptions import Subscriptions

from .fakes import BOUND, Member, event


class Broken(MemoryBroker):
    """A broker of which some methods fail."""

    def __init__(self, *methods: str) -> None:
        super().__init__()
        self.broken = set(methods)

    def _try(self, method: str) -> None:
        if method in self.broken:
            raise BrokerUnavailable

    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        self._try("subscribe")
        await super().subscribe(room, history)

    async def unsubscribe(self, room: str) -> None:
        self._try("unsubscribe")
        await super().unsubscribe(room)

    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        self._try("recover")
        return await super().recover(position, history)

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        self._try("enter")
        return await super().enter(room, user_id, connection_id)


class Gated(MemoryBroker):
    """A broker of which one method waits at a gate, before or after it has done its work."""

    def __init__(self, method: str, *, late: bool) -> None:
        super().__init__()
        self.method = method
        self.late = late
        self.closed = False
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()

    async def _at(self, method: str, work: Any) -> Any:
        if not (self.closed and method == self.method):
            return await work
        result = await work if self.late else None
        self.reached.set()
        await self.gate.wait()
        return result if self.late else await work

    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        await self._at("subscribe", super().subscribe(room, history))

    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        return await self._at("recover", super().recover(position, history))

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        return await self._at("enter", super().enter(room, user_id, connection_id))


class Slow(MemoryBroker):
    """A broker that gives way so many turns before and after each piece of work."""

    def __init__(self, turns: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.turns = turns

    async def _take_time(self, method: str, work: Any) -> Any:
        before, after = self.turns[method]
        for _ in range(before):
            await asyncio.sleep(0)
        result = await work
        for _ in range(after):
            await asyncio.sleep(0)
        return result

    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        await self._take_time("subscribe", super().subscribe(room, history))

    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        return await self._take_time("recover", super().recover(position, history))

    async def publish(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Event:
        sent: Event = await self._take_time("publish", super().publish(event, history, once))
        return sent


async def running(broker: MemoryBroker) -> Hub:
    hub = Hub(broker, HistoryPolicies(Registry(), HistoryPolicy(1000, 300)))
    await hub.start()
    return hub


async def arrive(hub: Hub, name: str, user_id: str = "ann") -> Member:
    member = Member(name)
    await hub.attach(member, user_id)
    return member


turns = st.tuples(st.integers(0, 4), st.integers(0, 4))


@settings(max_examples=150)
@given(
    st.fixed_dictionaries({"subscribe": turns, "recover": turns, "publish": turns}),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 10),
    st.integers(0, 3),
)
def test_between_what_is_recovered_and_what_is_live_there_is_no_gap_and_no_double(
    turns: dict[str, tuple[int, int]], seen: int, missed: int, live: int, publishers: int
) -> None:
    async def scenario() -> None:
        hub = await running(Slow(turns))
        ann = await arrive(hub, "a")
        epoch = (await hub.broker.recover(Position("room"), HistoryPolicy(1000, 300))).position
        for n in range(seen + missed):
            await hub.publish(event(n))

        async def tell() -> None:
            for n in range(live):
                await hub.publish(event(n))

        async with asyncio.TaskGroup() as group:
            for _ in range(publishers):
                group.create_task(tell())
            entry = await hub.join(ann, Position("room", epoch.epoch, seen))
            await asyncio.sleep(0)
            entry.open()
        assert entry.recovery.recovered
        offsets = [item.offset for item in entry.recovery.events]
        offsets += [frame["offset"] for frame in ann.told]
        assert offsets == list(range(seen + 1, seen + missed + live * publishers + 1))

    asyncio.run(scenario())


async def test_a_broker_that_cannot_subscribe_leaves_the_room_empty_for_the_next_try() -> None:
    broker = Broken("subscribe")
    hub = await running(broker)
    ann = await arrive(hub, "a")
    with pytest.raises(BrokerUnavailable):
        await hub.join(ann, Position("room"))
    assert ann.rooms == set()
    assert hub.subscribers("room") == []
    broker.broken.clear()
    (await hub.join(ann, Position("room"))).open()
    await hub.publish(event("hello"))
    assert ann.heard == ["hello"]


@pytest.mark.parametrize("method", ["recover", "enter"])
async def test_a_join_that_fails_half_way_changes_nothing(method: str) -> None:
    broker = Broken()
    hub = await running(broker)
    ann = await arrive(hub, "a")
    broker.broken.add(method)
    with pytest.raises(BrokerUnavailable):
        await hub.join(ann, Position("room"), presence=True)
    broker.broken.clear()
    assert ann.rooms == set()
    assert hub.subscribers("room") == []
    assert await hub.present("room") == []
    assert not broker._subscribed
    await hub.publish(event("hello"))
    assert ann.heard == []


@pytest.mark.parametrize("method", ["recover", "enter"])
async def test_a_join_that_fails_half_way_is_told_to_nobody(method: str) -> None:
    broker = Broken()
    hub = await running(broker)
    watcher, ann = await arrive(hub, "w", "watcher"), await arrive(hub, "a", "ann")
    (await hub.join(watcher, Position("room"), presence=True)).open()
    broker.broken.add(method)
    with pytest.raises(BrokerUnavailable):
        await hub.join(ann, Position("room"), presence=True)
    assert watcher.kinds == []


async def test_a_resume_that_fails_leaves_a_member_hearing_what_is_live() -> None:
    broker = Broken()
    hub = await running(broker)
    ann = await arrive(hub, "a")
    (await hub.join(ann, Position("room"))).open()
    broker.broken.add("recover")
    with pytest.raises(BrokerUnavailable):
        await hub.join(ann, Position("room", "epoch", 1))
    broker.broken.clear()
    await hub.publish(event("hello"))
    assert ann.heard == ["hello"]


async def test_who_leaves_while_the_broker_cannot_unsubscribe_is_no_longer_present() -> None:
    broker = Broken("unsubscribe")
    hub = await running(broker)
    ann = await arrive(hub, "a")
    (await hub.join(ann, Position("room"), presence=True)).open()
    await hub.detach(ann)
    assert hub.subscribers("room") == []
    assert await hub.present("room") == []


async def test_a_failing_broker_keeps_nobody_from_being_let_go_of() -> None:
    broker = Broken("unsubscribe")
    hub = await running(broker)
    ann = await arrive(hub, "a")
    for room in ("one", "two"):
        (await hub.join(ann, Position(room))).open()
    await hub.detach(ann)
    assert ann.rooms == set()
    assert hub.subscribers() == hub.subscribers("one") == hub.subscribers("two") == []


GATES = [
    ("subscribe", False),
    ("subscribe", True),
    ("recover", False),
    ("recover", True),
    pytest.param(
        "enter",
        False,
    ),
    ("enter", True),
]


@pytest.mark.parametrize(("method", "late"), GATES)
async def test_who_ends_inside_a_join_leaves_no_ghost(method: str, late: bool) -> None:
    broker = Gated(method, late=late)
    hub = await running(broker)
    ann = await arrive(hub, "a")
    broker.closed = True
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        joining = group.create_task(hub.join(ann, Position("room"), presence=True))
        await broker.reached.wait()
        await hub.detach(ann)
        broker.gate.set()
    joining.result().open()
    assert hub.subscribers() == hub.subscribers("room") == []
    assert ann.rooms == set()
    assert await hub.present("room") == []
    assert not broker._subscribed
    assert not broker._present
    await hub.publish(event("hello"))
    assert ann.heard == []


@pytest.mark.parametrize("method", ["subscribe", "recover", "enter"])
async def test_a_join_that_is_cancelled_leaves_no_ghost(method: str) -> None:
    broker = Gated(method, late=True)
    hub = await running(broker)
    ann = await arrive(hub, "a")
    broker.closed = True
    joining = asyncio.ensure_future(hub.join(ann, Position("room"), presence=True))
    async with asyncio.timeout(BOUND):
        await broker.reached.wait()
        joining.cancel()
        await asyncio.wait([joining])
    assert joining.cancelled()
    assert hub.subscribers("room") == []
    assert ann.rooms == set()
    assert await hub.present("room") == []


@pytest.mark.parametrize("method", ["recover", "enter"])
async def test_who_is_put_out_while_let_in_is_told_that_it_is_out(method: str) -> None:
    broker = Gated(method, late=True)
    hub = await running(broker)
    ann = await arrive(hub, "a")
    broker.closed = True
    joining = asyncio.ensure_future(hub.join(ann, Position("room"), presence=True))
    async with asyncio.timeout(BOUND):
        await broker.reached.wait()
        await hub.leave(ann, "room")
        broker.gate.set()
        with pytest.raises(RoomForbidden):
            await joining
    assert ann.rooms == set()
    assert hub.subscribers("room") == []
    assert await hub.present("room") == []


async def test_a_join_while_the_last_member_leaves_is_heard() -> None:
    broker = Slow({"subscribe": (2, 2), "recover": (1, 1), "publish": (0, 0)})
    hub = await running(broker)
    ann, bob = await arrive(hub, "a"), await arrive(hub, "b", "bob")
    (await hub.join(ann, Position("room"))).open()
    async with asyncio.timeout(BOUND):
        entry, _ = await asyncio.gather(hub.join(bob, Position("room")), hub.leave(ann, "room"))
    entry.open()
    await hub.publish(event("hello"))
    assert bob.heard == ["hello"]
    assert ann.heard == []


async def test_two_joins_of_one_member_at_once_leave_it_hearing_each_event_once() -> None:
    broker = Slow({"subscribe": (2, 1), "recover": (1, 2), "publish": (0, 0)})
    hub = await running(broker)
    ann = await arrive(hub, "a")
    async with asyncio.timeout(BOUND):
        entries = await asyncio.gather(*(hub.join(ann, Position("room")) for _ in range(2)))
    for entry in entries:
        entry.open()
    await hub.publish(event("hello"))
    assert ann.heard == ["hello"]


@settings(max_examples=100)
@given(
    st.fixed_dictionaries({"subscribe": turns, "recover": turns, "publish": turns}),
    st.integers(0, 6),
    st.integers(0, 6),
)
@example({"subscribe": (0, 0), "recover": (1, 0), "publish": (1, 0)}, 1, 1)
def test_a_join_by_the_app_beside_one_by_the_client_loses_nothing(
    turns: dict[str, tuple[int, int]], wait: int, live: int
) -> None:
    class Anything:
        async def admit(self, subscriber: Any, room: str) -> None: ...

        def has_presence(self, room: str) -> bool:
            return False

        def let_in(self, subscriber: Any, told: Any, resumed: set[str]) -> None: ...

    async def scenario() -> None:
        hub = await running(Slow(turns))
        ann = await arrive(hub, "a")
        subscriptions = Subscriptions(ann, hub, Anything(), 10_000)
        known: list[int] = []

        def granted(place: dict[str, Any], entry: Entry) -> None:
            known.append(place["offset"])
            entry.open()

        async def ask() -> None:
            for _ in range(wait):
                await asyncio.sleep(0)
            await subscriptions.subscribe(
                (Position("room"),), lambda answer: known.append(answer["rooms"][0]["offset"])
            )

        async def tell() -> None:
            for n in range(live):
                await hub.publish(event(n))

        await asyncio.gather(subscriptions.grant("room", granted), ask(), tell())
        assert [frame["offset"] for frame in ann.told] == list(range(known[0] + 1, live + 1))

    asyncio.run(scenario())


async def test_an_entry_that_is_never_opened_holds_a_bounded_number_of_events() -> None:
    hub = await running(MemoryBroker())
    ann = await arrive(hub, "a")
    entry = await hub.join(ann, Position("room"))
    for n in range(3 * HELD_EVENTS):
        await hub.publish(event(n))
    entry.open()
    assert len(ann.frames) <= HELD_EVENTS
    assert ann.lost_places
