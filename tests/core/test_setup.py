"""What start-up finds before a client does, and how Realtime gets on with the rest of an app."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

import pytest
from quart import Blueprint, Quart, Response, abort, request, session, websocket
from quart.asgi import ASGIWebsocketConnection
from quart_jwt_extended import jwt_required
from werkzeug.routing import BaseConverter

from quart_realtime import Conflict, Connection, Realtime, RealtimeError, SetupError, Unavailable
from quart_realtime.client_types import RealtimeError as Refused
from quart_realtime.testing import realtime_client

from ..conftest import make_app


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    return Realtime(app)


async def refusal(app: Quart) -> str:
    with pytest.raises(SetupError) as caught:
        await app.startup()
    return str(caught.value)


# Mistakes


async def test_a_setting_that_comes_too_late_is_told(app: Quart, realtime: Realtime) -> None:
    app.config["QUART_REALTIME_URL"] = "/elsewhere"
    assert "changed after Realtime(app)" in await refusal(app)


async def test_an_unknown_setting_that_comes_too_late_is_told(
    app: Quart, realtime: Realtime
) -> None:
    app.config["QUART_REALTIME_NONSENSE"] = 1
    assert "QUART_REALTIME_NONSENSE" in await refusal(app)


async def test_two_websockets_at_one_path_are_refused(app: Quart, realtime: Realtime) -> None:
    @app.websocket("/ws")
    async def own() -> None: ...

    assert "a websocket of its own at /ws, 'own'" in await refusal(app)


async def test_a_connection_class_that_was_set_too_late_is_refused(
    app: Quart, realtime: Realtime
) -> None:
    app.asgi_websocket_class = ASGIWebsocketConnection  # type: ignore[assignment]
    assert "set yours first" in await refusal(app)


async def test_a_connection_class_that_was_set_before_is_built_upon(app: Quart) -> None:
    opened = []

    class Own(ASGIWebsocketConnection):
        def __init__(self, *args: Any) -> None:
            opened.append(1)
            super().__init__(*args)

    app.asgi_websocket_class = Own  # type: ignore[assignment]
    Realtime(app)
    async with realtime_client(app, user_id="ana"):
        assert opened == [1]


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda rt: rt.room("box:{box_id}"), "written <name>"),
        (lambda rt: rt.emits("done", room="box:<box_id>"), "written {name}"),
        (lambda rt: rt.event("done", room="box:<box_id>"), "written {name}"),
    ],
)
def test_each_kind_of_variable_in_the_others_place_is_refused(
    realtime: Realtime, declare: Callable[[Realtime], Any], text: str
) -> None:
    with pytest.raises(SetupError, match=text):
        declare(realtime)(lambda: None)


def test_a_decorator_without_its_parentheses_is_refused(realtime: Realtime) -> None:
    async def function() -> None: ...

    with pytest.raises(SetupError, match=r"@realtime\.room\("):
        realtime.room(function)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"@realtime\.on\("):
        realtime.on(function)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"@realtime\.handler\("):
        realtime.handler(function)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"@realtime\.emits\("):
        realtime.emits(function)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"realtime\.expose\(blueprint, "):
        realtime.expose(function)  # type: ignore[arg-type]


async def test_functions_that_can_not_take_what_they_are_given_are_refused(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.room("box:<box_id>")
    async def wrong_name(other: str) -> bool:
        return True

    @realtime.on_connect
    async def too_few() -> None: ...

    @realtime.on_disconnect
    async def without_code(connection: Connection) -> None: ...

    @realtime.on("done")
    async def too_many(told: Any, more: Any) -> None: ...

    text = await refusal(app)
    assert "write its parameters as box_id." in text
    assert "write its parameters as connection." in text
    assert "write its parameters as connection, code." in text
    assert "write its parameters as told." in text


async def test_the_more_literal_pattern_decides_in_whatever_order(
    app: Quart, realtime: Realtime
) -> None:
    @realtime.room("box:<path:rest>")
    async def anybody(rest: str) -> bool:
        return True

    @realtime.room("box:secret:<name>")
    async def nobody(name: str) -> bool:
        return False

    async with realtime_client(app, user_id="ana") as ana:
        open_, secret = await ana.subscribe("box:a:b", "box:secret:x")
    assert "error" not in open_
    assert secret["error"]["code"] == "forbidden"


def guard(view: Any) -> Any:
    @wraps(view)
    async def guarding(*args: Any, **kwargs: Any) -> Any:
        abort(403)

    return guarding


@pytest.mark.parametrize("elsewhere", ["blueprint", "app"])
async def test_a_view_that_has_no_route_here_is_not_served_without_its_guards(
    app: Quart, realtime: Realtime, elsewhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []
    other: Any = Blueprint("admin", __name__) if elsewhere == "blueprint" else Quart("other")

    @other.post("/delete")
    @jwt_required
    @guard
    @realtime.handler("users", "delete")
    async def delete() -> None:
        ran.append(1)

    async with realtime_client(app, user_id="ana") as ana:
        with pytest.raises(Refused) as refused:
            await ana.request("users", "delete")
    assert refused.value.code == "not_found"
    assert ran == []
    assert "users.delete is not served" in caplog.text


class Guard:
    """Wraps views in ways that leave no trace by functools.wraps."""

    def __init__(self, view: Any) -> None:
        self.steps = {"first": [view]}

    async def check(self, *args: Any, **kwargs: Any) -> Any:
        abort(403)


def by_method(view: Any) -> Any:
    return Guard(view).check


def by_closure(view: Any) -> Any:
    kept = Guard(view)

    async def guarding() -> Any:
        return await kept.check()

    return guarding


@pytest.mark.parametrize("decorator", [by_method, by_closure])
async def test_a_guard_that_hides_its_view_in_an_object_is_seen(
    app: Quart, realtime: Realtime, decorator: Any
) -> None:
    async def delete() -> None: ...

    realtime.handler("users", "delete")(delete)
    app.add_url_rule("/delete", "delete", decorator(delete), methods=["POST"])
    assert "whether it wraps it can't be told" in await refusal(app)


async def test_a_view_that_uses_realtime_itself_hides_no_handler(app: Quart) -> None:
    realtime = Realtime(app)

    @realtime.handler("users", "whoami")
    async def whoami() -> str:
        return "me"

    @app.post("/done")
    @realtime.handler("things", "done")
    async def done() -> Any:
        await realtime.notify("done", {}, room="board")
        return {"name": app.name}

    async with realtime_client(app, user_id="ana") as ana:
        assert await ana.request("users", "whoami") == "me"
        assert await ana.request("things", "done") == {"name": "tests"}


async def test_routes_bound_to_a_host_are_refused() -> None:
    app = make_app()
    app.config["SERVER_NAME"] = "example.com"
    realtime = Realtime(app)

    @app.get("/things", subdomain="api")
    @realtime.handler("things", "get")
    async def get() -> Any:
        return {}

    assert "bound to a subdomain" in await refusal(app)


async def test_start_up_lists_every_mistake_at_once(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    realtime.handler("odd", "do")(lambda *args: None)
    realtime.handler("gone", "do", endpoint="nowhere")(lambda: None)

    @realtime.emits("done", room="board")
    @app.post("/things")
    async def do() -> Any:
        return {}

    @realtime.room("box:<box_id>")
    async def wrong(other: str) -> bool:
        return True

    app.config["QUART_REALTIME_RETRY_AFTER"] = 1
    text = await refusal(app)
    for part in ("changed after", "odd.do", "'nowhere'", 'emits("done")', "box_id"):
        assert part in text


async def test_start_up_tells_which_handlers_have_no_route(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "quart_realtime")
    realtime.handler("users", "whoami")(lambda: "me")
    async with app.test_app():
        assert "no route, and no guard but the login: users.whoami" in caplog.text


# Manners


async def test_an_apps_own_error_handler_for_our_errors_stays(app: Quart) -> None:
    @app.errorhandler(RealtimeError)
    async def own(error: RealtimeError) -> Any:
        return {"mine": str(error)}, 418

    Realtime(app)

    @app.get("/fail")
    async def fail() -> None:
        raise Conflict("taken")

    response = await app.test_client().get("/fail")
    assert (response.status_code, await response.get_json()) == (418, {"mine": "taken"})


async def test_compressed_answers_are_asked_for_by_nobody_on_a_socket(
    app: Quart, realtime: Realtime
) -> None:
    @app.after_request
    async def compress(response: Response) -> Response:
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await response.get_data(as_text=False)
            response.set_data(gzip.compress(body))
            response.headers["Content-Encoding"] = "gzip"
        return response

    @app.get("/things")
    @realtime.handler("things", "get")
    async def get() -> Any:
        return {"a": 1}

    headers = {"Accept-Encoding": "gzip, br", "If-None-Match": "x"}
    async with realtime_client(app, user_id="ana", headers=headers) as ana:
        assert await ana.request("things", "get") == {"a": 1}


async def test_an_answer_that_claims_json_and_has_none_is_an_error(
    app: Quart, realtime: Realtime, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/things")
    @realtime.handler("things", "get")
    async def get() -> Any:
        return Response("{broken", mimetype="application/json")

    async with realtime_client(app, user_id="ana") as ana:
        with pytest.raises(Refused) as refused:
            await ana.request("things", "get")
    assert refused.value.code == "internal_error"
    assert "{broken" in caplog.text


async def test_a_session_goes_on_over_the_socket(app: Quart, realtime: Realtime) -> None:
    app.secret_key = "a secret for sessions"

    @app.post("/count")
    @realtime.handler("session", "count")
    async def count() -> Any:
        session["n"] = session.get("n", 0) + 1
        return {"n": session["n"]}

    @app.post("/forget")
    @realtime.handler("session", "forget")
    async def forget() -> Any:
        session.clear()
        return {}

    headers = {"Cookie": "theme=dark"}
    async with realtime_client(app, user_id="ana", headers=headers) as ana:
        counts = [(await ana.request("session", "count"))["n"] for _ in range(3)]
        await ana.request("session", "forget")
        counts.append((await ana.request("session", "count"))["n"])
    assert counts == [1, 2, 3, 1]


async def test_a_page_of_any_origin_can_not_use_the_session_of_whoever_looks_at_it() -> None:
    app = make_app(ALLOWED_ORIGINS="*")
    app.secret_key = "a secret for sessions"
    realtime = Realtime(app)

    @app.post("/login")
    async def login() -> Any:
        session["user"] = "ana"
        return {}

    @app.get("/mine")
    @realtime.handler("mine", "get")
    async def mine() -> Any:
        return {"user": session.get("user")}

    browser = app.test_client()
    await browser.post("/login")
    (cookie,) = browser.cookie_jar or ()
    headers = {"Cookie": f"{cookie.name}={cookie.value}"}
    for origin, user in (({"Origin": "https://evil.example"}, None), ({}, "ana")):
        async with realtime_client(app, user_id="eva", headers=headers | origin) as eva:
            assert await eva.request("mine", "get") == {"user": user}


class Even(BaseConverter):
    regex = "[0-9]*[02468]"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return f"{value:d}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, 2), ("2", 2), (3, None), (1.9, None), ("1_0", None), (" 2", None), ("+2", None)],
)
async def test_a_url_variable_is_what_its_converter_takes(
    app: Quart, realtime: Realtime, value: Any, expected: int | None
) -> None:
    app.url_map.converters["even"] = Even

    @app.get("/numbers/<even:number>")
    @realtime.handler("numbers", "get")
    async def get(number: int) -> Any:
        return {"number": number}

    @app.get("/ids/<uuid:id>")
    @realtime.handler("ids", "get")
    async def get_id(id: UUID) -> Any:  # noqa: A002
        return {"id": str(id)}

    async with realtime_client(app, user_id="ana") as ana:
        upper = str(UUID(int=0xABC)).upper()
        assert await ana.request("ids", "get", id=upper) == {"id": upper.lower()}
        if expected is not None:
            assert await ana.request("numbers", "get", number=value) == {"number": expected}
        else:
            with pytest.raises(Refused) as refused:
                await ana.request("numbers", "get", number=value)
            assert refused.value.code == "not_found"


@pytest.mark.parametrize("code", ["unauthorized", "unavailable"])
async def test_a_key_is_not_used_up_by_an_answer_that_says_to_try_again(code: str) -> None:
    app = make_app()
    realtime = Realtime(app)
    ready = False

    @app.post("/pay")
    @realtime.handler("money", "pay")
    async def pay() -> Any:
        if not ready and code == "unavailable":
            raise Unavailable
        return ({"paid": True}, 201) if ready else ({}, 401)

    async with realtime_client(app, user_id="ana") as ana:
        with pytest.raises(Refused) as refused:
            await ana.request("money", "pay", key="k")
        assert refused.value.code == code
        ready = True
        assert await ana.request("money", "pay", key="k") == {"paid": True}


async def test_a_task_that_does_not_end_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("quart_realtime.runtime.CANCEL_TIMEOUT", 0.05)
    app = make_app(DRAIN_TIMEOUT=0.05)
    realtime = Realtime(app)
    begun, release = asyncio.Event(), asyncio.Event()

    @realtime.handler("deaf", "do")
    async def deaf() -> None:
        begun.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    running = app.test_app()
    await running.startup()
    async with realtime_client(app, user_id="ana") as ana:
        frame = {"type": "request", "id": "1", "resource": "deaf", "payload": {"action": "do"}}
        await ana.send(frame)
        await asyncio.wait_for(begun.wait(), 2)
    await asyncio.wait_for(running.shutdown(), 2)
    assert "gave up on" in caplog.text
    with pytest.raises(RuntimeError, match="has stopped"):
        await realtime.notify("late", {})
    release.set()
    await asyncio.sleep(0)


async def test_an_app_may_be_started_again(app: Quart, realtime: Realtime) -> None:
    for _ in range(2):
        async with realtime_client(app, user_id="ana") as ana:
            await realtime.notify("said", 1)
            assert await ana.expect("said") == 1


async def test_other_websockets_keep_their_hooks_and_their_queue(
    app: Quart, realtime: Realtime
) -> None:
    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    async with app.test_client().websocket("/echo") as socket:
        for text in "abc":
            await socket.send(text)
        assert [await asyncio.wait_for(socket.receive(), 2) for _ in "abc"] == ["a", "b", "c"]
