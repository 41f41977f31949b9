"""The rooms of one connection: asked for by its client, or given by the app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quart_realtime.broker import MemoryBroker, Presence, Recovery
from quart_realtime.errors import BadRequest, BrokerUnavailable, RealtimeError, RoomForbidden
from quart_realtime.hub import Hub
from quart_realtime.members import Entry
from quart_realtime.models import dump
from quart_realtime.protocol import HistoryPolicy, Position
from quart_realtime.registry import HistoryPolicies, Registry
from quart_realtime.subscriptions import Subscriptions

from .fakes import BOUND, Member, event, strict_json


class Rules:
    """What the app says of rooms, as a test wishes."""

    def __init__(self) -> None:
        self.open = {"room", "other"}
        self.presence: set[str] = set()
        self.asked: list[str] = []
        self.error: RealtimeError | None = None
        self.pause_at = 0
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def admit(self, subscriber: Any, room: str) -> None:
        self.asked.append(room)
        if len(self.asked) == self.pause_at:
            self.reached.set()
            await self.go_on.wait()
        if self.error is not None:
            raise self.error
        if room not in self.open:
            raise RoomForbidden(room)

    def has_presence(self, room: str) -> bool:
        return room in self.presence

    def let_in(self, subscriber: Any, told: Any, resumed: set[str]) -> None: ...


class Client:
    """A member with its subscriptions, and the answers it was given."""

    def __init__(self, hub: Hub, rules: Rules, limit: int = 10_000, name: str = "c") -> None:
        self.member = Member(name)
        self.hub = hub
        self.subscriptions = Subscriptions(self.member, hub, rules, limit)
        self.answers: list[Any] = []

    def answer(self, payload: dict[str, Any]) -> None:
        self.answers.append(strict_json(dump(payload).decode()))

    async def subscribe(self, *positions: str | Position) -> list[dict[str, Any]]:
        places = tuple(Position(p) if isinstance(p, str) else p for p in positions)
        async with asyncio.timeout(BOUND):
            await self.subscriptions.subscribe(places, self.answer)
        rooms: list[dict[str, Any]] = self.answers[-1]["rooms"]
        return rooms


def opened(place: dict[str, Any], entry: Entry) -> None:
    entry.open()


class Unsure(MemoryBroker):
    """A broker that doesn't know who is present."""

    async def present(self, room: str) -> list[Presence]:
        raise BrokerUnavailable


async def running(broker: MemoryBroker | None = None) -> Hub:
    hub = Hub(broker or MemoryBroker(), HistoryPolicies(Registry(), HistoryPolicy(100, 300)))
    await hub.start()
    return hub


@pytest.fixture
async def hub() -> Hub:
    return await running()


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
async def client(hub: Hub, rules: Rules) -> Client:
    client = Client(hub, rules)
    await hub.attach(client.member, "ann")
    return client


async def test_a_subscription_tells_where_the_room_stands(hub: Hub, client: Client) -> None:
    sent = await hub.publish(event("before"))
    assert await client.subscribe("room") == [
        {"room": "room", "epoch": sent.epoch, "offset": 1, "recovered": False, "events": []}
    ]
    await hub.publish(event("after"))
    assert client.member.heard == ["after"]


async def test_a_resume_tells_whole_event_frames(hub: Hub, client: Client) -> None:
    first = await hub.publish(event(1))
    second = await hub.publish(event({"n": 2}))
    (told,) = await client.subscribe(Position("room", first.epoch, 1))
    assert told["recovered"]
    assert told["events"] == [
        {
            "type": "event",
            "id": second.id,
            "payload": {"type": "happened", "data": {"n": 2}},
            "room": "room",
            "offset": 2,
            "epoch": first.epoch,
        }
    ]


async def test_the_answer_comes_before_what_is_live(rules: Rules) -> None:
    class Busy(MemoryBroker):
        """A broker that tells something in the first room while the second is joined."""

        async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
            if position.room == "other":
                await self.publish(event("live"), history)
            return await super().recover(position, history)

    order: list[str] = []
    client = Client(await running(Busy()), rules)
    await client.hub.attach(client.member, "ann")
    client.member.deliver = lambda frame: order.append("event")  # type: ignore[method-assign]
    async with asyncio.timeout(BOUND):
        await client.subscriptions.subscribe(
            (Position("room"), Position("other")), lambda _: order.append("answer")
        )
    assert order == ["answer", "event"]


async def test_a_room_that_is_refused_is_told_and_the_others_are_joined(
    hub: Hub, client: Client
) -> None:
    told = await client.subscribe("secret", "room")
    assert told[0] == {
        "room": "secret",
        "error": {"code": "forbidden", "message": "not allowed in room 'secret'"},
    }
    assert told[1]["room"] == "room"
    assert client.member.rooms == {"room"}


async def test_a_permission_that_is_withdrawn_ends_the_membership(
    hub: Hub, client: Client, rules: Rules
) -> None:
    (told,) = await client.subscribe("room")
    rules.open.clear()
    (again,) = await client.subscribe(Position("room", told["epoch"], told["offset"]))
    assert "error" in again
    await hub.publish(event("secret"))
    assert client.member.rooms == set()
    assert client.member.heard == []


async def test_an_authoriser_that_fails_is_told_and_changes_nothing(
    hub: Hub, client: Client, rules: Rules
) -> None:
    await client.subscribe("room")
    rules.error = BrokerUnavailable()
    (told,) = await client.subscribe("room")
    assert told["error"]["code"] == "unavailable"
    await hub.publish(event("hello"))
    assert client.member.heard == ["hello"]


async def test_who_is_present_is_told_where_the_room_tells_it(
    hub: Hub, client: Client, rules: Rules
) -> None:
    rules.presence.add("room")
    told = await client.subscribe("room", "other")
    assert told[0]["presence"] == [{"user_id": "ann", "connections": 1}]
    assert "presence" not in told[1]


async def test_what_does_not_fit_the_answer_is_not_recovered_in_part(
    hub: Hub, rules: Rules
) -> None:
    client = Client(hub, rules, limit=300)
    await hub.attach(client.member, "ann")
    places = []
    for room in ("room", "other"):
        first = await hub.publish(event(0, room))
        places.append(Position(room, first.epoch, 1))
    await hub.publish(event("x" * 30, "room"))
    await hub.publish(event("x" * 30, "other"))
    room, other = await client.subscribe(*places)
    assert (room["recovered"], len(room["events"])) == (True, 1)
    assert (other["recovered"], other["events"], other["offset"]) == (False, [], 2)


@pytest.mark.parametrize("place", [Position("room", "other", 1), Position("room", "other", 2**53)])
async def test_a_position_that_is_none_gives_no_history(
    hub: Hub, client: Client, place: Position
) -> None:
    await hub.publish(event("secret"))
    (told,) = await client.subscribe(place)
    assert (told["recovered"], told["events"]) == (False, [])


async def test_one_room_asked_for_twice_is_heard_once(hub: Hub, client: Client) -> None:
    await client.subscribe("room", "room")
    await hub.publish(event("hello"))
    assert client.member.heard == ["hello"]


async def test_one_room_resumed_twice_at_once_tells_no_event_twice(
    hub: Hub, client: Client, rules: Rules
) -> None:
    first = await hub.publish(event(1))
    place = Position("room", first.epoch, 1)
    rules.pause_at = 2
    subscribing = asyncio.ensure_future(client.subscribe(place, place))
    async with asyncio.timeout(BOUND):
        await rules.reached.wait()
        await hub.publish(event(2))
        rules.go_on.set()
        told = await subscribing
    answered = [item["offset"] for item in told[-1]["events"]]
    assert answered + [frame["offset"] for frame in client.member.told] == [2]


async def test_a_broker_that_does_not_know_who_is_there_leaves_nobody_deaf(rules: Rules) -> None:
    hub = await running(Unsure())
    client = Client(hub, rules)
    await hub.attach(client.member, "ann")
    rules.presence.add("other")
    told = await client.subscribe("room", "other")
    assert told[0]["room"] == "room"
    await hub.publish(event("hello"))
    assert client.member.heard == ["hello"]


# On the app's word


async def test_a_granted_room_asks_nobody_and_may_be_resumed(
    hub: Hub, client: Client, rules: Rules
) -> None:
    await client.subscriptions.grant("secret", opened)
    await hub.publish(event("hello", "secret"))
    assert client.member.heard == ["hello"]
    (told,) = await client.subscribe("secret")
    assert "error" not in told
    assert rules.asked == []


async def test_granting_a_room_twice_changes_nothing(client: Client) -> None:
    told: list[dict[str, Any]] = []
    await client.subscriptions.grant("secret", lambda place, entry: told.append(place))
    await client.subscriptions.grant("secret", lambda place, entry: told.append(place))
    assert len(told) == 1


@pytest.mark.parametrize("room", ["", "a\0", "a" * 257, None, 7])
async def test_what_cannot_name_a_room_cannot_be_granted(client: Client, room: Any) -> None:
    with pytest.raises(BadRequest, match="can't name a room"):
        await client.subscriptions.grant(room, opened)
    assert client.member.rooms == set()


async def test_a_withdrawn_room_must_be_asked_for_again(
    hub: Hub, client: Client, rules: Rules
) -> None:
    await client.subscriptions.grant("secret", opened)
    assert await client.subscriptions.withdraw("secret")
    assert not await client.subscriptions.withdraw("secret")
    assert "error" in (await client.subscribe("secret"))[0]
    assert rules.asked == ["secret"]


# Leaving


async def test_unsubscribing_leaves_rooms_even_those_it_is_not_in(hub: Hub, client: Client) -> None:
    await client.subscribe("room", "other")
    answered: list[bool] = []
    await client.subscriptions.unsubscribe(("room", "elsewhere"), lambda: answered.append(True))
    assert answered == [True]
    await hub.publish(event(1, "room"))
    await hub.publish(event(2, "other"))
    assert client.member.heard == [2]


async def test_subscribe_and_unsubscribe_keep_their_order(hub: Hub, client: Client) -> None:
    places = (Position("room"),)
    async with asyncio.timeout(BOUND):
        await asyncio.gather(
            client.subscriptions.subscribe(places, client.answer),
            client.subscriptions.unsubscribe(("room",), lambda: None),
            client.subscriptions.subscribe(places, client.answer),
            client.subscriptions.unsubscribe(("room",), lambda: None),
        )
    assert client.member.rooms == set()
    assert hub.subscribers("room") == []


async def test_a_look_at_the_rights_waits_for_no_wish_of_the_client_s(
    hub: Hub, client: Client, rules: Rules
) -> None:
    await client.subscribe("room")
    rules.pause_at = 2
    subscribing = asyncio.ensure_future(client.subscribe("other"))
    async with asyncio.timeout(BOUND):
        await rules.reached.wait()
        rules.open = {"other"}
        assert await client.subscriptions.recheck() == ["room"]
    await hub.publish(event("no longer yours"))
    assert client.member.heard == []
    rules.go_on.set()
    (told,) = await subscribing
    assert told["room"] == "other"
    assert "error" not in told


async def test_what_was_allowed_before_the_rights_changed_is_asked_for_anew(
    client: Client, rules: Rules
) -> None:
    rules.pause_at = 2
    subscribing = asyncio.ensure_future(client.subscribe("room", "other"))
    async with asyncio.timeout(BOUND):
        await rules.reached.wait()
        # The first was allowed a moment ago.
        rules.open = {"other"}
        await client.subscriptions.recheck()
    rules.go_on.set()
    room, other = await subscribing
    assert room["error"]["code"] == "forbidden"
    assert "error" not in other
    assert client.member.rooms == {"other"}


async def test_what_is_missed_is_not_even_asked_for_where_nothing_more_fits(
    hub: Hub, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules.open = {f"room {number}" for number in range(20)}
    client = Client(hub, rules, limit=1_000)
    await hub.attach(client.member, "ann")
    places = []
    for room in sorted(rules.open):
        first = await hub.publish(event(0, room))
        await hub.publish(event("x" * 600, room))
        places.append(Position(room, first.epoch, 1))
    asked: list[Position] = []
    recover = hub.broker.recover

    async def noted(position: Position, history: HistoryPolicy) -> Recovery:
        asked.append(position)
        return await recover(position, history)

    monkeypatch.setattr(hub.broker, "recover", noted)
    told = await client.subscribe(*places)
    assert [room["recovered"] for room in told] == [True] + [False] * 19
    assert [room["offset"] for room in told] == [2] * 20
    assert sum(position.epoch is not None for position in asked) == 2
