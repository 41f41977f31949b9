"""Browsers that log in by cookies, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from quart_realtime import CloseCode

from .server import Server, serving
from .sockets import ask, close_code, opened, read


class Browser:
    """Keeps cookies, and sends them along with whatever page asks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies))

    async def post(self, path: str) -> None:
        """Post, with the cookie's CSRF value beside it where there is one."""
        csrf = next((one.value for one in self._cookies if one.name == "csrf_access_token"), None)
        headers = {} if csrf is None else {"X-CSRF-TOKEN": csrf}
        request = Request(self._server.url + path, method="POST", data=b"", headers=headers)
        (await asyncio.to_thread(self._opener.open, request, timeout=10)).close()

    @asynccontextmanager
    async def page(self, origin: str | None) -> AsyncIterator[ClientConnection]:
        """Open the websocket as a page of *origin* does."""
        cookies = "; ".join(f"{one.name}={one.value}" for one in self._cookies)
        headers = {"Cookie": cookies}
        async with opened(self._server, None, origin=origin, additional_headers=headers) as socket:
            yield socket


@pytest.fixture(scope="module", params=["by_session", "by_jwt"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(f"tests.e2e.cookie_apps:{request.param}") as server:
        yield server


def asking(action: str) -> dict[str, Any]:
    return {"type": "request", "id": "1", "resource": "users", "payload": {"action": action}}


async def test_a_cookie_logs_in_and_logging_out_ends_it(server: Server) -> None:
    browser = Browser(server)
    await browser.post("/login/ana")
    async with browser.page(server.url) as socket:
        assert (await read(socket))["payload"]["user_id"] == "ana"
        for action in ("me", "native"):
            assert (await ask(socket, asking(action)))["payload"] == {"user_id": "ana"}
        await browser.post("/logout")
        # A token in a cookie is refused for good; what a function goes by may be newer by now.
        assert await close_code(socket) in {CloseCode.UNAUTHORIZED, CloseCode.TOKEN_EXPIRED}


async def test_a_page_of_a_foreign_origin_can_not_use_the_cookie(server: Server) -> None:
    browser = Browser(server)
    await browser.post("/login/ana")
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            async with browser.page(origin):
                pass
        assert refused.value.response.status_code == 403
    async with browser.page(None) as socket:
        # No Origin, no cookie: whoever it is must still log in.
        assert (await ask(socket, asking("native")))["payload"]["code"] == "unauthorized"
