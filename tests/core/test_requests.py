"""Native handlers, what they take and return; time-outs, slots, rates and keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
from quart import Quart, Response, abort, jsonify, request
from quart_jwt_extended import jwt_required
from quart_schema import validate_request

from quart_realtime import (
    CloseCode,
    Connection,
    InvalidPayload,
    NotFound,
    Realtime,
    SetupError,
    current_connection,
)
from quart_realtime.client_types import RealtimeError
from quart_realtime.errors import FIELDS_NAMED
from quart_realtime.testing import RealtimeClient, realtime_client

from ..conftest import make_app


@attrs.frozen
class Point:
    x: int
    y: int = 0


@dataclass
class Line:
    start: Point
    label: str


class Circle(msgspec.Struct):
    centre: Point
    radius: float


class Box(pydantic.BaseModel):
    width: int


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    return Realtime(app)


async def refused(client: RealtimeClient, *arguments: Any, **named: Any) -> RealtimeError:
    with pytest.raises(RealtimeError) as error:
        await client.request(*arguments, **named)
    return error.value


async def test_arguments_are_converted_to_their_annotations(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("shapes", "take")
    async def take(
        line: Line, circle: Circle, box: Box, points: list[Point], note: str | None = None
    ) -> Any:
        assert isinstance(line, Line)
        assert isinstance(circle, Circle)
        assert isinstance(box, Box)
        assert all(isinstance(point, Point) for point in points)
        return {"sum": line.start.x + circle.radius + box.width + len(points), "note": note}

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request(
            "shapes",
            "take",
            line={"start": {"x": 1}, "label": "l"},
            circle={"centre": {"x": 0}, "radius": 2},
            box={"width": 3},
            points=[{"x": 1}, {"x": 2}],
        )
        assert answer == {"sum": 8, "note": None}
        error = await refused(
            client,
            "shapes",
            "take",
            line={"start": {"x": "one"}, "label": "l"},
            circle=5,
            box={"width": "wide"},
            note=7,
        )
    assert error.code == "validation_error"
    assert set(error.details["fields"]) == {"line.start.x", "circle", "box.width", "points", "note"}


async def test_a_parameter_named_data_takes_the_whole_payload(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.handler("points", "create")
    async def create(data: Point) -> Point:
        return Point(data.y, data.x)

    @realtime.handler("points", "rest")
    async def rest(x: int, **others: Any) -> Any:
        return [x, others]

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("points", "create", x=1, y=2) == {"x": 2, "y": 1}
        error = await refused(client, "points", "create", y=2)
        assert error.details["fields"] == {"x": "Object missing required field `x`"}
        assert await client.request("points", "rest", x=1, y=2) == [1, {"y": 2}]


async def test_a_pydantic_model_may_stand_anywhere_in_what_is_taken_and_told(
    app: Quart, realtime: Realtime
) -> None:
    realtime.event("listed", list[Box])
    realtime.event("changed", Box | None)

    @realtime.handler("boxes", "take")
    async def take(first: Box | None, more: list[Box], by_name: dict[str, Box]) -> Any:
        boxes = [first, *more, *by_name.values()]
        assert all(box is None or isinstance(box, Box) for box in boxes)
        await realtime.notify("listed", more)
        await realtime.notify("changed", first)
        return boxes

    @realtime.handler("boxes", "get")
    async def get(data: Box | None) -> Any:
        assert isinstance(data, Box)
        return [data]

    async with realtime_client(app, user_id="ana") as client:
        a, b, c = ({"width": number} for number in range(3))
        answer = await client.request("boxes", "take", first=a, more=[b], by_name={"c": c})
        assert answer == [a, b, c]
        assert await client.expect("listed") == [b]
        assert await client.expect("changed") == a
        assert await client.request("boxes", "get", width=7) == [{"width": 7}]
        error = await refused(client, "boxes", "take", first={}, more=[b, {}], by_name={"c": {}})
        assert error.details["fields"] == dict.fromkeys(
            ["first.width", "more.1.width", "by_name.c.width"], "Field required"
        )
        error = await refused(client, "boxes", "get", width="wide")
        assert list(error.details["fields"]) == ["width"]
        with pytest.raises(InvalidPayload):
            await realtime.notify("listed", [{"width": "wide"}])


async def test_a_handler_returns_what_a_view_may_return(app: Quart, realtime: Realtime) -> None:
    results: dict[str, Any] = {
        "value": {"a": [1]},
        "nothing": None,
        "text": "hello",
        "no text": "",
        "model": Point(1),
        "pydantic": Box(width=2),
        "status": ({"a": 1}, 201),
        "headers": ({"a": 1}, 201, {"X-Y": "z"}),
        "empty": ("", 204),
    }

    @realtime.handler("results", "get")
    async def get(name: str) -> Any:
        return jsonify(a=1) if name == "response" else results[name]

    expected = {
        "value": {"a": [1]},
        "nothing": None,
        "text": "hello",
        "no text": "",
        "model": {"x": 1, "y": 0},
        "pydantic": {"width": 2},
        "status": {"a": 1},
        "headers": {"a": 1},
        "empty": None,
        "response": {"a": 1},
    }
    async with realtime_client(app, user_id="ana") as client:
        for name, value in expected.items():
            assert await client.request("results", "get", name=name) == value


async def test_a_route_answers_with_json_text_or_nothing(app: Quart, realtime: Realtime) -> None:
    @app.get("/kinds/<kind>")
    @realtime.handler("kinds", "get")
    async def get(kind: str) -> Any:
        match kind:
            case "empty":
                return "", 204
            case "text":
                return Response("plain", mimetype="text/plain")
            case "nan":
                return Response('{"n": NaN}', mimetype="application/json")
            case "binary":
                return Response(b"\x00", mimetype="application/octet-stream")
        return [kind]

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("kinds", "get", kind="list") == ["list"]
        assert await client.request("kinds", "get", kind="empty") is None
        assert await client.request("kinds", "get", kind="text") == "plain"
        assert await client.request("kinds", "get", kind="nan") == {"n": None}
        assert (await refused(client, "kinds", "get", kind="binary")).code == "internal_error"


async def test_what_a_payload_leaves_becomes_the_query_of_a_get(
    app: Quart, realtime: Realtime
) -> None:
    @app.get("/search/<place>")
    @realtime.handler("search", "get")
    async def search(place: str) -> Any:
        return {"place": place, "query": request.args.to_dict(flat=False)}

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request(
            "search", "get", place="añb", text="a&b=c", n=1, flag=True, none=None, many=["x", 2]
        )
        assert answer == {
            "place": "añb",
            "query": {"text": ["a&b=c"], "n": ["1"], "flag": ["true"], "many": ["x", "2"]},
        }
        error = await refused(client, "search", "get", place="a", deep={"x": 1})
        assert "deep" in error.details["fields"]
        for place in ({"x": 1}, True, None, [1]):
            error = await refused(client, "search", "get", place=place)
            assert error.code == "validation_error"
        assert (await refused(client, "search", "get")).details["fields"] == {"place": "is missing"}


async def test_a_url_variable_may_stand_one_level_down(app: Quart, realtime: Realtime) -> None:
    @app.post("/boxes/<int:box_id>/notes")
    @realtime.handler("notes", "create")
    async def create(box_id: int) -> Any:
        return {"box": box_id, "body": await request.get_json()}

    async with realtime_client(app, user_id="ana") as client:
        answer = await client.request("notes", "create", note={"box_id": 3, "text": "x"})
        assert answer == {"box": 3, "body": {"note": {"box_id": 3, "text": "x"}}}
        answer = await client.request("notes", "create", box_id=4, note={"box_id": 3})
        assert answer == {"box": 4, "body": {"note": {"box_id": 3}}}
        error = await refused(client, "notes", "create", a={"box_id": 3}, b={"box_id": 4})
        assert error.details["fields"] == {"box_id": "is missing"}


async def test_headers_and_the_address_of_the_handshake_reach_a_route(
    app: Quart, realtime: Realtime
) -> None:
    @app.get("/me")
    @realtime.handler("me", "get")
    async def me() -> Any:
        return {
            "agent": request.headers.get("User-Agent"),
            "upgrade": request.headers.get("Upgrade"),
            "cookie": request.cookies.get("theme"),
            "address": request.remote_addr,
        }

    headers = {"User-Agent": "tests", "Cookie": "theme=dark", "Upgrade": "websocket"}
    async with realtime_client(app, user_id="ana", headers=headers) as client:
        assert await client.request("me", "get") == {
            "agent": "tests",
            "upgrade": None,
            "cookie": "dark",
            "address": "<local>",
        }


async def test_sync_functions_answer_too(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("sync", "native")
    def native(n: int) -> Any:
        return [n, current_connection.user_id]

    @app.get("/sync")
    @realtime.handler("sync", "route")
    @realtime.emits("seen")
    def route() -> Any:
        return {"who": current_connection.user_id}

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("sync", "native", n=1) == [1, "ana"]
        assert await client.request("sync", "route") == {"who": "ana"}
        assert await client.expect("seen") == {"who": "ana"}


@pytest.mark.parametrize("kind", ["bug", "unserialisable", "error", "abort", "status", "timeout"])
async def test_whatever_a_handler_does_there_is_one_answer_and_the_connection_lives(
    app: Quart, realtime: Realtime, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    @realtime.handler("odd", "do")
    async def odd() -> Any:
        match kind:
            case "bug":
                raise LookupError("a secret of the server")
            case "unserialisable":
                return object()
            case "error":
                raise NotFound("Conversación no encontrada", conversation_id="conv999")
            case "abort":
                abort(409)
            case "status":
                return {"message": "no"}, 403
        raise TimeoutError("of its own")

    codes = {"error": "not_found", "abort": "conflict", "status": "forbidden"}
    async with realtime_client(app, user_id="ana") as client:
        error = await refused(client, "odd", "do")
        assert error.code == codes.get(kind, "internal_error")
        assert "secret" not in str(error.__dict__)
        if kind in codes:
            assert "Traceback" not in caplog.text
        else:
            assert "odd.do failed" in caplog.text
            assert "Traceback" in caplog.text
        assert (await refused(client, "odd", "nothing")).code == "not_found"


async def test_a_handler_that_closes_is_answered_first(app: Quart, realtime: Realtime) -> None:
    @realtime.handler("odd", "close")
    async def close() -> str:
        with pytest.raises(ValueError, match="4000 to 4999"):
            await current_connection.close(1006)
        await current_connection.close(4100, "gone fishing" * 20)
        await current_connection.close(4101)
        return "goodbye"

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("odd", "close") == "goodbye"
        closing = await client.receive("closing")
        assert closing["payload"] == {
            "code": "closed_by_app",
            "reconnect": True,
            "retry_after_ms": None,
        }
        assert await client.wait_closed() == 4100


async def test_who_sends_himself_away_is_answered_and_his_other_tabs_are_not_waited_for(
    app: Quart, realtime: Realtime
) -> None:
    finish = asyncio.Event()

    @app.delete("/account")
    @realtime.handler("account", "delete")
    async def delete() -> Any:
        await realtime.disconnect(current_connection.user_id)
        await finish.wait()
        return {"deleted": True}

    async with (
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="ana") as tab,
    ):
        asking = asyncio.create_task(ana.request("account", "delete"))
        assert await tab.wait_closed() == CloseCode.DISCONNECTED
        finish.set()
        assert await asking == {"deleted": True}
        assert await ana.wait_closed() == CloseCode.DISCONNECTED


async def test_what_a_request_leaves_behind_closes_at_once(app: Quart, realtime: Realtime) -> None:
    later: list[asyncio.Task[None]] = []
    answered = asyncio.Event()

    async def close_later(connection: Connection) -> None:
        await answered.wait()
        await connection.close(4100)

    @realtime.handler("odd", "close_later")
    async def start() -> None:
        connection = current_connection._get_current_object()  # type: ignore[attr-defined]
        later.append(asyncio.create_task(close_later(connection)))

    async with realtime_client(app, user_id="ana") as client:
        await client.request("odd", "close_later")
        answered.set()
        assert await client.wait_closed() == 4100
        await later[0]


async def test_the_apps_error_handlers_answer_for_native_handlers_too(
    app: Quart, realtime: Realtime
) -> None:
    class Taken(LookupError): ...

    @app.errorhandler(LookupError)
    async def taken(error: LookupError) -> Any:
        return {"message": f"{error} is taken"}, 409

    @realtime.handler("names", "take")
    async def take() -> None:
        raise Taken("ana")

    async with realtime_client(app, user_id="ana") as client:
        error = await refused(client, "names", "take")
    assert (error.code, error.message) == ("conflict", "ana is taken")
    assert error.details == {"status": 409, "body": {"message": "ana is taken"}}


async def test_a_routes_own_error_of_the_wires_shape_is_told_as_it_is(
    app: Quart, realtime: Realtime
) -> None:
    details = {"conversation_id": "conv999", "message": "m"}
    bodies = {
        404: {"code": "not_found", "message": "Conversación no encontrada", "details": details},
        400: {"code": "validation_error", "message": "no", "details": {"fields": {"a": "b"}}},
        403: {"code": "not_found", "message": "another status's code"},
    }

    @app.get("/errors/<int:status>")
    @realtime.handler("errors", "get")
    async def get(status: int) -> Any:
        return bodies[status], status

    async with realtime_client(app, user_id="ana") as client:
        for status in (404, 400):
            error = await refused(client, "errors", "get", status=status)
            told = {"code": error.code, "message": error.message, "details": error.details}
            assert told == bodies[status]
        error = await refused(client, "errors", "get", status=403)
        assert (error.code, error.details) == ("forbidden", {"status": 403, "body": bodies[403]})


@pytest.mark.parametrize("scope", ["app", "handler"])
async def test_a_handler_that_hangs_is_answered_timeout(scope: str) -> None:
    app = make_app(REQUEST_TIMEOUT=0.1 if scope == "app" else 30)
    realtime = Realtime(app)
    cancelled = asyncio.Event()

    @realtime.handler("slow", "wait", timeout=0.1 if scope == "handler" else None)
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with realtime_client(app, user_id="ana") as client:
        error = await refused(client, "slow", "wait")
        assert error.code == "timeout"
        assert error.message == "no answer within 0.1 s"
        assert cancelled.is_set()


class Gate:
    """A handler that waits until it is let go, and counts how many do."""

    def __init__(self, realtime: Realtime) -> None:
        self.open = asyncio.Event()
        self.running = 0
        self.most = 0
        self.runs = 0

        @realtime.handler("gate", "pass")
        async def pass_gate(n: int = 0) -> int:
            self.running += 1
            self.runs += 1
            self.most = max(self.most, self.running)
            try:
                await self.open.wait()
            finally:
                self.running -= 1
            return n


def gate_request(number: int, **changes: Any) -> dict[str, Any]:
    payload = {"action": "pass", "n": number}
    frame = {"type": "request", "id": f"r{number}", "resource": "gate", "payload": payload}
    return frame | changes


async def test_only_so_many_requests_of_a_connection_run_at_once_and_the_rest_wait() -> None:
    app = make_app(MAX_REQUESTS=4, RATE_LIMIT=None)
    gate = Gate(Realtime(app))
    async with realtime_client(app, user_id="ana") as client:
        for number in range(4 + 100 + 3):
            await client.send(gate_request(number))
        for _ in range(3):
            error = await client.receive("error")
            assert error["payload"]["code"] == "rate_limited"
            assert error["payload"]["details"]["retry_after"] > 0
            assert int(error["id"][1:]) >= 104
        await client.send({"type": "ping"})
        await client.receive("pong")
        gate.open.set()
        answers = [await client.receive("response") for _ in range(104)]
    assert sorted(answer["payload"] for answer in answers) == list(range(104))
    assert gate.most == 4


async def test_an_id_in_flight_is_a_conflict_and_free_again_afterwards() -> None:
    app = make_app()
    gate = Gate(Realtime(app))
    async with realtime_client(app, user_id="ana") as client:
        await client.send(gate_request(1))
        await client.send(gate_request(1))
        assert (await client.receive("error"))["payload"]["code"] == "conflict"
        gate.open.set()
        assert (await client.receive("response"))["id"] == "r1"
        await client.send(gate_request(1))
        assert (await client.receive("response"))["id"] == "r1"


async def test_a_request_in_flight_runs_to_its_end_after_the_client_has_gone() -> None:
    app = make_app()
    realtime = Realtime(app)
    begun, finish, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @realtime.handler("work", "do")
    async def work() -> None:
        begun.set()
        await finish.wait()
        done.set()

    async with app.test_app():
        async with realtime_client(app, user_id="ana") as client:
            frame = {"type": "request", "id": "1", "resource": "work", "payload": {"action": "do"}}
            await client.send(frame)
            await asyncio.wait_for(begun.wait(), 2)
        assert realtime.connections() == []
        finish.set()
        await asyncio.wait_for(done.wait(), 2)


def mailing(rate: str | None = None, **settings: Any) -> Quart:
    """Make an app with one handler, which allows *rate*."""
    app = make_app(**settings)

    @Realtime(app).handler("mail", "send", rate_limit=rate)
    async def send() -> str:
        return "sent"

    return app


@asynccontextmanager
async def ana_twice_and_luis(
    app: Quart,
) -> AsyncIterator[tuple[RealtimeClient, RealtimeClient, RealtimeClient]]:
    async with (
        realtime_client(app, user_id="ana") as one,
        realtime_client(app, user_id="ana") as two,
        realtime_client(app, user_id="luis") as luis,
    ):
        yield one, two, luis


async def test_a_handlers_own_rate_counts_each_user_over_all_his_connections() -> None:
    async with ana_twice_and_luis(mailing("2/minute")) as (one, two, luis):
        await one.request("mail", "send")
        await two.request("mail", "send")
        error = await refused(one, "mail", "send")
        assert error.code == "rate_limited"
        assert 0 < error.details["retry_after"] <= 60
        assert await luis.request("mail", "send") == "sent"


async def test_a_user_s_rate_counts_whatever_is_asked_over_all_connections() -> None:
    async with ana_twice_and_luis(mailing(USER_RATE_LIMIT="4/minute")) as (one, two, luis):
        assert await one.request("mail", "send") == "sent"
        assert await two.request("mail", "send") == "sent"
        assert (await refused(one, "mail", "none")).code == "not_found"
        await two.send({"type": "unsubscribe", "id": "u", "payload": {"rooms": ["a"]}})
        await two.receive("response")
        for asked in (
            gate_request(1),
            {"type": "subscribe", "id": "s", "payload": {"rooms": ["a"]}},
        ):
            await one.send(asked)
            error = await one.receive("error")
            assert error["payload"]["code"] == "rate_limited"
            assert 0 < error["payload"]["details"]["retry_after"] <= 60
        assert await luis.request("mail", "send") == "sent"


async def test_who_goes_on_over_a_handler_s_rate_is_sent_away() -> None:
    async with realtime_client(mailing("1/hour", RATE_LIMIT=None), user_id="ana") as client:
        assert await client.request("mail", "send") == "sent"
        for _ in range(100):
            assert (await refused(client, "mail", "send")).code == "rate_limited"
        asked = {"type": "request", "id": "r", "resource": "mail", "payload": {"action": "send"}}
        await client.send(asked)
        assert (await client.receive("error"))["payload"]["code"] == "rate_limited"
        assert (await client.receive("closing"))["payload"]["code"] == "rate_limited"


@pytest.mark.parametrize("kind", ["native", "route"])
async def test_a_handler_that_awaits_what_is_cancelled_is_an_error(
    app: Quart, realtime: Realtime, kind: str
) -> None:
    async def wait() -> Any:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    realtime.handler("bugs", "wait")(wait)
    if kind == "route":
        app.add_url_rule("/bugs", view_func=wait)
    async with realtime_client(app, user_id="ana") as client:
        assert (await refused(client, "bugs", "wait")).code == "internal_error"


async def test_a_listener_that_awaits_what_is_cancelled_does_no_harm(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.on("told")
    async def wait(_: Any) -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    @realtime.handler("bugs", "tell")
    async def tell() -> str:
        await realtime.notify("told", 1)
        return "told"

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("bugs", "tell") == "told"
        assert await client.expect("told") == 1


# Requests that run once


async def test_two_requests_with_one_key_run_once_and_get_the_same_answer() -> None:
    app = make_app()
    gate = Gate(Realtime(app))
    async with ana_twice_and_luis(app) as (one, two, luis):
        await one.send(gate_request(5, key="k"))
        await two.send(gate_request(5, key="k", id="other"))
        await luis.send(gate_request(5, key="k"))
        gate.open.set()
        answers = [(await client.receive("response")) for client in (one, two, luis)]
        assert [answer["id"] for answer in answers] == ["r5", "other", "r5"]
        assert [answer["payload"] for answer in answers] == [5, 5, 5]
        assert await one.request("gate", "pass", n=5, key="k") == 5
        assert gate.runs == 2
        error = await refused(one, "gate", "pass", n=6, key="k")
        assert error.code == "conflict"


async def test_an_answer_waits_under_its_key_for_a_client_that_comes_back() -> None:
    app = make_app()
    gate = Gate(Realtime(app))
    async with app.test_app():
        async with realtime_client(app, user_id="ana") as client:
            await client.send(gate_request(1, key="k"))
            await client.send({"type": "ping"})
            await client.receive("pong")
        gate.open.set()
        async with realtime_client(app, user_id="ana") as client:
            assert await client.request("gate", "pass", n=1, key="k") == 1
    assert gate.runs == 1


async def test_an_error_is_an_answer_too_and_is_given_again(app: Quart, realtime: Realtime) -> None:
    runs = []

    @realtime.handler("odd", "do")
    async def odd() -> None:
        runs.append(1)
        raise NotFound("no", what="x")

    async with realtime_client(app, user_id="ana") as client:
        first = await refused(client, "odd", "do", key="k")
        second = await refused(client, "odd", "do", key="k")
    assert (
        (first.code, first.details) == (second.code, second.details) == ("not_found", {"what": "x"})
    )
    assert runs == [1]


async def test_so_much_is_kept_of_a_user_s_keys_and_no_more() -> None:
    app = make_app(RATE_LIMIT=None, MAX_MESSAGE_SIZE=100_000)
    realtime = Realtime(app)

    @realtime.handler("echo", "say")
    async def say(text: str) -> str:
        return text

    async with ana_twice_and_luis(app) as (one, two, luis):
        text = "x" * 90_000
        for kept in range(100):
            frame = {"type": "request", "id": f"{kept}", "resource": "echo", "key": f"k{kept}"}
            await one.send({**frame, "payload": {"action": "say", "text": text}})
            if (answer := await one.receive())["type"] == "error":
                break
        assert answer["payload"]["code"] == "rate_limited"
        assert 0 < answer["payload"]["details"]["retry_after"] <= 120
        assert 20 < kept <= 4 * 2**20 // len(text) + 1
        assert (await refused(two, "echo", "say", text="", key="k")).code == "rate_limited"
        assert await one.request("echo", "say", text="without a key") == "without a key"
        assert await luis.request("echo", "say", text="", key="k0") == ""


async def test_requests_of_connections_that_ended_count_for_their_user() -> None:
    app = make_app(MAX_REQUESTS=2, MAX_CONNECTIONS_PER_USER=2)
    gate = Gate(Realtime(app))
    async with app.test_app():
        for _ in range(2):
            async with realtime_client(app, user_id="ana") as ana:
                for number in range(2):
                    await ana.send(gate_request(number))
                await ana.send({"type": "ping"})
                await ana.receive("pong")
        async with realtime_client(app, user_id="ana") as ana:
            assert (await refused(ana, "gate", "pass", n=1)).code == "rate_limited"
            gate.open.set()
        async with realtime_client(app, user_id="luis") as luis:
            assert await luis.request("gate", "pass", n=1) == 1
        assert gate.runs == 5


async def test_of_thousands_of_wrong_fields_the_first_are_named(
    app: Quart, realtime: Realtime
) -> None:
    @app.get("/points")
    @realtime.handler("points", "get_all")
    async def points() -> list[int]:
        return []

    async with realtime_client(app, user_id="ana") as client:
        wrong: dict[str, Any] = {f"f{number}": {} for number in range(3_000)}
        error = await refused(client, "points", "get_all", **wrong)
    assert error.code == "validation_error"
    assert len(error.details["fields"]) == FIELDS_NAMED


# Mistakes that start-up finds


async def test_start_up_refuses_a_parameter_that_no_payload_can_hold(
    app: Quart, realtime: Realtime
) -> None:
    class Strange:
        def __init__(self, x: int) -> None: ...

    async def take(x: Any) -> None: ...

    take.__annotations__["x"] = list[Strange]
    realtime.handler("odd", "take")(take)
    with pytest.raises(SetupError, match=r"odd\.take: .* wants x .* annotate it with"):
        await app.startup()
    with pytest.raises(SetupError, match="strange"):
        realtime.event("strange", Strange)


async def test_start_up_refuses_an_authoriser_whose_annotations_can_not_be_read(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.room("box:<box_id>")
    async def may_join(box_id: Missing) -> bool:  # type: ignore[name-defined]  # noqa: F821
        return True

    with pytest.raises(SetupError, match="at the top of its module"):
        await app.startup()


async def test_start_up_refuses_a_handler_whose_parameters_have_no_names(app: Quart) -> None:
    realtime = Realtime(app)

    @realtime.handler("odd", "do")
    async def odd(*args: Any) -> None: ...

    with pytest.raises(SetupError, match=r"odd\.do: .*arguments come by name"):
        await app.startup()


async def test_start_up_refuses_an_app_without_jwt() -> None:
    app = Quart("tests")
    Realtime(app)
    with pytest.raises(SetupError, match=r"JWTManager\(app\)"):
        await app.startup()


def test_a_second_realtime_on_one_app_is_refused(app: Quart, realtime: Realtime) -> None:
    with pytest.raises(SetupError, match="has a Realtime already"):
        Realtime(app)
    with pytest.raises(SetupError, match="has a Realtime already"):
        realtime.init_app(app)


@pytest.mark.parametrize("decorator", [jwt_required, validate_request(Point)])
async def test_start_up_refuses_a_native_handler_with_a_decorator_that_wants_a_request(
    app: Quart, realtime: Realtime, decorator: Any
) -> None:
    @realtime.handler("users", "me")
    @decorator
    async def me(data: Point | None = None) -> None: ...

    with pytest.raises(SetupError, match=r"users\.me: .* leave it out"):
        await app.startup()


async def test_one_realtime_serves_two_apps_and_keeps_them_apart() -> None:
    realtime = Realtime()

    @realtime.on_connect
    async def join(connection: Connection) -> None:
        await connection.join("board")

    @realtime.handler("users", "whoami")
    async def whoami() -> str | None:
        return current_connection.user_id

    first, second = make_app(), make_app()
    realtime.init_app(first)
    realtime.init_app(second)
    async with (
        realtime_client(first, user_id="ana") as ana,
        realtime_client(second, user_id="ana") as other,
    ):
        with pytest.raises(RuntimeError, match="app_context"):
            await realtime.notify("said", {}, room="board")
        async with first.app_context():
            await realtime.notify("said", {}, room="board")
        await ana.expect("said")
        await other.expect_none("said")
        for client in (ana, other):
            assert await client.request("users", "whoami") == "ana"


async def test_a_realtime_without_an_app_says_what_to_call() -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        await Realtime().notify("said", {})


async def test_current_connection_outside_of_a_socket_says_where_it_exists(app: Quart) -> None:
    with pytest.raises(RuntimeError, match="not in a plain HTTP request"):
        _ = current_connection.id


def test_the_closing_frame_is_json_that_browsers_read() -> None:
    from quart_realtime.frames import closing_frame

    assert json.loads(closing_frame(CloseCode.RESTART, 5000).text)["payload"] == {
        "code": "restart",
        "reconnect": True,
        "retry_after_ms": 5000,
    }
