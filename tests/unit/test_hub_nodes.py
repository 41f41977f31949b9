"""What the hub does of which the broker of many processes is the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from quart_realtime.broker import MemoryBroker, Once
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.hub import DELIVERIES, Hub
from quart_realtime.protocol import Event, HistoryPolicy, Position
from quart_realtime.registry import HistoryPolicies, Registry

from .fakes import Member, event


class Late(MemoryBroker):
    """A broker whose events are on the way until they are let through, as over a network."""

    def __init__(self) -> None:
        super().__init__()
        self.on_the_way: list[Event] = []

    async def publish(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Event:
        listener, self._listener = self._listener, None
        sent = await super().publish(event, history, once)
        self._listener = listener
        self.on_the_way.append(sent)
        return sent

    def let_through(self) -> None:
        events, self.on_the_way = self.on_the_way, []
        for each in events:
            assert self._listener is not None
            self._listener.deliver(each)


@pytest.fixture
def broker() -> Late:
    return Late()


@pytest.fixture
async def hub(broker: Late) -> AsyncIterator[Hub]:
    hub = Hub(broker, HistoryPolicies(Registry(), HistoryPolicy(100, 300)))
    await hub.start()
    yield hub
    await hub.stop()


async def enter(hub: Hub, name: str, position: Position, **options: Any) -> Member:
    member = Member(name)
    await hub.attach(member, name)
    (await hub.join(member, position, **options)).open()
    return member


async def test_what_was_told_with_the_join_is_not_told_again_when_it_arrives(
    hub: Hub, broker: Late
) -> None:
    early = await enter(hub, "early", Position("room"))
    for number in range(3):
        await hub.publish(event(number))
    late = await enter(hub, "late", Position("room"))
    broker.let_through()
    await hub.publish(event(3))
    await hub.publish(event(4))
    broker.let_through()
    assert early.heard == [0, 1, 2, 3, 4]
    assert late.heard == [3, 4]


async def test_what_has_no_number_is_told_meanwhile(hub: Hub, broker: Late) -> None:
    await hub.publish(event(0))
    late = await enter(hub, "late", Position("room"))
    await hub.publish(event("typing"), history=False)
    broker.let_through()
    assert late.heard == ["typing"]


async def test_an_event_of_another_epoch_is_never_one_that_was_told(hub: Hub, broker: Late) -> None:
    for number in range(3):
        await hub.publish(event(number))
    broker.on_the_way.clear()
    late = await enter(hub, "late", Position("room"))
    hub.deliver(event("new", offset=1, epoch="another"))
    assert late.heard == ["new"]


async def test_the_members_of_a_room_that_is_lost_lose_their_place_and_others_do_not(
    hub: Hub,
) -> None:
    here, there = await enter(hub, "a", Position("room")), await enter(hub, "b", Position("other"))
    hub.lose("room")
    assert (here.lost_places, there.lost_places) == (1, 0)
    hub.lose(None)
    assert (here.lost_places, there.lost_places) == (2, 1)


async def test_who_lost_what_is_told_of_presence_loses_the_place_too(hub: Hub) -> None:
    member = await enter(hub, "a", Position("hall"), presence=True)
    hub.lose("\0presence:hall")
    assert member.lost_places == 1


async def test_who_came_or_went_unseen_is_told_to_the_room_alone(hub: Hub, broker: Late) -> None:
    member = await enter(hub, "a", Position("hall"), presence=True)
    broker.let_through()
    # As another process does.
    await broker.enter("hall", "bob", "b")
    await broker.enter("\0logins:bob", "bob", "b")
    await broker.exit("hall", "bob", "b")
    broker.let_through()
    assert list(zip(member.kinds, member.heard, strict=True)) == [
        ("presence_join", {"user_id": "bob"}),
        ("presence_leave", {"user_id": "bob"}),
    ]
    assert all("offset" not in frame for frame in member.told)


async def test_who_came_and_went_before_the_answer_is_not_told_once_more(
    hub: Hub, broker: Late
) -> None:
    await enter(hub, "a", Position("hall"), presence=True)
    await broker.enter("hall", "bob", "b")
    await broker.exit("hall", "bob", "b")
    await broker.enter("hall", "eve", "e")
    late = Member("late")
    await hub.attach(late, "late")
    entry = await hub.join(late, Position("hall"), presence=True)
    broker.let_through()
    entry.open()
    assert {user.user_id for user in entry.present or ()} == {"a", "eve", "late"}
    assert late.frames == []
    await broker.exit("hall", "eve", "e")
    broker.let_through()
    assert (late.kinds, late.heard) == (["presence_leave"], [{"user_id": "eve"}])


async def test_who_leaves_while_the_broker_is_away_is_gone_from_here_all_the_same(
    hub: Hub, broker: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*what: object) -> None:
        raise BrokerUnavailable

    member = await enter(hub, "a", Position("hall"), presence=True)
    for method in ("exit", "unsubscribe"):
        monkeypatch.setattr(broker, method, away)
    await hub.detach(member)
    assert hub.subscribers() == []
    assert hub.subscribers("hall") == []


async def test_a_command_of_another_process_that_fails_here_is_logged(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(room: str) -> None:
        raise BrokerUnavailable

    member = await enter(hub, "ann", Position("room"))
    monkeypatch.setattr(member, "join", away)
    hub.obey({"do": "join", "user_id": "ann", "room": "hall", "node": "another"})
    await hub.stop()
    assert [record.getMessage() for record in caplog.records] == ["join of a user failed here"]


async def test_whoever_brings_much_waits_for_the_sockets(hub: Hub, broker: Late) -> None:
    waits = 0

    async def catch_up() -> None:
        nonlocal waits
        waits += 1

    hub.catch_up = catch_up
    for number in range(17):
        await enter(hub, str(number), Position("room"))
    for number in range(DELIVERIES // 17 + 1):
        hub.deliver(event(number))
    assert waits == 0
    await hub.rest()
    await hub.rest()
    assert waits == 1
