"""An app's own function in place of tokens: who gets in by it, and for how long."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import pytest
from quart import Quart, abort, current_app, g, request, session, websocket
from quart_auth import AuthUser, QuartAuth, current_user, login_required, login_user

from quart_realtime import (
    CloseCode,
    Forbidden,
    Identity,
    NotFound,
    Realtime,
    SetupError,
    Unauthorized,
    Unavailable,
    current_connection,
)
from quart_realtime.client_types import RealtimeError as Refused
from quart_realtime.custom_auth import THREADS
from quart_realtime.errors import RateLimited
from quart_realtime.testing import realtime_client

from ..waiting import until

TOKENS = {"opaque=1": "ana", "opaque/2": "ana", "3": "luis"}
OWN = {"Origin": "http://localhost"}


def bare_app(**settings: Any) -> Quart:
    """Make an app without JWTManager and QuartSchema."""
    app = Quart("tests")
    app.secret_key = "a secret for sessions"
    for name, value in settings.items():
        app.config[f"QUART_REALTIME_{name}"] = value
    return app


async def by_token(token: str | None) -> str | None:
    return TOKENS.get(token or "")


async def by_session() -> str | None:
    return session.get("user")


def with_routes(app: Quart, realtime: Realtime) -> Quart:
    @app.post("/login/<name>")
    async def login(name: str) -> Any:
        session["user"] = name
        return {}

    @app.post("/logout")
    @realtime.handler("session", "end")
    async def logout() -> Any:
        session.clear()
        return {}

    @app.get("/me")
    @realtime.handler("users", "me")
    async def me() -> Any:
        if "user" not in session:
            abort(401)
        return {"session": session["user"], "bearer": request.headers.get("Authorization")}

    @app.get("/bearer")
    @realtime.handler("users", "bearer")
    async def bearer() -> Any:
        return {"authorization": request.headers.get("Authorization")}

    @realtime.handler("users", "whoami")
    async def whoami() -> Any:
        return {"user_id": current_connection.user_id, "claims": current_connection.claims}

    @realtime.room("user-box:<name>")
    async def may_join(name: str) -> bool:
        return name == current_connection.user_id

    return app


def app_with(authenticate: Any, cookies: bool = True, **settings: Any) -> Quart:
    app = bare_app(**settings)
    return with_routes(app, Realtime(app, authenticate=authenticate, cookies=cookies))


async def code_of(app: Quart, **how: Any) -> int:
    async with realtime_client(app, **how) as client:
        return await client.wait_closed()


@pytest.mark.parametrize("door", ["subprotocol", "header", "auth message"])
async def test_a_token_comes_by_each_door_and_is_carried_on_to_routes(door: str) -> None:
    app = app_with(by_token)
    token = "3" if door == "subprotocol" else "opaque=1"
    how: dict[str, Any] = {
        "subprotocol": {"token": token},
        "header": {"headers": {"Authorization": f"bearer {token}"}},
        "auth message": {},
    }[door]
    async with realtime_client(app, **how) as client:
        if door == "auth message":
            await client.authenticate(token)
        elif door == "header":
            await client.wait_connected()
        assert (await client.request("users", "whoami"))["user_id"] == TOKENS[token]
        told = await client.request("users", "bearer")
        assert told == {"authorization": f"Bearer {token}"}
        box, other = await client.subscribe(f"user-box:{TOKENS[token]}", "user-box:eva")
        assert "error" not in box
        assert other["error"]["code"] == "forbidden"


async def test_another_scheme_is_left_to_the_function_and_carried_on() -> None:
    async def by_basic() -> str | None:
        given = websocket.authorization
        return given.username if given is not None and given.password == "secret" else None

    app = app_with(by_basic)
    headers = {"Authorization": "Basic YW5hOnNlY3JldA=="}
    async with realtime_client(app, headers=headers) as client:
        await client.wait_connected()
        assert (await client.request("users", "whoami"))["user_id"] == "ana"
        assert await client.request("users", "bearer") == {
            "authorization": headers["Authorization"]
        }


async def test_a_session_logs_in_and_holds_for_routes_as_over_http() -> None:
    app = app_with(by_session)
    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        assert ana.connected["user_id"] == "ana"
        over_http = await (await browser.get("/me")).get_json()
        assert await ana.request("users", "me") == over_http == {"session": "ana", "bearer": None}


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost"}])
async def test_cookies_that_do_not_count_are_not_there(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without an Origin it is no browser, and without cookies=True nothing is read from them."""
    caplog.set_level(logging.INFO, "quart_realtime")
    seen: list[Any] = []

    async def look() -> str:
        seen.append((dict(websocket.cookies), session.get("user")))
        return "ana"

    app = app_with(look, cookies=not headers)
    browser = app.test_client()
    await browser.post("/login/ana")
    jar = browser.cookie_jar
    assert jar is not None
    headers = headers | {"Cookie": "; ".join(f"{one.name}={one.value}" for one in jar)}
    async with realtime_client(app, headers=headers) as ana:
        await ana.wait_connected()
        with pytest.raises(Refused) as refused:
            await ana.request("users", "me")
    assert refused.value.code == "unauthorized"
    assert seen[0] == ({}, None)
    lines = [line for line in caplog.records if getattr(line, "why", "") == "cookie_without_origin"]
    # Where no cookies are to be had it says nothing of them.
    assert len(lines) == ("Origin" not in headers)


async def test_quart_auths_user_logs_in() -> None:
    app = bare_app()
    QuartAuth(app, cookie_secure=False)
    realtime = Realtime(app, authenticate=lambda: current_user.auth_id)

    @app.post("/login/<name>")
    async def login(name: str) -> Any:
        login_user(AuthUser(name))
        return {}

    @app.get("/me")
    @login_required
    @realtime.handler("users", "me")
    async def me() -> Any:
        return {"user_id": current_user.auth_id}

    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        assert ana.connected["user_id"] == "ana"
        assert await ana.request("users", "me") == {"user_id": "ana"}


@pytest.mark.parametrize("cookies", [{}, {"Cookie": "_ga=1; theme=dark"}])
async def test_who_shows_no_token_may_still_say_whatever_cookies_there_are(
    cookies: dict[str, str],
) -> None:
    in_no_time = app_with(by_session, AUTH_TIMEOUT=0.1)
    assert await code_of(in_no_time, headers=OWN | cookies) == CloseCode.AUTH_TIMEOUT
    async with realtime_client(app_with(by_token), headers=OWN | cookies) as client:
        await client.authenticate("3")
        assert (await client.request("users", "whoami"))["user_id"] == "luis"


async def test_a_token_of_nobody_is_refused_and_said_nowhere() -> None:
    app = app_with(by_token)
    async with realtime_client(app, headers={"Authorization": "Bearer stolen"}) as client:
        error = await client.receive("error")
        assert error["payload"]["message"] == "the token is not accepted"
        assert await client.wait_closed() == CloseCode.UNAUTHORIZED


@pytest.mark.parametrize("token", ["x€", "a\r\nb", "a b", "\x7f"])
async def test_a_token_that_no_header_can_bear_is_refused_as_any_other(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with realtime_client(app_with(lambda token: "ana" if token is not None else None)) as it:
        with pytest.raises(Refused) as refused:
            await it.authenticate(token)
        assert refused.value.code == "unauthorized"
        assert await it.wait_closed() == CloseCode.UNAUTHORIZED
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), True, "tomorrow"])
async def test_an_end_that_is_none_lets_nobody_in_and_is_told_to_the_app(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(lambda: Identity("ana", expires_at=wrong))
    assert await code_of(app) == CloseCode.INTERNAL_ERROR
    assert f"expires_at={wrong!r}: write when it ends, in seconds since the epoch" in caplog.text


def raising(error: Exception) -> Callable[[], Any]:
    async def authenticate() -> None:
        raise error

    return authenticate


async def aborting() -> None:
    abort(403)


@pytest.mark.parametrize(
    ("authenticate", "code", "message"),
    [
        (raising(Unauthorized("your account is closed")), "UNAUTHORIZED", "your account is closed"),
        (raising(Forbidden()), "UNAUTHORIZED", "not allowed"),
        (aborting, "UNAUTHORIZED", "You don't have the permission"),
        (raising(Unavailable()), "TRY_LATER", "not available"),
        (raising(RateLimited(3)), "TRY_LATER", "too many"),
        (raising(RuntimeError("secret")), "INTERNAL_ERROR", "logging in failed"),
        (raising(NotFound("secret")), "INTERNAL_ERROR", "logging in failed"),
        (lambda: 1.5, "INTERNAL_ERROR", "logging in failed"),
        (lambda: True, "INTERNAL_ERROR", "logging in failed"),
        (lambda: "", "INTERNAL_ERROR", "logging in failed"),
        (lambda: Identity(""), "INTERNAL_ERROR", "logging in failed"),
        (lambda: Identity("ana", expires_at=time.time() - 1), "TOKEN_EXPIRED", "has expired"),
    ],
)
async def test_what_goes_wrong_lets_nobody_in_and_is_told_as_what_it_is(
    authenticate: Any, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_with(authenticate)
    async with realtime_client(app) as client:
        error = await client.receive("error")
        assert message in error["payload"]["message"]
        assert "secret" not in str(error)
        assert await client.wait_closed() == CloseCode[code]
    assert ("logging in on connection" in caplog.text) == (code == "INTERNAL_ERROR")


async def test_a_function_that_never_decides_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    assert await code_of(app_with(forever, REQUEST_TIMEOUT=0.05)) == CloseCode.INTERNAL_ERROR


async def test_a_function_is_awaited_or_not_and_its_numbers_are_text() -> None:
    app = app_with(lambda: 7)
    async with realtime_client(app) as client:
        assert (await client.wait_connected())["user_id"] == "7"


async def test_an_identity_has_claims_and_an_end() -> None:
    ends = time.time() + 600

    async def known() -> Identity:
        return Identity("ana", {"role": "cook"}, ends)

    async with realtime_client(app_with(known)) as client:
        assert (await client.wait_connected())["expires_at"] == ends
        assert (await client.request("users", "whoami"))["claims"] == {"role": "cook"}


async def test_a_fresh_token_of_the_same_user_is_taken_and_of_another_is_not() -> None:
    app = app_with(by_token)
    async with realtime_client(app, headers={"Authorization": "Bearer opaque=1"}) as client:
        await client.wait_connected()
        await client.authenticate("opaque/2")
        assert await client.request("users", "bearer") == {"authorization": "Bearer opaque/2"}
        with pytest.raises(Refused, match="another user"):
            await client.authenticate("3")
        with pytest.raises(Refused, match="not accepted"):
            await client.authenticate("nonsense")
        assert (await client.request("users", "whoami"))["user_id"] == "ana"


class Account:
    """A user whose rights change while connected."""

    def __init__(self) -> None:
        self.said: Any = "ana"
        self.asked = 0

    async def __call__(self) -> Any:
        self.asked += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


@pytest.mark.parametrize("said", [None, "luis", Unauthorized("closed")])
@pytest.mark.parametrize("noticed", ["by recheck", "at a ping"])
async def test_who_counts_no_longer_is_sent_away(said: Any, noticed: str) -> None:
    account = Account()
    app = bare_app(PING_INTERVAL=25 if noticed == "by recheck" else 0.05)
    realtime = Realtime(app, authenticate=account)
    async with realtime_client(app) as client:
        await client.wait_connected()
        account.said = said
        if noticed == "by recheck":
            await realtime.recheck("ana")
        assert await client.wait_closed() == (
            # Of a login by cookies: the browser may have a newer one by now.
            CloseCode.TOKEN_EXPIRED if said is None else CloseCode.UNAUTHORIZED
        )


async def test_a_token_that_is_nobodys_any_more_ends_it_for_good() -> None:
    tokens = {"opaque": "ana"}
    app = bare_app()
    realtime = Realtime(app, authenticate=lambda token: tokens.get(token))
    async with realtime_client(app, headers={"Authorization": "Bearer opaque"}) as ana:
        await ana.wait_connected()
        tokens.clear()
        await realtime.recheck("ana")
        assert await ana.wait_closed() == CloseCode.UNAUTHORIZED


async def test_a_function_that_hangs_leaves_threads_to_the_app() -> None:
    """Its connections stay meanwhile, and are looked at when it answers again."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS + 1))
    answers, said = threading.Event(), ["ana"]
    answers.set()

    def slow() -> str | None:
        answers.wait(30)
        return said[0]

    app = bare_app(REQUEST_TIMEOUT=1)
    realtime = Realtime(app, authenticate=slow)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(realtime_client(app)) for _ in range(THREADS + 2)
        ]
        for client in clients:
            await client.wait_connected()
        answers.clear()
        try:
            await realtime.recheck("ana")
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5) == "done"
        finally:
            answers.set()
        await realtime.notify("still", 1)
        for client in clients:
            assert await client.expect("still") == 1
        said[0] = None
        await realtime.recheck("ana")
        for client in clients:
            assert await client.wait_closed() == CloseCode.TOKEN_EXPIRED


async def test_a_function_that_fails_later_throws_nobody_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    account = Account()
    app = bare_app()
    realtime = Realtime(app, authenticate=account)
    async with realtime_client(app) as client:
        await client.wait_connected()
        account.said = OSError("the database is away")
        await realtime.recheck("ana")
        assert "the database is away" in caplog.text
        await realtime.notify("still", 1)
        assert await client.expect("still") == 1


async def test_it_is_not_asked_for_each_request() -> None:
    account = Account()
    app = bare_app()
    with_routes(app, Realtime(app, authenticate=account))
    async with realtime_client(app) as client:
        await client.wait_connected()
        await client.request("users", "whoami")
        await client.request("users", "bearer")
        await client.subscribe("user-box:ana")
    assert account.asked == 1


async def test_other_claims_and_a_later_end_are_taken_with_the_next_look() -> None:
    account = Account()
    account.said = Identity("ana", {"boxes": ["1"]}, time.time() + 5)
    app = bare_app(PING_INTERVAL=0.1)
    realtime = Realtime(app, authenticate=account)

    @realtime.room("box:<box_id>")
    async def may_join(box_id: str) -> bool:
        return box_id in current_connection.claims["boxes"]

    async with realtime_client(app) as client:
        await client.wait_connected()
        await client.subscribe("box:1")
        account.said = Identity("ana", {"boxes": []}, time.time() + 600)
        assert (await client.expect("room_left"))["room"] == "box:1"
        (connection,) = realtime.connections()
        assert connection.identity == account.said
        after_the_first_end = asyncio.get_running_loop().time() + 8
        assert connection._heartbeat.overdue(after_the_first_end) is None


async def test_logging_out_over_the_socket_ends_it_with_the_next_look() -> None:
    app = bare_app()
    realtime = Realtime(app, authenticate=by_session)
    with_routes(app, realtime)
    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        await ana.request("session", "end")
        with pytest.raises(Refused) as refused:
            await ana.request("users", "me")
        assert refused.value.code == "unauthorized"
        assert await ana.wait_closed() == CloseCode.TOKEN_EXPIRED


async def test_a_hook_may_clean_up_after_it_and_nothing_of_it_stays() -> None:
    torn: list[Any] = []

    async def leaving_traces() -> str:
        g.mark = 1
        session["mark"] = 1
        return "ana"

    app = bare_app()
    realtime = Realtime(app, authenticate=leaving_traces)

    @app.teardown_websocket
    async def close(error: Any) -> None:
        torn.append(g.get("mark"))

    @app.get("/traces")
    @realtime.handler("traces", "get")
    async def traces() -> Any:
        return {"g": g.get("mark"), "session": session.get("mark")}

    async with realtime_client(app) as client:
        await client.wait_connected()
        assert await client.request("traces", "get") == {"g": None, "session": None}
    await until(lambda: 1 in torn)


async def test_nothing_can_be_sent_from_it(caplog: pytest.LogCaptureFixture) -> None:
    async def talkative() -> None:
        await websocket.send("hello")

    assert await code_of(app_with(talkative)) == CloseCode.INTERNAL_ERROR
    assert "looks at the handshake alone" in caplog.text


async def test_a_user_in_a_test_needs_no_token_of_the_apps() -> None:
    app = app_with(by_token)
    async with realtime_client(app, user_id="ana", claims={"role": "cook"}) as ana:
        told = await ana.request("users", "whoami")
        assert told == {"user_id": "ana", "claims": {"role": "cook"}}
        assert await ana.request("users", "bearer") == {"authorization": None}


async def test_one_realtime_logs_in_to_the_app_that_is_asked() -> None:
    async def by_app() -> str:
        return current_app.name

    realtime = Realtime(authenticate=by_app)
    for name in ("one", "two"):
        app = Quart(name)
        realtime.init_app(app)
        async with realtime_client(app) as client:
            assert (await client.wait_connected())["user_id"] == name


async def test_cookies_and_any_origin_are_an_error_at_start_up_unless_none_count() -> None:
    with pytest.raises(SetupError) as caught:
        await app_with(by_session, ALLOWED_ORIGINS="*").startup()
    for part in ("any page that a user looks at", "by_session (", "cookies=False"):
        assert part in str(caught.value)
    app = app_with(by_token, cookies=False, ALLOWED_ORIGINS="*")
    headers = {"Origin": "https://elsewhere.example", "Authorization": "Bearer opaque=1"}
    async with realtime_client(app, headers=headers) as client:
        assert (await client.wait_connected())["user_id"] == "ana"


@pytest.mark.parametrize(
    ("wrong", "told"), [("ana", "without calling it"), (lambda a, b: None, r"\(token\)")]
)
def test_what_can_not_be_asked_is_refused_at_once(wrong: Any, told: str) -> None:
    with pytest.raises(SetupError, match=told):
        Realtime(authenticate=wrong)


def test_an_app_with_a_function_of_its_own_never_loads_quart_jwt_extended() -> None:
    script = (
        "import sys; from quart import Quart; from quart_realtime import Realtime;"
        "Realtime(Quart('x'), authenticate=lambda: 'ana');"
        "import json; print(json.dumps([name for name in sys.modules if 'jwt' in name]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("origins", [None, ["https://b.example", "https://a.example"]])
@pytest.mark.parametrize("name", [None, "app.example.com"])
async def test_a_tests_browser_comes_from_a_page_that_may(origins: Any, name: str | None) -> None:
    app = app_with(by_session, ALLOWED_ORIGINS=origins)
    app.config["SERVER_NAME"] = name
    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        assert ana.connected["user_id"] == "ana"
