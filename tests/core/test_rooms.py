"""Rooms: who may join, what they hear, what they missed, and who is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from quart import Quart
from quart_jwt_extended import create_access_token, get_jwt_identity

from quart_realtime import Connection, Forbidden, HistoryPolicy, Realtime, current_connection
from quart_realtime.broker import MemoryBroker
from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import RealtimeClient, realtime_client

from ..conftest import make_app

MEMBERS = {("1", "ana"), ("1", "luis"), ("2", "ana")}


class Chat:
    """An app with conversations, and the realtime that the tests steer."""

    def __init__(self, **settings: Any) -> None:
        self.app: Quart = make_app(**settings)
        self.realtime = Realtime(self.app)
        self.members = set(MEMBERS)

        @self.realtime.room("conversation:<conversation_id>", presence=True)
        async def may_join(conversation_id: str) -> bool:
            assert current_connection.user_id == get_jwt_identity()
            return (conversation_id, get_jwt_identity()) in self.members

        @self.realtime.room("log:<int:number>", history=0)
        def may_read(number: int) -> bool:
            return number < 10

        @self.realtime.room("order:<int:number>")
        async def may_follow(number) -> bool:  # type: ignore[no-untyped-def]  # As most write it.
            return number != 13

        @self.realtime.room("short:<name>", history=2)
        async def anybody(name: str) -> bool:
            return True

        @self.realtime.room("policy", history=HistoryPolicy(1, 60))
        async def policy() -> bool:
            return True

        @self.realtime.room("error:<kind>")
        async def fails(kind: str) -> Any:
            match kind:
                case "forbidden":
                    raise Forbidden("a secret reason")
                case "truthy":
                    return "yes"
                case "none":
                    return None
            raise LookupError("a secret")

    async def say(self, number: int, room: str = "conversation:1") -> None:
        await self.realtime.notify("said", {"n": number}, room=room)


def told(answer: dict[str, Any]) -> list[tuple[int, Any]]:
    return [(event["offset"], event["payload"]["data"]["n"]) for event in answer["events"]]


def position(answer: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: answer[key] for key in ("room", "epoch", "offset")} | changes


async def test_members_hear_a_room_and_others_do_not() -> None:
    chat = Chat()
    async with (
        realtime_client(chat.app, user_id="ana") as ana,
        realtime_client(chat.app, user_id="eva") as eva,
    ):
        await ana.subscribe("conversation:1")
        await chat.say(1)
        assert await ana.expect("said", room="conversation:1") == {"n": 1}
        await eva.expect_none("said")
        await ana.unsubscribe("conversation:1")
        await chat.say(2)
        await ana.expect_none("said")


async def test_a_foreign_room_and_one_that_does_not_exist_are_refused_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = Chat()
    rooms = [
        "conversation:2",
        "conversation:nowhere",
        "nothing",
        "user:ana",
        "conversation:*",
        "log:x",
        "log:99",
        "error:forbidden",
        "error:truthy",
        "error:none",
        "error:bug",
    ]
    async with realtime_client(chat.app, user_id="luis") as luis:
        answers = await luis.subscribe(*rooms)
    assert answers == [
        {"room": room, "error": {"code": "forbidden", "message": f"not allowed in room {room!r}"}}
        for room in rooms
    ]
    assert "only True lets anybody in" in caplog.text
    assert "LookupError" in caplog.text


async def test_a_number_in_a_room_s_name_is_a_number_to_whom_is_asked_as_in_a_route() -> None:
    chat = Chat()
    odd = ["order:13", "order:013", "order:0007", "order:" + "9" * 200]
    async with realtime_client(chat.app, user_id="ana") as ana:
        (seven, *refused) = await ana.subscribe("order:7", *odd)
    assert "error" not in seven
    assert [(each["room"], each["error"]["code"]) for each in refused] == [
        (room, "forbidden") for room in odd
    ]


async def test_a_room_that_is_refused_does_not_keep_the_others_out() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="luis") as luis:
        refused, granted = await luis.subscribe("conversation:2", "conversation:1")
    assert "error" in refused
    assert granted["offset"] == 0


async def test_a_position_brings_back_all_that_was_missed_and_then_goes_on_live() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="ana") as ana:
        (start,) = await ana.subscribe("conversation:1")
        for number in range(1, 4):
            await chat.say(number)
    async with realtime_client(chat.app, user_id="ana") as ana:
        (answer,) = await ana.subscribe(position(start, offset=1))
        assert answer["recovered"] is True
        assert told(answer) == [(2, 2), (3, 3)]
        assert answer["offset"] == 3
        await chat.say(4)
        frame = await ana.receive("event")
        assert (frame["offset"], frame["epoch"]) == (4, start["epoch"])


@pytest.mark.parametrize(
    "change",
    [{"offset": 0}, {"offset": 99}, {"epoch": "another"}, {"offset": 2**53 - 1}],
    ids=["too old", "in the future", "another epoch", "far in the future"],
)
async def test_what_can_not_be_recovered_whole_is_not_recovered_at_all(
    change: dict[str, Any],
) -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="ana") as ana:
        for number in range(1, 4):
            await chat.say(number, "short:x")
        (start,) = await ana.subscribe("short:x")
        (answer,) = await ana.subscribe(position(start, **change))
    assert answer["recovered"] is False
    assert answer["events"] == []
    assert answer["offset"] == 3


async def test_missed_events_that_do_not_fit_an_answer_are_not_recovered() -> None:
    chat = Chat(SEND_BUFFER=4000)
    async with realtime_client(chat.app, user_id="ana") as ana:
        (start,) = await ana.subscribe("conversation:1")
        await ana.unsubscribe("conversation:1")
        await chat.realtime.notify("said", {"n": "x" * 3000}, room="conversation:1")
        (answer,) = await ana.subscribe(position(start))
    assert answer["recovered"] is False
    assert answer["events"] == []


async def test_each_room_pattern_keeps_its_own_history() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="ana") as ana:
        log, policy = await ana.subscribe("log:1", "policy")
        assert (log["epoch"], log["offset"]) == (None, 0)
        await chat.say(1, "log:1")
        frame = await ana.receive("event")
        assert frame["room"] == "log:1"
        assert "offset" not in frame
        await chat.say(1, "policy")
        await chat.say(2, "policy")
        (one,) = await ana.subscribe(position(policy, offset=1))
        (both,) = await ana.subscribe(position(policy))
    assert told(one) == [(2, 2)]
    assert both["recovered"] is False


@pytest.mark.parametrize(
    "bad",
    [
        {"room": "conversation:1", "epoch": "e", "offset": -1},
        {"room": "conversation:1", "epoch": "e", "offset": 2**64},
        {"room": "conversation:1", "epoch": "e", "offset": 1.5},
        {"room": "conversation:1", "epoch": "e", "offset": True},
        {"room": "conversation:1", "epoch": 7},
        {"room": ""},
        {"room": "with\0nul"},
        {"room": "x" * 257},
        {"room": ["a"]},
        7,
        None,
    ],
)
async def test_a_malformed_position_is_a_clean_error(bad: Any) -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="ana") as ana:
        with pytest.raises(RealtimeError) as refused:
            await ana.subscribe("conversation:1", bad)
        assert refused.value.code == "bad_request"
        await chat.say(1)
        await ana.expect_none("said")


async def test_rooms_joined_by_the_server_are_told_and_resumed_the_same_way() -> None:
    chat = Chat()

    @chat.realtime.on_connect
    async def join(connection: Connection) -> None:
        await connection.join("board")

    async with chat.app.test_app():
        async with realtime_client(chat.app, user_id="ana") as ana:
            board = next(room for room in ana.connected["rooms"] if room["room"] == "board")
        await chat.say(1, "board")
        async with realtime_client(chat.app, user_id="ana") as ana:
            (answer,) = await ana.subscribe(board)
    assert told(answer) == [(1, 1)]


async def test_everyone_is_in_the_room_of_their_own() -> None:
    chat = Chat()
    async with (
        realtime_client(chat.app, user_id="ana") as ana,
        realtime_client(chat.app, user_id="ana") as second_tab,
        realtime_client(chat.app, user_id="luis") as luis,
    ):
        await chat.say(1, "user:ana")
        assert await ana.expect("said") == {"n": 1}
        assert await second_tab.expect("said") == {"n": 1}
        await luis.expect_none("said")


async def test_the_app_joins_a_user_to_a_room_and_puts_him_out() -> None:
    chat = Chat()
    async with (
        realtime_client(chat.app, user_id="ana") as ana,
        realtime_client(chat.app, user_id="luis") as luis,
    ):
        await chat.realtime.join("ana", "board")
        assert (await ana.expect("room_joined"))["room"] == "board"
        await chat.say(1, "board")
        assert await ana.expect("said") == {"n": 1}
        assert [c.user_id for c in chat.realtime.connections("board")] == ["ana"]
        await chat.realtime.leave("ana", "board")
        assert await ana.expect("room_left") == {"room": "board"}
        await chat.say(2, "board")
        await ana.expect_none("said")
        await luis.expect_none("room_joined")
        assert chat.realtime.connections("board") == []
        assert {c.user_id for c in chat.realtime.connections()} == {"ana", "luis"}


async def test_who_loses_the_permission_is_put_out_and_can_not_resume() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="luis") as luis:
        (start,) = await luis.subscribe("conversation:1")
        chat.members.discard(("1", "luis"))
        (answer,) = await luis.subscribe(position(start))
        assert answer["error"]["code"] == "forbidden"
        await chat.say(1)
        await luis.expect_none("said")


async def test_a_change_of_rights_that_the_app_tells_of_takes_effect_at_once() -> None:
    chat = Chat()
    async with (
        realtime_client(chat.app, user_id="luis") as luis,
        realtime_client(chat.app, user_id="luis") as tab,
        realtime_client(chat.app, user_id="ana") as ana,
    ):
        (start,) = await luis.subscribe("conversation:1")
        await tab.subscribe("conversation:1")
        await ana.subscribe("conversation:1")
        await chat.realtime.join("luis", "board")
        chat.members -= {("1", "luis"), ("1", "ana")}
        await chat.realtime.recheck("luis")
        for one in (luis, tab):
            assert await one.expect("room_left") == {"room": "conversation:1"}
        await chat.say(1)
        await chat.say(2, "board")
        assert await luis.expect("said", room="board") == {"n": 2}
        assert await ana.expect("said", room="conversation:1") == {"n": 1}
        await luis.expect_none("said")
        (answer,) = await luis.subscribe(position(start))
        assert answer["error"]["code"] == "forbidden"


async def test_a_token_with_other_claims_has_its_rooms_looked_at_again() -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.room("team:<name>")
    async def may_join(name: str) -> bool:
        return name in current_connection.claims["teams"]

    async with realtime_client(app, user_id="ana", claims={"teams": ["a", "b"]}) as ana:
        await ana.subscribe("team:a")
        await ana.subscribe("team:b")
        authenticator = app.extensions["QUART_REALTIME"].authenticator
        await ana.authenticate(await authenticator.issue("ana", {"teams": ["a", "b"]}))
        await ana.expect_none("room_left")
        await ana.authenticate(await authenticator.issue("ana", {"teams": ["b"]}))
        assert await ana.expect("room_left") == {"room": "team:a"}
        await ana.expect_none("room_left")


async def test_presence_counts_users_and_a_second_tab_is_no_second_join() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="luis") as luis:
        await luis.subscribe("conversation:1")
        async with realtime_client(chat.app, user_id="ana") as ana:
            await ana.subscribe("conversation:1")
            assert await luis.expect("presence_join", room="conversation:1") == {"user_id": "ana"}
            async with realtime_client(chat.app, user_id="ana") as tab:
                (answer,) = await tab.subscribe("conversation:1")
                assert answer["presence"] == [
                    {"user_id": "luis", "connections": 1},
                    {"user_id": "ana", "connections": 2},
                ]
                await luis.expect_none("presence_join")
            await luis.expect_none("presence_leave")
            present = await chat.realtime.presence("conversation:1")
            assert {(one.user_id, one.connections) for one in present} == {("luis", 1), ("ana", 1)}
        assert await luis.expect("presence_leave") == {"user_id": "ana"}


async def test_a_second_subscribe_to_a_room_is_no_second_member() -> None:
    chat = Chat()
    async with (
        realtime_client(chat.app, user_id="luis") as luis,
        realtime_client(chat.app, user_id="ana") as ana,
    ):
        await luis.subscribe("conversation:1")
        await ana.subscribe("conversation:1")
        await ana.subscribe("conversation:1")
        assert await luis.expect("presence_join") == {"user_id": "ana"}
        await chat.say(1)
        await ana.expect("said")
        await ana.expect_none("said")
        await ana.unsubscribe("conversation:1")
        assert await luis.expect("presence_leave") == {"user_id": "ana"}
        await luis.expect_none("presence_join")


async def test_presence_of_a_users_own_room_tells_whether_he_is_online() -> None:
    chat = Chat()
    async with realtime_client(chat.app, user_id="ana"):
        (ana,) = await chat.realtime.presence("user:ana")
        assert ana.connections == 1
        assert await chat.realtime.presence("user:luis") == []


async def test_subscribing_while_events_are_published_leaves_no_gap_and_no_double() -> None:
    chat = Chat(RATE_LIMIT=None)

    async def publish() -> None:
        for number in range(1, 301):
            await chat.say(number)
            await asyncio.sleep(0)

    async def follow(ana: RealtimeClient) -> list[int]:
        """Subscribe and unsubscribe over and over, and return all offsets heard."""
        (answer,) = await ana.subscribe("conversation:1")
        last, heard = answer["offset"], [answer["offset"]]
        while last < 300:
            await ana.unsubscribe("conversation:1")
            while True:  # What came before the answer to unsubscribe.
                try:
                    frame = ana._unclaimed.pop(0)
                except IndexError:
                    break
                heard.append(frame["offset"])
            last = heard[-1]
            (answer,) = await ana.subscribe(position(answer, offset=last))
            assert answer["recovered"] is True
            heard.extend(offset for offset, _ in told(answer))
            last = heard[-1]
        return heard

    async with realtime_client(chat.app, user_id="ana") as ana:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            following = group.create_task(follow(ana))
            group.create_task(publish())
        heard = following.result()
    assert heard == list(range(heard[0], 301))


async def test_many_joins_and_leaves_at_once_leave_no_ghost() -> None:
    chat = Chat(RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=100)

    async def come_and_go(user_id: str) -> None:
        async with realtime_client(chat.app, user_id=user_id, timeout=10) as client:
            for _ in range(5):
                await client.subscribe("conversation:1", "short:x")
                await client.unsubscribe("short:x")

    async with realtime_client(chat.app, user_id="eva") as eva:
        await asyncio.gather(*(come_and_go(user) for user in ["ana", "luis"] * 20))
        await eva.expect_none("said")
        assert await chat.realtime.presence("conversation:1") == []
        assert chat.realtime.connections("conversation:1") == []
        assert [c.user_id for c in chat.realtime.connections()] == ["eva"]


async def test_who_is_put_out_while_he_is_asked_for_is_not_let_in() -> None:
    chat = Chat()
    asked, go_on = asyncio.Event(), asyncio.Event()

    @chat.realtime.room("slow:<name>")
    async def slowly(name: str) -> bool:
        asked.set()
        await go_on.wait()
        return True

    async with realtime_client(chat.app, user_id="ana") as ana:
        subscribing = asyncio.create_task(ana.subscribe("slow:x"))
        await asyncio.wait_for(asked.wait(), 2)
        await chat.realtime.leave("ana", "slow:x")
        go_on.set()
        (answer,) = await subscribing
        assert answer["error"]["code"] == "forbidden"
        await chat.say(1, "slow:x")
        await ana.expect_none("said")


async def test_who_is_joined_by_the_app_is_told_who_is_there() -> None:
    chat = Chat()

    @chat.realtime.on_connect
    async def join(connection: Connection) -> None:
        if connection.user_id == "luis":
            await connection.join("conversation:1")

    async with (
        realtime_client(chat.app, user_id="luis") as luis,
        realtime_client(chat.app, user_id="ana") as ana,
    ):
        room = next(room for room in luis.connected["rooms"] if room["room"] == "conversation:1")
        assert room["presence"] == [{"user_id": "luis", "connections": 1}]
        await chat.realtime.join("ana", "conversation:1")
        joined = await ana.expect("room_joined")
        assert [user["user_id"] for user in joined["presence"]] == ["luis", "ana"]


async def test_a_room_given_to_who_is_being_let_in_is_told_with_the_greeting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    enter = MemoryBroker.enter

    async def slow(self: MemoryBroker, room: str, user_id: str, connection_id: str) -> int:
        asked.set()
        await go_on.wait()
        return await enter(self, room, user_id, connection_id)

    monkeypatch.setattr(MemoryBroker, "enter", slow)
    app = make_app()
    realtime = Realtime(app)

    async with realtime_client(app) as client:
        async with app.app_context():
            token = create_access_token("ana")
        await client.send({"type": "auth", "id": "1", "payload": {"token": token}})
        async with asyncio.timeout(5):
            await asked.wait()
        await realtime.join("ana", "board")
        go_on.set()
        await client.receive("response")
        greeting = (await client.receive("connected"))["payload"]
    assert "board" in [place["room"] for place in greeting["rooms"]]
