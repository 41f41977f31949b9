"""What pages of the inspector see, and that nothing is looked at without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from quart_realtime.broker import MemoryBroker
from quart_realtime.frames import Frame
from quart_realtime.hub import Hub
from quart_realtime.inspector import FRAMES, LISTED, SAMPLES, Inspector, View, Wish
from quart_realtime.protocol import HistoryPolicy, Position
from quart_realtime.registry import HistoryPolicies, Registry

from .fakes import Member, event


class Client(Member):
    """A connection, as far as it is shown."""

    def __init__(self, name: str, user_id: str | None = None) -> None:
        super().__init__(name)
        self.user_id = user_id
        self.remote_addr = "192.0.2.1"
        self.connected_at = 0.0
        self.pending = 7


class Scene:
    """A hub with an inspector beside it, and clients that are connected."""

    def __init__(self) -> None:
        self.hub = Hub(MemoryBroker(), HistoryPolicies(Registry(), HistoryPolicy(10, 60)))
        self.clients: list[Any] = []
        self.taps: list[Any] = []
        self.inspector = Inspector(self.hub, lambda: self.clients, self._tap)

    def _tap(self, tap: Any) -> None:
        self.taps.append(tap)
        self.hub.tap = tap

    async def client(self, name: str, *rooms: str) -> Client:
        client = Client(name, f"user of {name}")
        self.clients.append(client)
        await self.hub.attach(client, client.user_id or "")
        for room in rooms:
            (await self.hub.join(client, Position(room))).open()
        return client

    def look(self, **wish: Any) -> View:
        view = View()
        view.wish = Wish(**wish)
        self.inspector.begin(view)
        return view


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.hub.start()
    return scene


def request(action: str = "say") -> str:
    return json.dumps(
        {"type": "request", "id": "1", "resource": "chat", "payload": {"action": action}}
    )


async def test_there_is_a_tap_while_somebody_looks_and_none_before_or_after(scene: Scene) -> None:
    first, second = scene.look(), scene.look()
    scene.inspector.end(first)
    assert scene.taps == [scene.inspector]
    scene.inspector.end(second)
    assert scene.taps == [scene.inspector, None]


async def test_an_event_is_seen_once_however_many_hear_it(scene: Scene) -> None:
    for number in range(3):
        await scene.client(f"c{number}", "room")
    view = scene.look()
    await scene.hub.publish(event("hello"))
    ((frame,), dropped) = view.take()
    assert (frame["direction"], frame["type"], frame["room"]) == ("out", "event", "room")
    assert (frame["receivers"], frame["connection"], dropped) == (3, None, 0)
    assert view.take() == ([], 0)


async def test_each_connection_has_its_frames_counted_while_somebody_looks(scene: Scene) -> None:
    client = await scene.client("one", "room")
    await scene.hub.publish(event())
    scene.look()
    scene.inspector.received(client, request())
    scene.inspector.sent(client, Frame(b'{"type":"response"}'))
    await scene.hub.publish(event())
    (told,) = scene.inspector.state(Wish())["connections"]
    assert (told["received"], told["sent"], told["waiting"]) == (1, 2, 7)
    assert told["rooms"] == ["room"]


KINDS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["request", "response", "event", "event"]),
    ({"direction": "in"}, ["request"]),
    ({"direction": "out"}, ["response", "event", "event"]),
    ({"type": "event"}, ["event", "event"]),
    ({"room": "other"}, ["event"]),
    ({"connection": "one"}, ["request", "response", "event"]),
    ({"connection": "two"}, ["event"]),
    ({"paused": True}, []),
]


@pytest.mark.parametrize(("wish", "kinds"), KINDS)
async def test_a_page_sees_the_frames_that_it_wishes_to_see(
    scene: Scene, wish: dict[str, Any], kinds: list[str]
) -> None:
    one = await scene.client("one", "room")
    await scene.client("two", "other")
    view = scene.look(**wish)
    scene.inspector.received(one, request())
    scene.inspector.sent(one, Frame(b'{"type":"response","id":"1","payload":null}'))
    await scene.hub.publish(event(room="room"))
    await scene.hub.publish(event(room="other"))
    assert [frame["type"] for frame in view.take()[0]] == kinds


async def test_what_a_slow_page_does_not_take_is_counted_and_not_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await scene.client("one")
    view = scene.look()
    for _ in range(FRAMES):
        scene.inspector.received(client, request())
    unread: Callable[[Any], Any] = pytest.fail
    monkeypatch.setattr("quart_realtime.inspector.glimpse", unread)
    for _ in range(5000):
        scene.inspector.received(client, request())
    frames, dropped = view.take()
    assert (len(frames), dropped) == (FRAMES, 5000)


async def test_what_was_counted_of_a_connection_that_has_ended_is_forgotten(scene: Scene) -> None:
    client = await scene.client("one")
    scene.look()
    scene.inspector.received(client, request())
    scene.clients.clear()
    scene.inspector.sample(0.0)
    scene.clients.append(client)
    assert scene.inspector.state(Wish())["connections"][0]["received"] == 0


async def test_rates_are_known_for_the_seconds_in_which_somebody_looked(scene: Scene) -> None:
    client = await scene.client("one", "room")
    scene.inspector.closed()
    scene.inspector.sample(0.25)
    view = scene.look()
    scene.inspector.received(client, request())
    await scene.hub.publish(event())
    scene.inspector.sample(0.5)
    before, now = scene.inspector.samples()
    assert (before["messages"], before["deliveries"], before["closes"]) == (None, None, 1)
    assert (now["messages"], now["deliveries"], now["closes"]) == (1, 1, 0)
    assert (now["lag"], now["connections"]) == (0.5, 1)
    assert scene.inspector.samples(after=now["at"]) == []
    scene.inspector.end(view)
    for _ in range(2 * SAMPLES):
        scene.inspector.sample(0.0)
    assert len(scene.inspector.samples()) == SAMPLES


async def test_rooms_are_told_with_their_members_and_where_they_stand(scene: Scene) -> None:
    await scene.client("one", "room", "quiet")
    await scene.client("two", "room")
    for _ in range(3):
        await scene.hub.publish(event())
    state = scene.inspector.state(Wish(opened="room"))
    assert [(room["room"], room["members"], room["offset"]) for room in state["rooms"]] == [
        ("room", 2, 3),
        ("quiet", 1, 0),
    ]
    assert [member["user"] for member in state["opened"]["members"]] == [
        "user of one",
        "user of two",
    ]


async def test_a_page_finds_connections_and_rooms_and_is_told_so_many_at_once(scene: Scene) -> None:
    for number in range(LISTED + 10):
        await scene.client(f"c{number}", f"Room {number}")
    state = scene.inspector.state(Wish())
    assert (len(state["connections"]), state["connections_found"]) == (LISTED, LISTED + 10)
    assert (len(state["rooms"]), state["rooms_total"]) == (LISTED, LISTED + 10)
    found = scene.inspector.state(Wish(search="User of C207"))
    assert [one["id"] for one in found["connections"]] == ["c207"]
    assert found["connections_total"] == LISTED + 10
    assert [room["room"] for room in scene.inspector.state(Wish(search="room 207"))["rooms"]] == [
        "Room 207"
    ]
