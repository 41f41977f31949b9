"""Messages that come over HTTP: who they are from, what they may be about, what they may cost."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from quart import Quart, websocket
from quart_jwt_extended import create_access_token, get_jwt_identity, jwt_optional

from quart_realtime import Identity, Realtime, Unauthorized, current_connection
from quart_realtime.testing import realtime_client

from ..conftest import make_app
from .test_custom_auth import bare_app
from .test_streams import FOREIGN, frame, stream

USERS = {"t-ana": "ana", "t-eve": "eve"}
FROM: dict[str, Any] = {"client": ("192.0.2.1", 50_000)}
asked: list[str | None] = []


async def authenticate(token: str | None) -> str | None:
    asked.append(token)
    if token == "away":
        raise ConnectionError("the database is away")
    return USERS.get(token or "")


@pytest.fixture(autouse=True)
def _forget() -> None:
    asked.clear()


def served(**settings: Any) -> Quart:
    app = bare_app(**settings)
    realtime = Realtime(app, authenticate=authenticate)

    @realtime.handler("who", "am_i", login=False)
    async def who() -> dict[str, Any]:
        return {"user": current_connection.user_id, "id": current_connection.id}

    @realtime.handler("hall", "tell")
    async def tell() -> None:
        await realtime.notify("told", 1, room="hall:1", others_only=True)

    @realtime.room("hall:<name>")
    async def may_join(name: str) -> bool:
        return True

    return app


async def post(
    app: Quart, message: Any, token: str | None = None, **headers: str
) -> tuple[int, Any]:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        lines["Authorization"] = f"Bearer {token}"
    answer = await app.test_client().post(
        "/ws/requests", json=message, headers=lines, scope_base=FROM
    )
    return answer.status_code, await answer.get_json()


def request(resource: str = "who", action: str = "am_i", **more: Any) -> dict[str, Any]:
    return {
        "type": "request",
        "id": "1",
        "resource": resource,
        "payload": {"action": action},
        **more,
    }


async def test_a_users_answers_are_kept_for_that_user_alone() -> None:
    app = served()
    async with app.test_app():
        _, own = await post(app, request(key="k1"), "t-ana")
        assert own["payload"]["user"] == "ana"
        _, nobodys = await post(app, request(key="k1"), X_Realtime_Connection="ana")
        assert nobodys["payload"]["user"] is None
        await post(app, request(key="k2"), X_Realtime_Connection="ana")
        _, own = await post(app, request(key="k2"), "t-ana")
        assert own["payload"]["user"] == "ana"


async def test_nobody_passes_for_another_users_connection() -> None:
    app = served()
    async with app.test_app(), realtime_client(app, user_id="ana") as ana:
        await ana.subscribe("hall:1")
        header = {"X_Realtime_Connection": ana.connected["connection_id"]}
        for token in ("t-eve", None):
            _, answer = await post(app, request(), token, **header)
            assert answer["payload"]["id"] != header["X_Realtime_Connection"]
        assert (await post(app, request("hall", "tell"), "t-eve", **header))[0] == 200
        assert await ana.expect("told") == 1


async def test_tokens_that_are_tried_count_as_handshakes_and_are_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    app = served(HANDSHAKE_RATE_LIMIT="3/minute")
    async with app.test_app():
        outcomes = [await post(app, request(), f"wrong-{n}") for n in range(8)]
    assert [status for status, _ in outcomes] == [401] * 3 + [429] * 5
    assert len(asked) == 3
    assert outcomes[-1][1]["payload"]["details"]["retry_after"] > 0
    refusals = [line for line in caplog.records if getattr(line, "refused", None) == "login"]
    assert len(refusals) == 3
    assert "wrong" not in caplog.text


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (request("hall", "tell"), "show a token in the Authorization header; where"),
        ({"type": "subscribe", "id": "1", "payload": {"rooms": ["hall:1"]}}, "the token that the"),
    ],
)
async def test_who_posts_without_a_token_is_told_how_to_show_one(
    message: dict[str, Any], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    app = served()
    async with app.test_app():
        status, answer = await post(app, message)
    assert (status, answer["id"], answer["payload"]["code"]) == (401, "1", "unauthorized")
    assert what in answer["payload"]["message"]
    assert "auth message" not in answer["payload"]["message"]
    assert [line for line in caplog.records if getattr(line, "refused", None)]


async def test_the_header_that_a_poster_is_told_of_is_the_apps_own() -> None:
    app = make_app()
    app.config["JWT_HEADER_NAME"] = "X-Token"
    Realtime(app)
    async with app.test_app():
        _, answer = await post(app, request())
    assert "show a token in the X-Token header" in answer["payload"]["message"]


async def test_good_tokens_are_not_counted_as_handshakes() -> None:
    app = served(HANDSHAKE_RATE_LIMIT="3/minute")
    async with app.test_app():
        outcomes = [await post(app, request(), "t-ana") for _ in range(8)]
    assert [status for status, _ in outcomes] == [200] * 8


async def test_a_login_that_fails_is_an_answer_to_the_message() -> None:
    app = served()
    async with app.test_app():
        status, answer = await post(app, request(), "away")
        assert (status, answer["id"]) == (500, "1")
        assert answer["payload"]["code"] == "internal_error"
        status, answer = await post(app, request(), "wrong")
        assert (status, answer["id"], answer["payload"]["code"]) == (401, "1", "unauthorized")


async def test_a_message_starts_what_no_lifespan_event_has() -> None:
    app = served()
    assert (await post(app, request(), "t-ana"))[0] == 200
    await app.extensions["QUART_REALTIME"].stop()


async def test_no_more_of_a_body_is_read_than_a_message_may_have() -> None:
    app = served(MAX_MESSAGE_SIZE=1000)
    posting = app.test_client().request("/ws/requests", method="POST")
    async with app.test_app(), posting:
        for _ in range(3):
            await posting.send(b" " * 400)
        # There is an answer, though it hasn't been told that this was all.
        async with asyncio.timeout(5):
            await posting.receive()
        assert posting.status_code == 413
        await posting.disconnect()


async def test_what_is_about_a_stream_has_to_name_it() -> None:
    app = served()
    subscribe = {"type": "subscribe", "id": "s", "payload": {"rooms": ["hall:1"]}}
    async with app.test_app():
        status, answer = await post(app, subscribe, "t-ana")
    assert status == 400
    assert "X-Realtime-Connection" in answer["payload"]["message"]


async def test_a_stream_for_nobody_is_refused_as_one_who_is_not_logged_in() -> None:
    app = served()
    async with app.test_app(), stream(app) as refused:
        assert (await frame(refused))["payload"]["code"] == "unauthorized"
        assert refused.status_code == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_foreign_pages_are_counted_before_each_is_a_line_in_the_log(method: str) -> None:
    app = served(HANDSHAKE_RATE_LIMIT="2/minute")
    path = "/ws/events" if method == "GET" else "/ws/requests"
    how: Any = {"method": method, "headers": {"Origin": FOREIGN}, "scope_base": FROM}
    async with app.test_app():
        answers = [await app.test_client().open(path, **how) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [403, 403, 429, 429]


async def test_a_page_of_another_origin_sees_that_it_is_to_wait() -> None:
    page = "https://app.example.com"
    app = served(HANDSHAKE_RATE_LIMIT="1/minute", ALLOWED_ORIGINS=[page])
    async with app.test_app():
        how: Any = {"headers": {"Origin": page}, "scope_base": FROM}
        assert (await app.test_client().get("/ws/events", **how)).status_code == 401
        answer = await app.test_client().get("/ws/events", **how)
    assert answer.status_code == 429
    assert answer.headers["Access-Control-Allow-Origin"] == page
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert int(answer.headers["Retry-After"]) > 0


async def test_where_any_page_may_ask_its_browser_speaks_for_nobody() -> None:
    app = bare_app(ALLOWED_ORIGINS="*")

    async def by_password(token: str | None) -> str | None:
        return websocket.authorization.username if websocket.authorization else None

    realtime = Realtime(app, authenticate=by_password, cookies=False)

    @realtime.handler("who", "am_i", login=False)
    async def who() -> Any:
        return current_connection.user_id

    basic = "Basic Ym9iOnB3"
    async with app.test_app():
        answer = await app.test_client().post(
            "/ws/requests", json=request(), headers={"Origin": FOREIGN, "Authorization": basic}
        )
        assert (await answer.get_json())["payload"] is None
        assert "Access-Control-Allow-Credentials" not in answer.headers
        answer = await app.test_client().post(
            "/ws/requests", json=request(), headers={"Authorization": basic}
        )
        assert (await answer.get_json())["payload"] == "bob"


async def test_jwt_apps_answer_posted_messages_likewise() -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.handler("who", "am_i", login=False)
    async def who() -> Any:
        return current_connection.user_id

    async with app.test_app():
        assert (await post(app, request()))[1]["payload"] is None
        status, answer = await post(app, request(), "no.jwt.atall")
        assert (status, answer["id"]) == (401, "1")


async def test_a_cookie_that_does_not_count_does_not_reach_a_route_either() -> None:
    app = make_app()
    app.config["JWT_TOKEN_LOCATION"] = ["cookies", "headers"]
    realtime = Realtime(app)

    @app.get("/me")
    @realtime.handler("who", "am_i", login=False)
    @jwt_optional
    async def me() -> Any:
        return {"user": get_jwt_identity()}

    async with app.test_app():
        async with app.app_context():
            cookie = {"Cookie": f"access_token_cookie={create_access_token('ana')}"}
        assert (await post(app, request(), **cookie))[1]["payload"] == {"user": None}
        answer = await post(app, request(), **cookie, Sec_Fetch_Site="cross-site")
        assert answer[1]["payload"] == {"user": None}
        answer = await post(app, request(), **cookie, Sec_Fetch_Site="same-origin")
        assert answer[1]["payload"] == {"user": "ana"}


async def test_rights_that_are_withdrawn_take_effect_whatever_asks_first() -> None:
    role = {"role": "admin"}

    async def with_role() -> Identity:
        return Identity("ana", dict(role))

    app = bare_app(PING_INTERVAL=0.2)
    realtime = Realtime(app, authenticate=with_role)

    @realtime.room("staff:<name>")
    async def may_join(name: str) -> bool:
        return bool(current_connection.claims["role"] == "admin")

    @realtime.handler("doors", "knock")
    async def knock() -> None:
        raise Unauthorized("wrong password")

    async with app.test_app(), realtime_client(app) as ana:
        await ana.subscribe("staff:1")
        role["role"] = "nobody"
        with pytest.raises(Exception, match="wrong password"):
            await ana.request("doors", "knock")
        assert (await ana.expect("room_left"))["room"] == "staff:1"
