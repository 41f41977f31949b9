"""Who gets in, for how long, and by which door."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from quart import Quart, Response, abort
from quart_jwt_extended import (
    create_access_token,
    create_refresh_token,
    current_user,
    get_jwt_claims,
    get_jwt_identity,
    jwt_required,
)

from quart_realtime import (
    CloseCode,
    Conflict,
    Realtime,
    SetupError,
    Unavailable,
    current_connection,
)
from quart_realtime.client_types import RealtimeError
from quart_realtime.errors import RateLimited, RequestTimeout
from quart_realtime.testing import HandshakeRefused, realtime_client

from ..conftest import SECRET, make_app


def with_whoami(app: Quart) -> Quart:
    realtime = Realtime(app)

    @realtime.handler("users", "whoami")
    async def whoami() -> dict[str, Any]:
        return {
            "identity": get_jwt_identity(),
            "claims": get_jwt_claims(),
            "user_id": current_connection.user_id,
        }

    @app.get("/me")
    @jwt_required
    @realtime.handler("users", "me")
    async def me() -> dict[str, Any]:
        return {"identity": get_jwt_identity()}

    return app


async def token(app: Quart, identity: Any = "ana", **options: Any) -> str:
    async with app.app_context():
        return str(create_access_token(identity, **options))


def forged(**changes: Any) -> str:
    now = int(time.time())
    claims = {
        "identity": "ana",
        "type": "access",
        "fresh": False,
        "jti": "1",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "user_claims": {},
    }
    return jwt.encode(claims | changes, SECRET, "HS256")


async def test_a_token_as_subprotocol_logs_in_and_realtime_v1_is_selected() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, await token(app, user_claims={"role": "x"})) as client:
        told = await client.request("users", "whoami")
    assert told == {"identity": "ana", "claims": {"role": "x"}, "user_id": "ana"}


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("Bearer", "Bearer {}"),
        ("Bearer", "bearer {}"),
        ("Bearer", "Basic x, Bearer {}"),
        ("JWT", "JWT {}"),
        (None, "{}"),
    ],
)
async def test_the_header_is_read_as_the_app_configures_it(kind: str | None, header: str) -> None:
    app = make_app()
    app.config["JWT_HEADER_TYPE"] = kind
    app.config["JWT_HEADER_NAME"] = "X-Token"
    with_whoami(app)
    headers = {"X-Token": header.format(await token(app))}
    async with realtime_client(app, headers=headers) as client:
        await client.wait_connected()
        assert await client.request("users", "me") == {"identity": "ana"}


async def test_claims_without_a_user_whose_token_could_carry_them_are_a_mistake() -> None:
    app = with_whoami(make_app())
    with pytest.raises(ValueError, match="user_id=: write that too"):
        async with realtime_client(app, await token(app), claims={"role": "x"}):
            pass


async def test_a_header_that_is_none_is_a_token_that_is_none() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, headers={"Authorization": ","}) as client:
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


@pytest.mark.parametrize("location", ["header", "cookie", "query"])
async def test_a_token_is_found_at_each_place_that_jwt_token_location_names(location: str) -> None:
    app = make_app()
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies", "query_string"]
    with_whoami(app)
    good = await token(app)
    how: dict[str, Any] = {
        "header": {"headers": {"Authorization": f"Bearer {good}"}},
        "cookie": {
            "headers": {
                "Cookie": f"theme=dark; access_token_cookie={good}",
                "Origin": "http://localhost",
            }
        },
        "query": {"query": {"jwt": good}},
    }[location]
    async with realtime_client(app, **how) as client:
        await client.wait_connected()
        assert await client.request("users", "me") == {"identity": "ana"}


@pytest.mark.parametrize("how", [{"Cookie": "access_token_cookie={}"}, {"X-Other": "{}"}])
async def test_a_place_that_is_not_named_is_not_looked_at(how: dict[str, str]) -> None:
    app = with_whoami(make_app(AUTH_TIMEOUT=0.1))
    good = await token(app)
    headers = {name: value.format(good) for name, value in how.items()}
    async with realtime_client(app, headers=headers) as client:
        assert await client.wait_closed() == CloseCode.AUTH_TIMEOUT


@pytest.mark.parametrize("name", ["access_token_cookie", "theme"])
async def test_a_cookie_counts_only_beside_an_origin_and_the_log_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quart_realtime")
    app = with_whoami(make_app(AUTH_TIMEOUT=0.1))
    app.config["JWT_TOKEN_LOCATION"] = ["cookies"]
    good = await token(app)
    async with realtime_client(app, headers={"Cookie": f"{name}={good}"}) as client:
        assert await client.wait_closed() == CloseCode.AUTH_TIMEOUT
    told = "such as Origin: https://app.example.com"
    assert (told in caplog.text) == (name == "access_token_cookie")
    assert good not in caplog.text


async def test_cookies_and_any_origin_are_an_error_at_start_up() -> None:
    app = with_whoami(make_app(ALLOWED_ORIGINS="*"))
    app.config["JWT_TOKEN_LOCATION"] = ["headers", "cookies"]
    with pytest.raises(SetupError, match="any page that a user looks at"):
        await app.startup()


async def test_where_there_is_no_jwt_manager_any_origin_is_no_other_error() -> None:
    app = Quart("tests")
    app.config["QUART_REALTIME_ALLOWED_ORIGINS"] = "*"
    Realtime(app)
    with pytest.raises(SetupError, match=r"write JWTManager\(app\)"):
        await app.startup()


@pytest.mark.parametrize("location", ["headers", "cookies", "query_string", "json"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_route_gets_the_current_token_where_the_app_looks_for_it(
    location: str, method: str
) -> None:
    app = make_app()
    app.config["JWT_TOKEN_LOCATION"] = [location]
    realtime = Realtime(app)

    async def me() -> dict[str, Any]:
        return {"identity": get_jwt_identity()}

    view = jwt_required(realtime.handler("users", "me")(me))
    app.add_url_rule("/me", view_func=view, methods=[method])
    async with realtime_client(app, await token(app)) as client:
        if (location, method) == ("json", "GET"):
            # quart-jwt-extended reads a JSON body of any method that has one.
            assert await client.request("users", "me") == {"identity": "ana"}
        else:
            assert await client.request("users", "me", other=1) == {"identity": "ana"}


async def test_the_first_message_may_bring_the_token() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app) as client:
        answer = await client.authenticate(await token(app))
        assert answer["user_id"] == "ana"
        assert answer["expires_at"] == client.connected["expires_at"]
        assert await client.request("users", "me") == {"identity": "ana"}


async def test_messages_sent_right_after_auth_find_the_client_logged_in() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app) as client:
        good = await token(app)
        await client.send({"type": "auth", "id": "1", "payload": {"token": good}})
        assert (await client.request("users", "whoami"))["user_id"] == "ana"


BAD_TOKENS: dict[str, Callable[[], str]] = {
    "no JWT": lambda: "not-a-token",
    "empty parts": lambda: "..",
    "no ASCII": lambda: "añb.c.d",
    "alg none": lambda: jwt.encode({"identity": "ana", "type": "access"}, None, "none"),
    "another key": lambda: jwt.encode({"identity": "ana"}, "another key" * 6, "HS256"),
    "another algorithm": lambda: jwt.encode({"identity": "ana", "type": "access"}, SECRET, "HS384"),
    "not yet valid": lambda: forged(nbf=int(time.time()) + 600),
    "a refresh token": lambda: forged(type="refresh"),
    "no identity": lambda: jwt.encode({"type": "access"}, SECRET, "HS256"),
    "another type": lambda: forged(type="other"),
    "another issuer": lambda: forged(iss="them"),
    "an audience": lambda: forged(aud="them"),
}


@pytest.mark.parametrize("door", ["handshake", "auth message"])
@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_told_after_the_handshake_and_nothing_runs(
    name: str, door: str
) -> None:
    app = make_app()
    app.config["JWT_DECODE_ISSUER"] = "us" if name == "another issuer" else None
    with_whoami(app)
    bad = BAD_TOKENS[name]()
    how = {"subprotocols": ["realtime.v1", f"bearer.{bad}"]} if door == "handshake" else {}
    async with realtime_client(app, **how) as client:
        if door == "auth message":
            await client.send({"type": "auth", "id": "1", "payload": {"token": bad}})
        error = await client.receive("error")
        assert error["payload"]["code"] == "unauthorized"
        assert error["id"] == ("1" if door == "auth message" else None)
        assert bad not in str(error)
        closing = (await client.receive("closing"))["payload"]
        assert closing == {"code": "unauthorized", "reconnect": False, "retry_after_ms": None}
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_an_expired_token_asks_for_a_fresh_one() -> None:
    app = with_whoami(make_app())
    expired = await token(app, expires_delta=timedelta(seconds=-5))
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{expired}"]) as client:
        assert (await client.receive("closing"))["payload"]["reconnect"] is True
        assert await client.wait_closed() == CloseCode.TOKEN_EXPIRED


async def test_a_connection_ends_when_its_token_does_and_hears_nothing_after() -> None:
    app = make_app()
    realtime = Realtime(app)
    async with realtime_client(app, await token(app, expires_delta=timedelta(seconds=2))) as client:
        assert await client.wait_closed() == CloseCode.TOKEN_EXPIRED
        await realtime.notify("late", {})
        with pytest.raises(AssertionError, match="closed with 4001"):
            await client.expect("late")


async def test_a_fresh_token_for_the_same_user_keeps_the_connection() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, await token(app, expires_delta=timedelta(seconds=2))) as client:
        answer = await client.authenticate(await token(app, user_claims={"n": 2}))
        assert answer["expires_at"] > client.connected["expires_at"]
        told = await client.request("users", "whoami")
        assert told["claims"] == {"n": 2}


async def test_a_fresh_token_of_another_user_is_refused_and_the_first_stays() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, user_id="ana") as client:
        with pytest.raises(RealtimeError, match="another user"):
            await client.authenticate(await token(app, "luis"))
        with pytest.raises(RealtimeError, match="not accepted"):
            await client.authenticate("nonsense")
        assert (await client.request("users", "whoami"))["identity"] == "ana"


async def test_a_token_that_never_expires_says_so() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, await token(app, expires_delta=False)) as client:
        assert client.connected["expires_at"] is None


async def test_who_shows_no_token_in_time_is_closed() -> None:
    app = with_whoami(make_app(AUTH_TIMEOUT=0.1))
    async with realtime_client(app) as client:
        assert await client.wait_closed() == CloseCode.AUTH_TIMEOUT


async def test_before_login_only_handlers_that_need_none_answer() -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.handler("session", "start", login=False)
    async def start(name: str) -> dict[str, str]:
        return {"token": create_access_token(name)}

    @realtime.handler("users", "whoami")
    async def whoami() -> str:
        return str(get_jwt_identity())

    async with realtime_client(app) as client:
        for resource, action in [("users", "whoami"), ("users", "nonsense")]:
            with pytest.raises(RealtimeError) as refused:
                await client.request(resource, action)
            assert refused.value.code == "unauthorized"
        with pytest.raises(RealtimeError, match="log in first"):
            await client.subscribe("room")
        fresh = await client.request("session", "start", name="ana")
        await client.authenticate(fresh["token"])
        assert await client.request("users", "whoami") == "ana"


class Revocations:
    def __init__(self, app: Quart) -> None:
        self.revoked = False
        app.config["JWT_BLACKLIST_ENABLED"] = True
        app.extensions["quart-jwt-extended"].token_in_blacklist_loader(lambda token: self.revoked)


async def test_a_revoked_token_no_longer_opens_a_connection() -> None:
    app = with_whoami(make_app())
    revocations = Revocations(app)
    good = await token(app)
    revocations.revoked = True
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as client:
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_a_token_revoked_meanwhile_ends_the_connection_within_a_ping_interval() -> None:
    app = with_whoami(make_app(PING_INTERVAL=0.1))
    revocations = Revocations(app)
    async with realtime_client(app, user_id="ana") as client:
        revocations.revoked = True
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


@pytest.mark.parametrize("action", ["whoami", "me"])
async def test_a_request_with_a_revoked_token_is_refused_and_ends_the_connection(
    action: str,
) -> None:
    app = with_whoami(make_app())
    revocations = Revocations(app)
    async with realtime_client(app, user_id="ana") as client:
        revocations.revoked = True
        with pytest.raises(RealtimeError) as refused:
            await client.request("users", action)
        assert refused.value.code == "unauthorized"
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_the_apps_user_loader_decides_and_current_user_is_there() -> None:
    app = make_app()
    realtime = Realtime(app)
    users = {"ana": {"name": "Ana"}}
    app.extensions["quart-jwt-extended"].user_loader_callback_loader(users.get)

    @realtime.handler("users", "name")
    async def name() -> str:
        return str(current_user["name"])

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("users", "name") == "Ana"
    stranger = await token(app, "eva")
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{stranger}"]) as client:
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_an_identity_that_is_a_number_is_text_on_the_wire_and_itself_for_the_app() -> None:
    app = with_whoami(make_app())
    async with realtime_client(app, user_id=7) as client:
        assert client.connected["user_id"] == "7"
        told = await client.request("users", "whoami")
        assert told["identity"] == 7
        assert told["user_id"] == "7"


async def test_a_foreign_origin_is_refused_before_the_handshake_with_403() -> None:
    app = with_whoami(make_app())
    good = await token(app)
    with pytest.raises(HandshakeRefused, match="403"):
        async with realtime_client(app, good, headers={"Origin": "https://evil.example"}):
            pass


async def test_a_before_websocket_hook_refuses_like_any_other() -> None:
    app = with_whoami(make_app())

    @app.before_websocket
    async def refuse() -> Any:
        return "closed", 503

    with pytest.raises(HandshakeRefused, match="503"):
        async with realtime_client(app, user_id="ana"):
            pass


@pytest.mark.parametrize("how", ["RealtimeError", "abort"])
async def test_an_on_connect_hook_may_turn_a_client_away(how: str) -> None:
    app = make_app()
    realtime = Realtime(app)
    gone: list[int] = []

    @realtime.on_connect
    async def refuse(connection: Any) -> None:
        if how == "abort":
            abort(409, "one device only")
        raise Conflict("one device only")

    @realtime.on_disconnect
    async def note(connection: Any, code: int) -> None:
        gone.append(code)

    async with realtime_client(app) as client:
        good = await token(app)
        await client.send({"type": "auth", "id": "1", "payload": {"token": good}})
        error = (await client.receive("error"))["payload"]
        assert (error["code"], error["message"]) == ("conflict", "one device only")
        assert await client.wait_closed() == CloseCode.DISCONNECTED
    assert gone == []


@pytest.mark.parametrize("error", [RateLimited(7.0), RequestTimeout(1.0)])
async def test_whom_a_hook_turns_away_for_now_is_told_to_come_back(
    error: RateLimited | RequestTimeout,
) -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.on_connect
    async def refuse(connection: Any) -> None:
        raise error

    good = await token(app)
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as client:
        closing = (await client.receive("closing"))["payload"]
        assert closing["reconnect"] is True
        assert closing["retry_after_ms"] == (7_000 if isinstance(error, RateLimited) else 5_000)
        assert await client.wait_closed() == CloseCode.TRY_LATER


async def test_an_on_connect_hook_that_fails_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.on_connect
    async def fails(connection: Any) -> None:
        raise LookupError("connect bug")

    good = await token(app)
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as client:
        assert (await client.receive("closing"))["payload"]["reconnect"] is True
        assert await client.wait_closed() == CloseCode.INTERNAL_ERROR
    assert "connect bug" in caplog.text


async def test_a_user_has_only_so_many_connections() -> None:
    app = with_whoami(make_app(MAX_CONNECTIONS_PER_USER=2))
    good = await token(app)
    async with (
        realtime_client(app, good),
        realtime_client(app, good) as second,
        realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as third,
        realtime_client(app, user_id="luis"),
    ):
        assert await third.wait_closed() == CloseCode.TOO_MANY_CONNECTIONS
        assert (await second.request("users", "whoami"))["user_id"] == "ana"
    async with realtime_client(app, good) as again:
        assert again.connected["user_id"] == "ana"


async def test_a_refresh_token_is_no_access_token() -> None:
    app = with_whoami(make_app())
    async with app.app_context():
        refresh = create_refresh_token("ana")
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{refresh}"]) as client:
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_a_login_that_fails_by_a_bug_is_logged_and_the_client_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()
    Realtime(app)

    def load_user(identity: str) -> Any:
        raise LookupError("a secret of the server")

    app.extensions["quart-jwt-extended"].user_loader_callback_loader(load_user)
    good = await token(app)
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as client:
        error = await client.receive("error")
        assert error["payload"]["code"] == "internal_error"
        assert "secret" not in str(error)
        assert (await client.receive("closing"))["payload"]["reconnect"] is True
        assert await client.wait_closed() == CloseCode.INTERNAL_ERROR
    assert "LookupError" in caplog.text


async def test_a_login_that_lacks_something_for_now_is_told_when_to_come_back() -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.on_connect
    async def needs_more(connection: Any) -> None:
        raise Unavailable("the directory is away")

    good = await token(app)
    async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as client:
        assert (await client.receive("error"))["payload"]["code"] == "unavailable"
        closing = (await client.receive("closing"))["payload"]
        assert closing == {"code": "try_later", "reconnect": True, "retry_after_ms": 5000}
        assert await client.wait_closed() == CloseCode.TRY_LATER


async def test_not_being_able_to_look_at_a_token_again_throws_nobody_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(PING_INTERVAL=0.05)
    Realtime(app)
    looked = asyncio.Event()
    fail = False

    def load_user(identity: str) -> Any:
        if fail:
            looked.set()
            raise LookupError("the database is away")
        return identity

    app.extensions["quart-jwt-extended"].user_loader_callback_loader(load_user)
    async with realtime_client(app, user_id="ana") as client:
        fail = True
        await asyncio.wait_for(looked.wait(), 2)
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}
    assert "looking at the token" in caplog.text


async def test_a_right_that_is_taken_away_is_gone_for_natives_and_rooms_at_once() -> None:
    app = make_app()
    realtime = Realtime(app)
    users: dict[str, Any] = {"ana": {"admin": True}}
    app.extensions["quart-jwt-extended"].user_loader_callback_loader(users.get)

    @realtime.handler("users", "admin")
    async def admin() -> bool:
        return bool(current_user["admin"])

    @realtime.room("secret")
    async def may_join() -> bool:
        return bool(current_user["admin"])

    async with realtime_client(app, user_id="ana") as client:
        assert await client.request("users", "admin") is True
        users["ana"] = {"admin": False}
        assert await client.request("users", "admin") is False
        (answer,) = await client.subscribe("secret")
        assert answer["error"]["code"] == "forbidden"
        del users["ana"]
        (answer,) = await client.subscribe("secret")
        assert answer["error"]["code"] == "forbidden"
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_the_rate_of_a_handler_without_login_holds_over_new_connections() -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.handler("session", "start", login=False, rate_limit="2/minute")
    async def start() -> str:
        return "tried"

    tried = []
    for _ in range(4):
        async with realtime_client(app) as client:
            try:
                tried.append(await client.request("session", "start"))
            except RealtimeError as error:
                tried.append(error.code)
    assert tried == ["tried", "tried", "rate_limited", "rate_limited"]


async def test_leaving_a_room_of_ones_own_makes_no_place_for_more_connections() -> None:
    app = make_app(MAX_CONNECTIONS_PER_USER=2)
    realtime = Realtime(app)

    @realtime.room("user:<user_id>", presence=True)
    async def own(user_id: str) -> bool:
        return user_id == get_jwt_identity()

    good = await token(app)
    async with (
        realtime_client(app, good) as one,
        realtime_client(app, good) as two,
        realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as three,
    ):
        for client in (one, two):
            await client.subscribe("user:ana")
            await client.unsubscribe("user:ana")
        assert await three.wait_closed() == CloseCode.TOO_MANY_CONNECTIONS
        async with realtime_client(app, subprotocols=["realtime.v1", f"bearer.{good}"]) as four:
            assert await four.wait_closed() == CloseCode.TOO_MANY_CONNECTIONS


@pytest.mark.parametrize(
    "locations", [["query_string"], ["query_string", "headers"], ["cookies", "headers"]]
)
async def test_a_payload_can_not_bring_another_token(locations: list[str]) -> None:
    app = make_app()
    app.config["JWT_TOKEN_LOCATION"] = locations
    with_whoami(app)
    theirs = await token(app, "eva")
    headers = {"Cookie": f"access_token_cookie={theirs}"}
    async with realtime_client(app, await token(app), headers=headers) as client:
        told = await client.request("users", "me", jwt=theirs, access_token_cookie=theirs)
    assert told == {"identity": "ana"}


async def test_a_token_made_for_a_header_does_for_an_app_that_looks_for_cookies_first() -> None:
    app = make_app()
    app.config["JWT_TOKEN_LOCATION"] = ["headers"]
    of_header = await token(app)
    app.config["JWT_TOKEN_LOCATION"] = ["cookies", "headers"]
    realtime = Realtime(app)

    @app.post("/me")
    @jwt_required
    @realtime.handler("users", "me")
    async def me() -> dict[str, Any]:
        return {"identity": get_jwt_identity()}

    async with realtime_client(app, of_header) as client:
        assert await client.request("users", "me") == {"identity": "ana"}


async def test_leeway_counts_for_connections_as_for_requests() -> None:
    app = make_app()
    app.config["JWT_DECODE_LEEWAY"] = 60
    with_whoami(app)
    late = await token(app, expires_delta=timedelta(seconds=-5))
    async with realtime_client(app, late) as client:
        assert await client.request("users", "me") == {"identity": "ana"}
        await client.expect_none("anything")


async def test_a_hook_that_never_decides_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    app = with_whoami(make_app(AUTH_TIMEOUT=0.1))
    cancelled = asyncio.Event()

    @app.before_websocket
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with app.test_app(), app.test_client().websocket("/ws"):
        await asyncio.wait_for(cancelled.wait(), 2)
    assert "took too long to decide" in caplog.text


async def test_a_hook_that_is_given_up_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    app = with_whoami(make_app(AUTH_TIMEOUT=0.1))

    @app.after_websocket
    async def wait(response: Any) -> Any:
        await asyncio.Event().wait()

    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    bearer = f"Bearer {await token(app)}".encode()
    scope = {
        "type": "websocket",
        "asgi": {},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/ws",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"authorization", bearer)],
        "client": ("127.0.0.1", 1),
        "subprotocols": [],
        "extensions": {},
    }
    async with app.test_app():
        await asyncio.wait_for(app(scope, receive, send), 2)
    assert sent == []
    assert "took too long to decide" in caplog.text


async def test_a_token_that_is_checked_too_late_logs_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(AUTH_TIMEOUT=0.3)
    realtime = Realtime(app)
    greeted = []
    checking = asyncio.Event()
    checked = asyncio.Event()

    @realtime.on_connect
    async def greet(connection: Any) -> None:
        greeted.append(connection)

    @app.teardown_appcontext
    async def hang(error: BaseException | None) -> None:
        if checking.is_set():
            await checked.wait()

    good = await token(app)
    async with realtime_client(app) as client:
        await client.send({"type": "ping"})
        await client.receive("pong")
        checking.set()
        await client.send({"type": "auth", "id": "1", "payload": {"token": good}})
        await client.receive("closing")
        checked.set()
        assert await client.wait_closed() == CloseCode.AUTH_TIMEOUT
    assert greeted == []
    assert "failed" not in caplog.text


async def test_a_hook_that_refuses_after_the_view_refuses() -> None:
    app = make_app()
    realtime = Realtime(app)
    greeted = []

    @realtime.on_connect
    async def greet(connection: Any) -> None:
        greeted.append(connection.user_id)

    @app.after_websocket
    async def refuse(response: Any) -> Any:
        return Response("no", 403)

    with pytest.raises(HandshakeRefused, match="403"):
        async with realtime_client(app, user_id="ana"):
            pass
    assert greeted == []


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, "JWT_SECRET_KEY"),
        ({"JWT_ALGORITHM": "RS256", "JWT_SECRET_KEY": "s" * 32}, "JWT_PUBLIC_KEY"),
        ({"JWT_ALGORITHM": "RS256", "JWT_PUBLIC_KEY": "…"}, None),
        ({"SECRET_KEY": "s" * 32}, None),
    ],
)
async def test_start_up_refuses_an_app_that_could_check_no_token(
    settings: dict[str, Any], missing: str | None
) -> None:
    app = make_app()
    app.config.update({"JWT_SECRET_KEY": None} | settings)
    Realtime(app)
    if missing is None:
        async with app.test_app():
            pass
    else:
        with pytest.raises(SetupError, match=missing):
            await app.startup()


@pytest.mark.parametrize("late", ["a hook", "a loader"])
async def test_start_up_lets_an_app_be_that_gets_its_key_later(late: str) -> None:
    app = make_app()
    app.config["JWT_SECRET_KEY"] = None
    Realtime(app)
    if late == "a hook":

        @app.before_serving
        async def fetch() -> None:
            app.config["JWT_SECRET_KEY"] = "s" * 32
    else:
        app.extensions["quart-jwt-extended"].decode_key_loader(lambda claims, headers: "s" * 32)
    async with app.test_app():
        pass
