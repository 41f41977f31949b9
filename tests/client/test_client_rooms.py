from __future__ import annotations

import asyncio
import json

import pytest

from quart_realtime.client import (
    Backoff,
    Closed,
    ConnectionLost,
    RealtimeError,
    Recovery,
    RequestTimedOut,
)

from .fake_server import missed, within

ROOM = "conversation:42"


def place(room=ROOM, epoch="e", offset=0, **more):
    return {"room": room, "epoch": epoch, "offset": offset, **more}


def entered(room=ROOM, epoch="e", offset=0, recovered=False, events=(), **more):
    return place(room, epoch, offset, recovered=recovered, events=list(events), **more)


def denied(code="forbidden", room=ROOM):
    return {"room": room, "error": {"code": code, "message": "not allowed"}}


async def follow(client, peer, *answers, room=ROOM):
    """Subscribe, and have the server answer."""
    subscribing = asyncio.create_task(client.subscribe(room))
    frame = await peer.next("subscribe")
    await peer.enter(frame, *(answers or [entered(room)]))
    return await within(subscribing)


async def data(room, count):
    """Return the data of the next events of a room."""
    return [(await within(anext(room))).data for _ in range(count)]


# Subscribing


async def test_a_room_hands_out_its_events_from_the_subscribe_on(server, client, collector):
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [ROOM]}
    await peer.enter(frame, entered(offset=3))
    room = await within(subscribing)
    assert (room.name, room.recovered, room.presence) == (ROOM, True, {})
    assert repr(room) == f"<Room {ROOM!r}>"
    heard = collector()
    undo = room.on("new_message", heard)
    await peer.event("new_message", "a", room=ROOM, epoch="e", offset=4)
    await peer.event("new_message", "b", room="another", epoch="x", offset=1)
    await peer.event("other", "c", room=ROOM, epoch="e", offset=5)
    await peer.settle()
    undo()
    first = await within(anext(room))
    assert (first.type, first.data, first.room, first.offset) == ("new_message", "a", ROOM, 4)
    assert await data(room, 1) == ["c"]
    assert heard == ["a"]
    assert room.dropped == 0


async def test_a_room_that_is_refused_raises_and_is_not_asked_for_again(server, client):
    peer = await server.peer()
    for answer in (denied(), denied("unavailable")):
        with pytest.raises(RealtimeError, match="not allowed") as caught:
            await follow(client, peer, answer)
        assert caught.value.details == {"room": ROOM}
    await peer.cut()
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("subscribe") == []


async def test_a_subscribe_that_is_refused_as_a_whole_raises(server, client):
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    await peer.refuse(await peer.next("subscribe"), "rate_limited")
    with pytest.raises(RealtimeError, match="rate_limited"):
        await within(subscribing)


@pytest.mark.parametrize("payload", [None, [], {}, {"rooms": 3}, {"rooms": [1, {"room": "x"}]}])
async def test_an_answer_without_the_room_is_a_refusal(payload, server, client):
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    await peer.answer(await peer.next("subscribe"), payload)
    with pytest.raises(RealtimeError, match="the answer says nothing of it"):
        await within(subscribing)


@pytest.mark.parametrize("name", ["", "x" * 257, "line\nbreak", 7])
async def test_what_can_not_name_a_room_is_refused_at_once(name, client):
    with pytest.raises(ValueError, match="can't name a room"):
        await client.subscribe(name)


async def test_a_subscribe_that_times_out_is_taken_back(server, client):
    peer = await server.peer()
    with pytest.raises(RequestTimedOut, match="subscribe to"):
        await client.subscribe(ROOM, timeout=0.01)
    frame = await peer.next("subscribe")
    assert (await peer.next("unsubscribe"))["payload"] == {"rooms": [ROOM]}
    await peer.enter(frame, entered())
    await peer.settle()


async def test_the_server_that_leaves_a_subscribe_unanswered_is_a_timeout(server, make):
    client = make(request_timeout=0.02)
    await within(client.connect())
    with pytest.raises((RealtimeError, RequestTimedOut)):
        await client.subscribe(ROOM)
    with pytest.raises(RealtimeError, match=r"timeout: no answer within 0\.02 s"):
        await client.subscribe(ROOM, timeout=5)


async def test_a_subscribe_made_offline_goes_out_with_the_next_connection(server, make):
    client = make()
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    timing_out = asyncio.create_task(client.subscribe("other", timeout=0))
    await within(connecting)
    peer = await server.peer()
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [ROOM]}
    await peer.enter(frame, entered())
    await within(subscribing)
    with pytest.raises(RequestTimedOut):
        await timing_out


async def test_a_subscribe_survives_the_loss_of_its_connection(server, client):
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    await peer.next("subscribe")
    await peer.cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), entered())
    assert (await within(subscribing)).recovered


async def test_live_events_that_come_before_the_answer_wait_for_it(server, client):
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe(ROOM))
    frame = await peer.next("subscribe")
    for offset in (4, 5):
        await peer.event("e", offset, room=ROOM, epoch="e", offset=offset)
    await peer.enter(frame, entered(offset=4))
    await peer.event("e", 6, room=ROOM, epoch="e", offset=6)
    assert await data(await within(subscribing), 2) == [5, 6]


async def test_one_room_may_be_followed_twice_and_is_left_with_the_last(server, client):
    peer = await server.peer()
    one = await follow(client, peer)
    two = await within(client.subscribe(ROOM))
    await peer.event("e", 1, room=ROOM, epoch="e", offset=1)
    assert await data(one, 1) == await data(two, 1) == [1]
    server.replies["unsubscribe"] = lambda peer, frame: peer.answer(frame, {"rooms": [ROOM]})
    await within(one.unsubscribe())
    await within(one.unsubscribe())
    assert [event async for event in one] == []
    await peer.settle()
    assert peer.sent("unsubscribe") == []
    await peer.event("e", 2, room=ROOM, epoch="e", offset=2)
    assert await data(two, 1) == [2]
    await within(two.unsubscribe())
    assert len(peer.sent("unsubscribe")) == 1
    await peer.cut()
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("subscribe") == []


async def test_a_second_subscribe_waits_for_the_answer_to_the_first(server, client):
    peer = await server.peer()
    both = [asyncio.create_task(client.subscribe(ROOM)) for _ in range(2)]
    await peer.enter(await peer.next("subscribe"), entered())
    await within(asyncio.gather(*both))
    assert len(peer.sent("subscribe")) == 1


async def test_a_room_may_be_held_by_async_with(server, client):
    peer = await server.peer()
    async with await follow(client, peer) as room:
        leaving = asyncio.create_task(room.unsubscribe())
        await peer.refuse(await peer.next("unsubscribe"), "internal_error")
        await within(leaving)
    await within(room.unsubscribe())


async def test_a_room_can_be_left_offline_and_after_the_end(server, client):
    peer = await server.peer()
    one = await follow(client, peer)
    two = await follow(client, peer, entered("b"), room="b")
    server.status = 503
    await peer.cut()
    await within(one.unsubscribe())
    server.status = None
    peer = await server.peer()
    assert (await peer.next("subscribe"))["payload"] == {"rooms": [place("b")]}
    await within(client.disconnect())
    await within(two.unsubscribe())


# Coming back


async def test_a_return_asks_for_all_rooms_at_once_from_where_each_stands(server, client):
    peer = await server.peer()
    await follow(client, peer, entered(offset=17))
    await follow(client, peer, entered("no-history", epoch=None), room="no-history")
    await peer.event("e", 18, room=ROOM, epoch="e", offset=18)
    await peer.settle()
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [place(offset=18), "no-history"]}
    await peer.settle()
    assert len(peer.sent("subscribe")) == 1


async def test_missed_events_come_in_order_and_once_before_the_room_is_told(
    server, client, collector
):
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=3))
    log = collector()
    room.on("e", log)
    room.on_recovered(lambda recovered: log(f"recovered {recovered}"))
    client.on_recovered(log)
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    # Live ones that jump ahead are in the answer, or come after it.
    for offset in (6, 7):
        await peer.event("e", offset, room=ROOM, epoch="e", offset=offset)
    events = [missed("e", n, room=ROOM, epoch="e", offset=n) for n in (4, 5, 6)]
    await peer.enter(frame, entered(offset=6, recovered=True, events=events))
    await peer.event("e", 7, room=ROOM, epoch="e", offset=7)
    await peer.event("e", 8, room=ROOM, epoch="e", offset=8)
    await peer.settle()
    assert log == [4, 5, 6, "recovered True", Recovery(ROOM, True), 7, 8]
    assert room.recovered


async def test_a_room_that_could_not_be_recovered_says_so_and_goes_on(server, client, collector):
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=3))
    told = collector()
    client.on_recovered(told)
    await peer.cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), entered(offset=900))
    await peer.event("e", 901, room=ROOM, epoch="e", offset=901)
    assert await data(room, 1) == [901]
    assert told == [Recovery(ROOM, False)]
    assert not room.recovered


async def test_a_double_is_dropped_and_a_gap_is_fetched(server, client, collector):
    peer = await server.peer()
    room = await follow(client, peer)
    for offset in (1, 1, 2, 1, 5, 6):
        await peer.event("e", offset, room=ROOM, epoch="e", offset=offset)
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [place(offset=2)]}
    events = [missed("e", n, room=ROOM, epoch="e", offset=n) for n in (3, 4, 5)]
    await peer.enter(frame, entered(offset=5, recovered=True, events=events))
    assert await data(room, 6) == [1, 2, 3, 4, 5, 6]
    assert len(peer.sent("subscribe")) == 2


async def test_a_new_epoch_is_taken_and_the_room_is_told_that_it_missed_something(
    server, client, collector
):
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=9))
    log = collector()
    room.on("e", log)
    room.on_recovered(log)
    await peer.event("e", "first", room=ROOM, epoch="new", offset=1)
    await peer.event("e", "second", room=ROOM, epoch="new", offset=2)
    await peer.settle()
    assert log == [False, "first", "second"]
    await peer.cut()
    peer = await server.peer()
    assert (await peer.next("subscribe"))["payload"] == {"rooms": [place(epoch="new", offset=2)]}


async def test_positions_are_void_after_a_resync(server, client):
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=9))
    await peer.close(4007, code="resync", reconnect=True, retry_after_ms=None)
    peer = await server.peer()
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [ROOM]}
    await peer.enter(frame, entered(offset=20))
    await peer.settle()
    assert not room.recovered


async def test_a_room_that_fails_for_now_retries_alone(server, client, collector):
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=3))
    other = await follow(client, peer, entered("b", offset=1), room="b")
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    answer = entered("b", offset=1, recovered=True)
    await peer.enter(frame, denied("unavailable"), answer)
    again = await peer.next("subscribe")
    assert again["payload"] == {"rooms": [place(offset=3)]}
    await peer.refuse(again, "rate_limited")
    again = await peer.next("subscribe")
    assert again["payload"] == {"rooms": [place(offset=3)]}
    await peer.enter(again, entered(offset=3, recovered=True))
    await peer.settle()
    assert room.recovered
    assert other.recovered


async def test_a_room_left_while_it_waits_to_retry_is_not_asked_for(
    server, make, backoff, collector
):
    client = make()
    await within(client.connect())
    peer = await server.peer()
    server.replies["unsubscribe"] = lambda peer, frame: peer.answer(frame, {})
    room = await follow(client, peer)
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    await peer.enter(frame, denied("unavailable"))
    retry = await peer.next("subscribe")
    await within(room.unsubscribe())
    await peer.enter(retry, denied("unavailable"))
    await peer.settle()
    again = await follow(client, peer)
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    await peer.enter(frame, denied("unavailable"))
    await peer.settle()
    await within(again.unsubscribe())
    await asyncio.sleep(0.05)
    assert len(peer.sent("subscribe")) <= 2


async def test_a_room_that_is_forbidden_on_return_is_given_up_and_told(server, client, collector):
    peer = await server.peer()
    room = await follow(client, peer)
    told = collector()
    client.on_error(told)
    await peer.cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), denied())
    (error,) = await told.have(1)
    assert (error.code, error.details) == ("forbidden", {"room": ROOM})
    with pytest.raises(RealtimeError, match="forbidden"):
        await within(anext(room))
    await peer.cut()
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("subscribe") == []


@pytest.mark.parametrize("most", [None, 65536, 2000])
async def test_more_rooms_than_one_message_takes_are_asked_for_in_several(most, server, make):
    async def enter_all(peer, frame):
        rooms = [
            item if isinstance(item, str) else item["room"] for item in frame["payload"]["rooms"]
        ]
        await peer.enter(frame, *(entered(room) for room in rooms))

    server.replies["subscribe"] = enter_all
    if most is not None:
        server.greeting["max_message_size"] = most
    client = make()
    await within(client.connect())
    peer = await server.peer()
    names = [f"{n}:" + "é" * 200 for n in range(300)]
    await within(asyncio.gather(*(client.subscribe(name) for name in names)))
    del server.replies["subscribe"]
    await peer.cut()
    peer = await server.peer()
    asked = []
    while len(asked) < len(names):
        frame = await peer.next("subscribe")
        assert len(json.dumps(frame, ensure_ascii=False).encode()) < (most or 65536)
        asked += [item["room"] for item in frame["payload"]["rooms"]]
    assert asked == names


async def test_a_final_close_ends_the_iteration_by_raising_it(server, client):
    peer = await server.peer()
    room = await follow(client, peer)
    waiting = asyncio.create_task(client.subscribe("pending"))
    await peer.next("subscribe")
    await peer.close(4502, "go away")
    with pytest.raises(Closed, match="go away"):
        await within(anext(room))
    with pytest.raises(Closed, match="go away"):
        await within(waiting)


async def test_a_disconnect_ends_the_iteration_and_a_subscribe_that_waits(server, client):
    peer = await server.peer()
    room = await follow(client, peer)
    waiting = asyncio.create_task(client.subscribe("pending"))
    await peer.next("subscribe")
    await within(client.disconnect())
    assert [event async for event in room] == []
    with pytest.raises(ConnectionLost):
        await within(waiting)


# Rooms that the server put us in


async def test_rooms_that_the_server_joined_are_resumed_from_where_they_stood(
    server, make, collector
):
    server.greeting["rooms"] = [place("user:7", "u", 4), place("everyone", None, None)]
    client = make()
    log = collector()
    client.on("e", log)
    client.on_recovered(log)
    await within(client.connect())
    peer = await server.peer()
    assert client.rooms == ("user:7", "everyone")
    assert peer.sent("subscribe") == []
    await peer.event("e", 5, room="user:7", epoch="u", offset=5)
    await peer.event("e", "to all")
    await peer.settle()
    await peer.cut()
    server.greeting["rooms"] = [place("user:7", "u", 8), place("everyone", None, None)]
    peer = await server.peer()
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [place("user:7", "u", 5)]}
    await peer.event("e", 8, room="user:7", epoch="u", offset=8)
    await peer.event("e", "meanwhile")
    events = [missed("e", n, room="user:7", epoch="u", offset=n) for n in (6, 7, 8)]
    await peer.enter(frame, entered("user:7", "u", 8, True, events))
    await peer.event("e", 9, room="user:7", epoch="u", offset=9)
    await peer.settle()
    everyone, own = Recovery("everyone", False), Recovery("user:7", True)
    assert log == [5, "to all", everyone, "meanwhile", 6, 7, 8, own, 9]


async def test_rooms_joined_and_left_later_are_followed_and_forgotten(server, client, collector):
    log = collector()
    client.on("e", log)
    told = collector()
    client.on("room_joined", told)
    client.on("room_left", told)
    peer = await server.peer()
    await peer.event("room_joined", place("later", "l", 2))
    await peer.event("room_joined", place("gone", "g", 2))
    await peer.event("room_left", {"room": "gone"})
    await peer.event("room_left", {"room": "never heard of"})
    await peer.event("e", 2, room="later", epoch="l", offset=2)
    await peer.event("e", 3, room="later", epoch="l", offset=3)
    await peer.settle()
    assert client.rooms == ("later",)
    assert log == [3]
    assert len(told) == 4
    await peer.cut()
    peer = await server.peer()
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [place("later", "l", 3)]}


async def test_an_app_may_name_its_own_events_as_the_server_names_its_notices(
    server, client, collector
):
    told = collector()
    client.on("room_joined", told)
    peer = await server.peer()
    await peer.event("room_joined", {"room": "house"}, room="x", epoch="e", offset=1)
    await told.have(1)
    assert client.rooms == ()


async def test_a_room_the_server_put_us_out_of_ends_and_is_not_asked_for_again(server, client):
    peer = await server.peer()
    room = await follow(client, peer)
    await peer.event("room_left", {"room": ROOM})
    assert [event async for event in room] == []
    await peer.cut()
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("subscribe") == []


async def test_a_joined_room_can_be_followed_too_and_is_not_left_by_unsubscribe(server, make):
    server.greeting["rooms"] = [place("user:7", "u", 4)]
    client = make()
    await within(client.connect())
    peer = await server.peer()
    subscribing = asyncio.create_task(client.subscribe("user:7"))
    frame = await peer.next("subscribe")
    assert frame["payload"] == {"rooms": [place("user:7", "u", 4)]}
    await peer.enter(frame, entered("user:7", "u", 4, True))
    room = await within(subscribing)
    await peer.event("room_joined", place("user:7", "u", 4))
    await peer.event("e", 5, room="user:7", epoch="u", offset=5)
    assert await data(room, 1) == [5]
    await within(room.unsubscribe())
    await peer.settle()
    assert peer.sent("unsubscribe") == []
    assert client.rooms == ("user:7",)


async def test_a_joined_room_without_history_that_is_not_joined_again_is_forgotten(
    server, make, collector
):
    server.greeting["rooms"] = [place("everyone", None, None), place("old", None, 0)]
    client = make()
    told = collector()
    client.on_recovered(told)
    await within(client.connect())
    server.greeting["rooms"] = [place("everyone", None, None)]
    await (await server.peer()).cut()
    await (await server.peer()).settle()
    assert client.rooms == ("everyone",)
    assert told == [Recovery("everyone", False)]


async def test_a_joined_room_that_is_refused_on_return_is_given_up(server, make, collector):
    server.greeting["rooms"] = [place("project:1", "p", 4)]
    client = make()
    told = collector()
    client.on_error(told)
    await within(client.connect())
    server.greeting["rooms"] = []
    await (await server.peer()).cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), denied(room="project:1"))
    await told.have(1)
    assert client.rooms == ()


async def test_another_user_gets_nothing_of_the_first_ones_rooms(server, make):
    server.greeting["rooms"] = [place("user:7", "u", 4)]
    client = make()
    await within(client.connect())
    peer = await server.peer()
    await follow(client, peer, entered(offset=2))
    server.greeting.update(user_id="8", rooms=[place("user:8", "w", 1)])
    await peer.cut()
    peer = await server.peer()
    assert (await peer.next("subscribe"))["payload"] == {"rooms": [place(offset=2)]}
    assert client.user_id == "8"
    assert client.rooms == ("user:8",)


async def test_a_server_that_never_fills_a_gap_is_not_asked_ever_faster(server, make):
    server.replies["subscribe"] = lambda peer, frame: peer.enter(
        frame, entered(offset=0, recovered=True)
    )
    client = make(backoff=Backoff(base=60))
    await within(client.connect())
    peer = await server.peer()
    await within(client.subscribe(ROOM))
    for _ in range(20):
        await peer.event("said", 9, room=ROOM, offset=9, epoch="e")
        await peer.settle()
    # When it was entered, for the first gap; the next gap waits for half a minute or more.
    assert len(peer.sent("subscribe")) == 2


async def test_a_room_that_the_server_gives_no_more_is_left_when_the_app_leaves_it(server, make):
    server.greeting["rooms"] = [place(offset=3)]
    client = make()
    await within(client.connect())
    peer = await server.peer()
    room = await follow(client, peer, entered(offset=3))
    server.greeting["rooms"] = []
    await peer.cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), entered(offset=3))
    leaving = asyncio.create_task(room.unsubscribe())
    frame = await peer.next("unsubscribe")
    assert frame["payload"] == {"rooms": [ROOM]}
    await peer.answer(frame, {})
    await within(leaving)


# Presence


async def test_presence_is_kept_up_to_date(server, client, collector):
    peer = await server.peer()
    present = [{"user_id": "7", "connections": 1}, {"user_id": "8", "connections": 2}]
    room = await follow(client, peer, entered(offset=1, presence=present))
    assert room.presence == {"7": 1, "8": 2}
    coming = collector()
    room.on("presence_join", coming)
    await peer.event("presence_join", {"user_id": "9"}, room=ROOM)
    await peer.event("presence_leave", {"user_id": "8"}, room=ROOM)
    await peer.settle()
    assert room.presence == {"7": 1, "9": 1}
    assert coming == [{"user_id": "9"}]
    await peer.cut()
    peer = await server.peer()
    await peer.enter(await peer.next("subscribe"), entered(offset=1, presence=present[:1]))
    await peer.event("presence_join", {"user_id": "10"}, room=ROOM)
    await peer.settle()
    assert room.presence == {"7": 1, "10": 1}
