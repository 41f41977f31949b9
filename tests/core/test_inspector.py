"""The inspector's pages, as the app serves them: who may look, and what they are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from quart import Quart
from quart.testing.connections import WebsocketResponseError

import quart_realtime
from quart_realtime import Identity, Realtime, SetupError
from quart_realtime.endpoint import runtime_of
from quart_realtime.testing import _CLOSED, _Socket, realtime_client

from ..conftest import make_app
from ..waiting import until

FILES = sorted((Path(quart_realtime.__file__).parent / "static" / "inspector").iterdir())
PAGE = "/ws/inspector"
HERE = {"client": ("127.0.0.1", 40_000)}
ELSEWHERE = {"client": ("192.0.2.7", 40_000)}
BOUND = 15.0


def serving(*, debug: bool = False, **settings: Any) -> Quart:
    app = make_app(HANDSHAKE_RATE_LIMIT=None, **settings)
    app.debug = debug
    realtime = Realtime(app)

    @realtime.handler("users", "login", login=False)
    async def login(name: str, password: str) -> dict[str, str]:
        return {"access_token": "opaque and secret", "name": name}

    @realtime.room("room:<name>")
    async def may_join(name: str) -> bool:
        return True

    return app


async def get(app: Quart, path: str = PAGE, **how: Any) -> int:
    how.setdefault("scope_base", HERE)
    return int((await app.test_client().get(path, **how)).status_code)


async def log_in(app: Quart, token: str | None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = await app.test_client().post(f"{PAGE}/login", headers=headers, scope_base=HERE)
    return answer.status_code, await answer.get_json()


async def token_of(app: Quart, user_id: str = "eva", **claims: Any) -> str:
    return await runtime_of(app).authenticator.issue(user_id, claims)


class Page:
    """An open page: what it is told, as far as a test waits for it."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def wish(self, **wish: Any) -> None:
        await self._socket.send(json.dumps(wish))

    async def told(self, part: str, found: Callable[[Any], bool] = bool) -> Any:
        """Wait until the page is told a *part* that is as *found* says."""
        async with asyncio.timeout(BOUND):
            while True:
                news = json.loads(await self._socket.receive())
                if part in news and found(news[part]):
                    return news[part]

    async def frames(self, *types: str) -> list[dict[str, Any]]:
        """Wait until frames of all *types* have come, and return all that have."""
        frames: list[dict[str, Any]] = []
        while not set(types) <= {frame["type"] for frame in frames}:
            frames += await self.told("frames")
        return frames

    async def ended(self) -> int | None:
        """Return the close code."""
        async with asyncio.timeout(BOUND):
            while await self._socket.receive() != _CLOSED:
                pass
        code: int | None = self._socket.close_code
        return code


@asynccontextmanager
async def looking(
    app: Quart,
    token: str | None = None,
    scope: dict[str, Any] = HERE,
    **headers: str,
) -> AsyncIterator[Page]:
    offered = ["realtime.v1"] if token is None else ["realtime.v1", f"bearer.{token}"]
    opener = app.test_client()
    opener.websocket_connection_class = _Socket
    opening = opener.websocket(
        f"{PAGE}/live", headers=headers, scope_base={**scope, "subprotocols": offered}
    )
    async with cast(Any, opening) as socket:
        yield Page(socket)


async def refused(app: Quart, token: str | None = None, **how: Any) -> int:
    """Return the HTTP status that the websocket of a page is refused with."""
    with pytest.raises(WebsocketResponseError) as caught:
        async with looking(app, token, **how) as page:
            await page.told("about")
    return int(caught.value.response.status_code)


# Who may look


async def test_there_is_no_inspector_unless_it_is_asked_for() -> None:
    app = serving()
    for path in (PAGE, f"{PAGE}/inspector.js", f"{PAGE}/inspector.css"):
        assert await get(app, path) == 404
    assert (await log_in(app, await token_of(app, inspector=True)))[0] == 404
    assert await refused(app, await token_of(app, inspector=True)) == 404


async def test_in_debug_mode_it_is_for_this_machine_without_a_token() -> None:
    app = serving(debug=True)
    assert await get(app) == 200
    assert await log_in(app, None) == (200, {"user_id": None})
    async with app.test_app(), looking(app) as page:
        assert (await page.told("about"))["app"] == "tests"


@pytest.mark.parametrize(
    ("scope", "headers"),
    [
        (ELSEWHERE, {}),
        ({"client": None}, {}),
        (HERE, {"X-Forwarded-For": "127.0.0.1"}),
        (HERE, {"Forwarded": "for=127.0.0.1"}),
        (HERE, {"X-Real-IP": "192.0.2.7"}),
        (HERE, {"Host": "rebound.example"}),
        (HERE, {"Host": "localhost.example"}),
    ],
)
async def test_in_debug_mode_it_is_for_nobody_else(
    scope: dict[str, Any], headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app = serving(debug=True)
    assert await get(app, scope_base=scope, headers=headers) == 404
    assert "QUART_REALTIME_INSPECTOR" in caplog.text
    assert await refused(app, scope=scope, **headers) == 404


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "chat.localhost:1"])
async def test_this_machine_has_several_names(host: str) -> None:
    assert await get(serving(debug=True), headers={"Host": host}) == 200


@pytest.mark.parametrize(
    ("setting", "claims", "status"),
    [
        ("inspector", {"inspector": True}, 200),
        ("inspector", {"inspector": 1}, 403),
        ("inspector", {"inspector": "true"}, 403),
        ("inspector", {"inspector": False}, 403),
        ("inspector", {}, 403),
        ({"role": "admin"}, {"role": "admin"}, 200),
        ({"role": "admin"}, {"role": "user"}, 403),
        ({"role": "admin", "team": 7}, {"role": "admin"}, 403),
    ],
)
async def test_where_a_claim_is_named_it_is_for_tokens_that_have_it(
    setting: Any, claims: dict[str, Any], status: int
) -> None:
    app = serving(INSPECTOR=setting)
    assert await get(app, scope_base=ELSEWHERE) == 200  # The page, which asks for the token.
    token = await token_of(app, **claims)
    assert (await log_in(app, token))[0] == status
    if status != 200:
        assert await refused(app, token) == status
        return
    async with app.test_app(), looking(app, token, ELSEWHERE) as page:
        assert (await page.told("about"))["login"]


async def test_where_a_claim_is_named_debug_mode_opens_no_other_door() -> None:
    app = serving(debug=True, INSPECTOR="inspector")
    status, body = await log_in(app, None)
    assert (status, body["code"]) == (401, "unauthorized")
    assert await refused(app) == 401
    assert await refused(app, "no token at all") == 401


async def test_a_foreign_page_may_not_look_though_the_websocket_is_open_to_it() -> None:
    app = serving(debug=True, ALLOWED_ORIGINS="*")
    assert await refused(app, Origin="https://elsewhere.example") == 403
    async with app.test_app(), looking(app, Origin="http://localhost") as page:
        assert await page.told("about")


@pytest.mark.parametrize(("proxies", "status"), [(["127.0.0.1"], 200), ([], 403)])
async def test_a_page_logs_in_behind_a_proxy_that_is_trusted(
    proxies: list[str], status: int
) -> None:
    app = serving(INSPECTOR="inspector", TRUSTED_PROXIES=proxies)
    headers = {
        "Host": "127.0.0.1:8000",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "app.example.com",
        "Origin": "https://app.example.com",
        "Authorization": f"Bearer {await token_of(app, inspector=True)}",
    }
    answer = await app.test_client().post(f"{PAGE}/login", headers=headers, scope_base=HERE)
    assert answer.status_code == status


async def test_who_tries_tokens_is_slowed_down() -> None:
    app = make_app(INSPECTOR="inspector", HANDSHAKE_RATE_LIMIT="3/minute")
    Realtime(app)
    statuses = [(await log_in(app, "wrong"))[0] for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


@pytest.mark.parametrize("value", [True, None, "", " ", 7, [], {}, {"": 1}, ["inspector"]])
async def test_a_setting_that_names_no_claim_is_an_error_that_says_what_to_write(
    value: Any,
) -> None:
    with pytest.raises(SetupError, match="the claim that the token of whoever looks must have"):
        serving(INSPECTOR=value)


# The page


async def test_the_page_and_its_files_come_with_a_policy_that_runs_nothing_else() -> None:
    app = serving(debug=True)
    client = app.test_client()
    for path in (PAGE, *(f"{PAGE}/{file.name}" for file in FILES if file.suffix != ".html")):
        response = await client.get(path, scope_base=HERE)
        assert response.status_code == 200, path
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_nothing_else_is_served() -> None:
    app = serving(debug=True)
    for name in ("inspector.html", "nothing.js", "..%2Findex.js", "../index.js", ""):
        assert await get(app, f"{PAGE}/{name}") == 404


def test_the_page_puts_no_markup_together() -> None:
    for file in FILES:
        text = file.read_text()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
        ):
            assert way not in text, file.name


async def test_the_inspector_stands_in_no_description_of_the_api() -> None:
    body = await (await serving().test_client().get("/openapi.json")).get_json()
    assert not any("inspector" in path for path in body["paths"])


# What it is told


async def test_a_page_is_told_of_connections_that_come_and_go() -> None:
    app = serving(debug=True)
    async with app.test_app(), looking(app) as page:
        about = await page.told("about")
        assert {"name": "users.login", "arguments": ["name", "password"]}.items() <= about[
            "actions"
        ][0].items()
        assert about["rooms"] == ["room:<name>"]
        async with realtime_client(app, user_id="ana") as ana:
            await ana.subscribe("room:1")
            state = await page.told("state", lambda state: "room:1" in str(state))
            (connection,) = state["connections"]
            assert (connection["user"], connection["id"]) == ("ana", ana.id)
        assert not (await page.told("state", lambda state: not state["connections"]))["rooms"]


async def test_a_page_sees_what_goes_by_and_no_secret_in_it() -> None:
    app = serving(debug=True)
    async with app.test_app(), looking(app) as page:
        await page.told("about")
        async with realtime_client(app) as ana:
            token = await token_of(app, "ana")
            await ana.request("users", "login", name="ana", password="opaque and secret")
            await ana.authenticate(token)
            await runtime_of(app).publish("told", {"text": "hello"}, ["user:ana"], None)
            frames = await page.frames("request", "response", "auth", "connected", "event")
    text = json.dumps(frames)
    assert "hello" in text
    assert "opaque" not in text
    assert not any(part in text for part in token.split("."))


async def test_a_page_is_told_what_it_wishes_to_see() -> None:
    app = serving(debug=True)
    async with app.test_app(), looking(app) as page:
        await page.told("about")
        await page.wish(type="event", search="luis", opened="user:luis")
        async with realtime_client(app, user_id="ana"), realtime_client(app, user_id="luis"):
            await runtime_of(app).publish("told", 1, ["user:ana"], None)
            assert {frame["type"] for frame in await page.frames("event")} == {"event"}
            state = await page.told("state", lambda state: state["opened"]["members"])
        assert [one["user"] for one in state["connections"]] == ["luis"]
        assert [room["room"] for room in state["rooms"]] == ["user:luis"]


@pytest.mark.parametrize("said", ["", "7", '{"paused": "yes"}', '{"more": 1}', "[" * 50_000])
async def test_what_is_no_wish_ends_the_page(said: str) -> None:
    app = serving(debug=True)
    async with app.test_app(), looking(app) as page:
        await page._socket.send(said)
        assert await page.ended() == 4501


async def test_nothing_is_looked_at_when_the_last_page_has_gone() -> None:
    app = serving(debug=True)
    async with app.test_app():
        runtime = runtime_of(app)
        assert (runtime.tap, runtime.hub.tap) == (None, None)
        async with looking(app) as page:
            await page.told("about")
            assert runtime.tap is runtime.hub.tap is runtime.inspector
        await until(lambda: runtime.tap is None)
        assert runtime.hub.tap is None


async def test_a_page_ends_with_its_token() -> None:
    app = serving(INSPECTOR="inspector")
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = 2
    async with app.test_app(), looking(app, await token_of(app, inspector=True)) as page:
        assert await page.ended() == 4001


async def test_a_page_ends_when_its_token_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quart_realtime.inspector_link.CHECK_EVERY", 0.05)
    app = serving(INSPECTOR="inspector")
    app.config["JWT_BLACKLIST_ENABLED"] = True
    revoked: set[str] = set()
    manager = app.extensions["quart-jwt-extended"]
    manager.token_in_blacklist_loader(lambda data: data["jti"] in revoked or "all" in revoked)
    async with app.test_app(), looking(app, await token_of(app, inspector=True)) as page:
        await page.told("about")
        revoked.add("all")
        assert await page.ended() == 4500


class Login:
    """What an app's own function says of whoever looks, from one look to the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("quart_realtime.inspector_link.CHECK_EVERY", 0.05)
        self.said: Identity | Exception = Identity("eva", {"inspector": True})
        self.asked = 0
        self.app = Quart("tests")
        self.app.config["QUART_REALTIME_INSPECTOR"] = "inspector"
        Realtime(self.app, authenticate=self.say)

    async def say(self, token: str | None) -> Identity:
        self.asked += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    async def asked_again(self) -> None:
        """Wait until a page's right has been looked at once more, to the end."""
        asked = self.asked
        await until(lambda: self.asked > asked + 1)


async def test_a_page_ends_when_its_claim_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login(monkeypatch)
    async with login.app.test_app(), looking(login.app, "opaque") as page:
        await page.told("about")
        login.said = Identity("eva", {"inspector": False})
        assert await page.ended() == 4500


async def test_a_page_ends_when_the_latest_look_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login(monkeypatch)
    login.said = Identity("eva", {"inspector": True}, time.time() + 600)
    async with login.app.test_app(), looking(login.app, "opaque") as page:
        await page.told("about")
        login.said = Identity("eva", {"inspector": True}, time.time() + 0.5)
        assert await page.ended() == 4001


async def test_a_page_stays_where_nobody_knows_whether_it_may(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    login = Login(monkeypatch)
    async with login.app.test_app(), looking(login.app, "opaque") as page:
        await page.told("about")
        login.said = OSError("the database is away")
        await login.asked_again()
        login.said = Identity("eva", {"inspector": True})
        await login.asked_again()
        assert await page.told("state")
    assert "the database is away" in caplog.text


async def test_a_page_ends_when_the_app_stops() -> None:
    app = serving(debug=True)
    async with app.test_app(), looking(app) as page:
        await page.told("about")
        await runtime_of(app).drain()
        assert await page.ended() == 1012
        async with looking(app) as again:
            assert await again.ended() == 1012
