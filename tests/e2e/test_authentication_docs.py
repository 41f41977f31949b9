"""What docs/authentication.md shows is run as it stands."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
import quart
import quart_auth
import quart_jwt_extended
from quart import Quart

import quart_realtime
from quart_realtime import CloseCode, Realtime
from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import HandshakeRefused, realtime_client

from .server import ROOT

TEXT = (ROOT / "docs" / "authentication.md").read_text()


def shown(heading: str) -> dict[str, Any]:
    """Run the example below *heading*, with what it takes from the packages that it is about."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {"__name__": "example", "secrets": secrets}
    packages: list[Any] = [quart_auth, quart_jwt_extended, quart, quart_realtime]
    for name in set(re.findall(r"[A-Za-z_]\w+", code)):
        owner = next((each for each in packages if hasattr(each, name)), None)
        if owner is not None:
            names[name] = getattr(owner, name)
    if "QuartAuth" not in code:
        names.pop("current_user", None)
    exec(code, names)
    return names


async def test_tokens() -> None:
    app: Quart = shown("JSON Web Tokens")["app"]
    async with realtime_client(app, user_id="ana", claims={"role": "cook"}) as ana:
        assert await ana.request("users", "whoami") == {"id": "ana", "claims": {"role": "cook"}}


async def test_the_session() -> None:
    app: Quart = shown("Quart's session")["app"]
    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        assert ana.connected["user_id"] == "ana"
        assert await ana.request("profile", "get") == {"name": "ana"}
        await browser.post("/logout")
        assert await ana.wait_closed() == CloseCode.TOKEN_EXPIRED


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
async def test_quart_auth(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quart_auth.extension.DEFAULTS, "QUART_AUTH_MODE", mode)
    example = shown("Quart-Auth")
    app: Quart = example["app"]
    (extension,) = app.extensions["QUART_AUTH"]
    token = extension.dump_token("ana", app)
    headers = {"Origin": "http://localhost", "Cookie": f"QUART_AUTH={token}"}
    how: dict[str, Any] = {"token": token} if mode == "bearer" else {"headers": headers}
    async with realtime_client(app, **how) as ana:
        if mode == "cookie":
            await ana.wait_connected()
        assert await ana.request("profile", "get") == {"name": "ana"}


async def test_a_function_of_ones_own() -> None:
    example = shown("A function of your own")
    app: Quart = example["app"]
    for how in ({"token": "k-123"}, {"headers": {"X-API-Key": "k-123"}}):
        async with realtime_client(app, **how) as ana:
            if not ana.connected:
                await ana.wait_connected()
            assert ana.connected["expires_at"] == 4_102_444_800
            assert await ana.request("scopes", "get") == ["read"]
    example["TOKENS"]["k-123"]["scopes"] = []
    for token, message in (("k-123", "this key may not read"), ("k-9", "not accepted")):
        async with realtime_client(app, headers={"Authorization": f"Bearer {token}"}) as client:
            assert message in (await client.receive("error"))["payload"]["message"]
            assert await client.wait_closed() == CloseCode.UNAUTHORIZED


async def test_cookies_beside_an_origin() -> None:
    app: Quart = shown("Cookies and origins")["app"]
    browser = app.test_client()
    await browser.post("/login/ana")
    async with realtime_client(app, browser=browser) as ana:
        assert await ana.request("profile", "get") == {"name": "ana"}
    headers = {"Origin": "https://evil.example"}
    with pytest.raises(HandshakeRefused, match="403"):
        async with realtime_client(app, browser=browser, headers=headers):
            pass


async def test_what_it_says_of_each_answer_holds() -> None:
    """The table's other lines are tried in tests/core/test_custom_auth.py."""

    async def ask_of_nobody() -> None:
        return None

    app = Quart("tests")
    realtime = Realtime(app, authenticate=ask_of_nobody)

    @realtime.handler("public", "get", login=False)
    async def public() -> str:
        return "for all"

    @realtime.handler("private", "get")
    async def private() -> None: ...

    async with realtime_client(app) as client:
        assert await client.request("public", "get") == "for all"
        with pytest.raises(RealtimeError, match="log in first"):
            await client.request("private", "get")
