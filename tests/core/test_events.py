"""Events: what is told, to whom, and that telling never breaks what was done."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from quart import Quart, Response, current_app, jsonify
from quart.views import MethodView
from quart_schema import validate_response

from quart_realtime import (
    BrokerUnavailable,
    Connection,
    InvalidPayload,
    Notification,
    Realtime,
    SetupError,
    current_connection,
)
from quart_realtime.emissions import EmissionError
from quart_realtime.testing import realtime_client, record_events

from ..conftest import make_app


@attrs.frozen
class Message:
    id: str
    conversation_id: str


@attrs.frozen
class MessageBody:
    message: Message


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    return Realtime(app)


def emitting(app: Quart, realtime: Realtime, result: Any, **how: Any) -> None:
    """Give *app* a route that returns *result* and emits "done"."""

    @app.route("/things/<thing_id>", methods=["POST"])
    @realtime.handler("things", "do")
    @realtime.emits("done", **how)
    async def do(thing_id: str) -> Any:
        if isinstance(result, Exception):
            raise result
        return result() if callable(result) else result


async def post(app: Quart, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    response = await app.test_client().post("/things/7", headers=headers or {})
    return response.status_code, await response.get_data(as_text=False)


def in_time(value: Any) -> Any:
    """Make a coroutine function that returns *value*."""

    async def function(_: Any) -> Any:
        return value

    return function


BODY = {"message": {"id": "1", "conversation_id": "c1"}, "other": 2}


@pytest.mark.parametrize(
    ("result", "how", "data", "rooms"),
    [
        (BODY, {}, BODY, ["everyone"]),
        (BODY, {"data": "message"}, BODY["message"], ["everyone"]),
        ((BODY, 201), {"data": "message", "room": "x"}, BODY["message"], ["x"]),
        (lambda: jsonify(BODY), {"data": "other", "room": "x"}, 2, ["x"]),
        (BODY, {"data": lambda result: [result["other"]], "room": "x"}, [2], ["x"]),
        (BODY, {"data": "message", "room": "c:{conversation_id}"}, BODY["message"], ["c:c1"]),
        (BODY, {"room": "c:{message.conversation_id}"}, BODY, ["c:c1"]),
        (BODY, {"room": "t:{thing_id}"}, BODY, ["t:7"]),
        (BODY, {"room": ["t:{thing_id}", "n:{other}", "t:7"]}, BODY, ["t:7", "n:2"]),
        (BODY, {"room": lambda data: f"n:{data['other']}"}, BODY, ["n:2"]),
        (BODY, {"room": lambda data: ["a", "b"]}, BODY, ["a", "b"]),
        (BODY, {"room": in_time("x"), "data": in_time(7), "when": in_time(True)}, 7, ["x"]),
        (BODY, {"room": "x", "when": in_time(False)}, None, []),
        (("", 204), {"room": "t:{thing_id}"}, {"thing_id": "7"}, ["t:7"]),
        (BODY, {"room": "x", "when": lambda result: result["other"] == 2}, BODY, ["x"]),
        (BODY, {"room": "x", "when": lambda result: result["other"] == 3}, None, []),
        (({"error": 1}, 400), {"room": "x"}, None, []),
        (lambda: Response("no", 302), {"room": "x"}, None, []),
    ],
)
async def test_what_a_view_emits_and_where_it_goes(
    app: Quart, realtime: Realtime, result: Any, how: dict[str, Any], data: Any, rooms: list[str]
) -> None:
    emitting(app, realtime, result, **how)
    plain = make_app()
    emitting(plain, Realtime(plain), result, room="nowhere")
    async with app.test_app(), plain.test_app():
        with record_events(app) as events:
            answer = await post(app)
        assert [list(told.rooms) for told in events] == ([rooms] if rooms else [])
        assert events.data("done") == ([data] if rooms else [])
        assert answer == await post(plain)


async def test_a_view_that_fails_emits_nothing(app: Quart, realtime: Realtime) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    emitting(app, realtime, LookupError("no"), room="x")
    async with app.test_app():
        with record_events(app) as events:
            assert (await post(app))[0] == 500
        assert len(events) == 0


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"room": "c:{nothing}"}, "no 'nothing'"),
        ({"room": "c:{message}"}, "not text or a number"),
        ({"data": "nothing"}, "no such key"),
        ({"data": lambda result: object()}, "object"),
        ({"when": lambda result: result["nothing"]}, "KeyError"),
        ({"room": lambda data: "with\nbreak"}, "can't name a room"),
    ],
)
async def test_an_event_that_can_not_be_made_is_logged_and_the_response_stands(
    app: Quart,
    realtime: Realtime,
    how: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    emitting(app, realtime, BODY, **how)
    async with app.test_app():
        with record_events(app) as events:
            status, body = await post(app)
    assert status == 200
    assert b'"other"' in body
    assert len(events) == 0
    assert "the event done could not be emitted" in caplog.text
    assert reason in caplog.text


async def test_a_broker_that_is_away_is_logged_and_counted_and_the_response_stands(
    app: Quart,
    realtime: Realtime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    emitting(app, realtime, BODY)
    runtime = app.extensions["QUART_REALTIME"]

    async def away(*_: Any) -> None:
        raise BrokerUnavailable

    monkeypatch.setattr(runtime.hub.broker, "publish", away)
    async with app.test_app():
        assert (await post(app))[0] == 200
        with pytest.raises(BrokerUnavailable):
            await realtime.notify("done", {})
    assert runtime.failed_events == 1
    assert "could not be emitted" in caplog.text


async def test_an_event_reaches_sockets_whichever_transport_caused_it(
    app: Quart, realtime: Realtime
) -> None:
    emitting(app, realtime, BODY)
    async with (
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="luis") as luis,
    ):
        await post(app)
        assert await ana.expect("done") == BODY
        assert await luis.expect("done") == BODY
        await ana.request("things", "do", thing_id="7")
        assert await ana.expect("done") == BODY
        assert await luis.expect("done") == BODY


async def test_others_only_leaves_out_the_connection_that_caused_it(
    app: Quart, realtime: Realtime
) -> None:
    emitting(app, realtime, BODY, others_only=True)

    @realtime.handler("typing", "start")
    async def start() -> None:
        await realtime.notify("typing", {"who": current_connection.user_id}, others_only=True)

    async with (
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="ana") as second_tab,
    ):
        await ana.request("things", "do", thing_id="7")
        await ana.expect_none("done")
        await second_tab.expect("done")
        await post(app, {"X-Realtime-Connection": ana.id})
        await ana.expect_none("done")
        await second_tab.expect("done")
        await post(app)
        await ana.expect("done")
        await ana.request("typing", "start")
        assert await second_tab.expect("typing") == {"who": "ana"}
        await ana.expect_none("typing")


async def test_emits_sees_models_under_validate_response_and_in_a_method_view(
    app: Quart, realtime: Realtime
) -> None:
    realtime.event("sent", Message, room="conversation:{conversation_id}")

    @app.post("/messages")
    @validate_response(MessageBody, 201)
    @realtime.emits("sent", data="message")
    async def create() -> Any:
        return MessageBody(Message("1", "c1")), 201

    class Messages(MethodView):
        @realtime.emits("seen", room="message:{message_id}")
        async def put(self, message_id: str) -> Any:
            return "", 204

    app.add_url_rule("/messages/<message_id>", view_func=Messages.as_view("message"))
    async with app.test_app():
        with record_events(app) as events:
            assert (await app.test_client().post("/messages")).status_code == 201
            await app.test_client().put("/messages/5")
    sent, seen = events
    assert (sent.rooms, sent.value()) == (
        ("conversation:c1",),
        {"id": "1", "conversation_id": "c1"},
    )
    assert (seen.rooms, seen.value()) == (("message:5",), {"message_id": "5"})


async def test_notify_checks_the_data_that_was_declared(app: Quart, realtime: Realtime) -> None:
    realtime.event("sent", Message, room="conversation:{conversation_id}")
    async with app.test_app():
        with record_events(app) as events:
            await realtime.notify("sent", Message("1", "c1"))
            await realtime.notify("sent", {"id": "2", "conversation_id": "c2"}, room="elsewhere")
            with pytest.raises(InvalidPayload, match="conversation_id"):
                await realtime.notify("sent", {"id": "3"}, room="x")
            with pytest.raises(EmissionError, match="conversation_id"):
                await realtime.notify("sent", {"id": "3"})
            with pytest.raises(TypeError):
                await realtime.notify("other", object())
    assert [told.rooms for told in events] == [("conversation:c1",), ("elsewhere",)]


async def test_a_typo_tells_nobody_what_was_declared_for_one_room(
    app: Quart, realtime: Realtime
) -> None:
    realtime.event("payslip", room="user:{account}")
    async with realtime_client(app, user_id="eva") as eva:
        with pytest.raises(ValueError, match="did you mean 'payslip'"):
            await realtime.notify("paylsip", {"account": "ana"})
        await eva.expect_none("paylsip")
        await realtime.notify("paylsip", 1, room="user:eva")
        assert await eva.expect("paylsip") == 1
        realtime.event("payslips")
        await realtime.notify("payslips", 2)
        assert await eva.expect("payslips") == 2


async def test_the_seeds_notify_event_works_as_meant(app: Quart, realtime: Realtime) -> None:
    message = {
        "id": "msg456",
        "content": "Hola mundo",
        "sender_id": "user789",
        "timestamp": "2025-05-20T12:34:56Z",
    }
    async with realtime_client(app, user_id="ana") as ana:
        await realtime.notify("new_message", {"conversation_id": "conv123", "message": message})
        told = await ana.expect("new_message")
    assert told == {"conversation_id": "conv123", "message": message}


async def test_listeners_hear_each_event_and_their_failures_stop_nobody(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    @realtime.on("done")
    async def fails(told: Notification) -> None:
        raise LookupError("listener bug")

    @realtime.on("done")
    def count(told: Notification) -> None:
        heard.append((told.type, told.rooms, told.value(), current_app.name))

    async with realtime_client(app, user_id="ana") as ana:
        await realtime.notify("done", {"n": 1}, room=["user:ana", "board"])
        assert await ana.expect("done") == {"n": 1}
    assert heard == [("done", ("user:ana", "board"), {"n": 1}, "tests")]
    assert "listener bug" in caplog.text


async def test_a_connection_can_be_told_something_alone(app: Quart, realtime: Realtime) -> None:
    @realtime.on_connect
    async def welcome(connection: Connection) -> None:
        connection.state["visits"] = 1
        await connection.send("welcome", {"you": connection.user_id})

    @realtime.handler("visits", "count")
    async def count() -> int:
        current_connection.state["visits"] += 1
        return int(current_connection.state["visits"])

    async with realtime_client(app, user_id="ana") as ana:
        assert await ana.expect("welcome") == {"you": "ana"}
        assert await ana.request("visits", "count") == 2


async def test_who_was_let_in_is_seen_off_whatever_that_raises(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    @realtime.on_connect
    async def works(connection: Connection) -> None:
        seen.append(connection.user_id)

    @realtime.on_disconnect
    async def fails(connection: Connection, code: int) -> None:
        raise LookupError("disconnect bug")

    @realtime.on_disconnect
    async def gone(connection: Connection, code: int) -> None:
        seen.append((connection.user_id, code))

    async with app.test_app():
        async with realtime_client(app, user_id="ana"):
            assert seen == ["ana"]
            await realtime.disconnect("ana", reason="bye")
        async with realtime_client(app, user_id="luis"):
            pass
    assert seen == ["ana", ("ana", 4502), "luis", ("luis", 1005)]
    assert "disconnect bug" in caplog.text


# Mistakes that start-up finds


async def test_start_up_says_which_events_go_to_everyone(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    emitting(app, realtime, BODY)
    async with app.test_app():
        pass
    assert "go to everyone who is logged in: done" in caplog.text


async def test_require_room_makes_that_an_error() -> None:
    app = make_app(REQUIRE_ROOM=True)
    emitting(app, Realtime(app), BODY)
    with pytest.raises(SetupError, match=r'emits\("done"\) says no room'):
        await app.startup()


async def test_a_declared_room_is_room_enough() -> None:
    app = make_app(REQUIRE_ROOM=True)
    realtime = Realtime(app)
    realtime.event("done", room="board")
    emitting(app, realtime, BODY)
    async with app.test_app():
        with record_events(app) as events:
            await post(app)
    assert [told.rooms for told in events] == [("board",)]


async def test_emits_above_the_route_is_an_error_at_start_up(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.emits("done")
    @app.post("/things")
    async def do() -> Any:
        return {}

    with pytest.raises(SetupError, match=r"put it below @app\.post"):
        await app.startup()


async def test_a_listener_to_a_misspelt_event_is_an_error_at_start_up(
    app: Quart, realtime: Realtime
) -> None:
    emitting(app, realtime, BODY)

    @realtime.on("donee")
    async def hear(told: Notification) -> None: ...

    with pytest.raises(SetupError, match='did you mean "done"'):
        await app.startup()


@pytest.mark.parametrize("room", ["c:{", "c:{0}", "c:{a!r}", "c:{a:>3}", "c:{a b}", ["ok", 7]])
def test_a_room_template_that_can_not_be_read_is_refused_at_once(
    realtime: Realtime, room: Any
) -> None:
    with pytest.raises(SetupError, match="can't be read"):
        realtime.emits("done", room=room)
    with pytest.raises(SetupError, match="can't be read"):
        realtime.event("done", room=room)


@pytest.mark.parametrize("name", ["presence_join", "room_left", "", "with\nbreak", "x" * 257])
async def test_an_event_can_not_have_a_name_of_the_servers_own_or_none(
    app: Quart, realtime: Realtime, name: str
) -> None:
    with pytest.raises(SetupError):
        realtime.emits(name, room="board")
    with pytest.raises(SetupError):
        realtime.event(name)
    with pytest.raises(ValueError, match="event"):
        await realtime.notify(name, {}, room="board")
    async with realtime_client(app, user_id="ana"):
        (connection,) = realtime.connections()
        with pytest.raises(ValueError, match="event"):
            await connection.send(name, {})


async def test_others_only_leaves_no_gap_in_a_rooms_numbers(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("board", "write")
    async def write(n: int) -> None:
        await realtime.notify("written", n, room="board", others_only=True)

    @realtime.room("board")
    async def anybody() -> bool:
        return True

    async with (
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="luis") as luis,
    ):
        (place,) = await ana.subscribe("board")
        await luis.subscribe("board")
        await ana.request("board", "write", n=1)
        skipped = await ana.receive("event")
        assert (skipped["payload"], skipped["offset"]) == ({"type": "skipped", "data": None}, 1)
        assert await luis.expect("written") == 1
        await luis.request("board", "write", n=2)
        told = await ana.receive("event")
        assert (told["payload"]["data"], told["offset"]) == (2, 2)
        (again,) = await ana.subscribe({key: place[key] for key in ("room", "epoch", "offset")})
        assert (again["recovered"], again["offset"]) == (True, 2)
        assert [event["payload"]["data"] for event in again["events"]] == [2]


async def test_an_event_without_history_pushes_nothing_out_of_it() -> None:
    app = make_app(HISTORY_SIZE=2)
    realtime = Realtime(app)
    realtime.event("typing", room="everyone", history=False)
    async with realtime_client(app, user_id="ana") as ana:
        place = next(room for room in ana.connected["rooms"] if room["room"] == "everyone")
        await realtime.notify("said", 1)
        for _ in range(5):
            await realtime.notify("typing", {})
        assert await ana.expect("typing") == {}
        (again,) = await ana.subscribe(place)
    assert (again["recovered"], again["offset"]) == (True, 1)


async def test_an_event_in_several_rooms_has_one_id(app: Quart, realtime: Realtime) -> None:
    async with realtime_client(app, user_id="ana") as ana:
        await realtime.join("ana", "board")
        await ana.expect("room_joined")
        await realtime.notify("said", 1, room=["user:ana", "board"])
        first, second = await ana.receive("event"), await ana.receive("event")
    assert first["id"] == second["id"]
    assert (first["room"], second["room"]) == ("user:ana", "board")


@pytest.mark.parametrize("room", ["user:{x}", "user:a{b", "user:{}"])
async def test_notify_takes_a_room_as_it_is(app: Quart, realtime: Realtime, room: str) -> None:
    async with app.test_app():
        with record_events(app) as events:
            await realtime.notify("said", {"x": "eva"}, room=room)
            await realtime.notify("said", {"x": "eva"}, room=lambda data: f"user:{data['x']}")
            for wrong in (42, ["a", ""]):
                with pytest.raises(EmissionError, match="room"):
                    await realtime.notify("said", {}, room=wrong)  # type: ignore[arg-type]
    assert [told.rooms for told in events] == [(room,), ("user:eva",)]
