"""Whose handshakes are counted, and what a connection's address is, behind proxies and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from .conftest import APP
from .server import Server, serving
from .sockets import Token, ask, opened

LIMIT = 5


@pytest.fixture(scope="module")
def proxied() -> Iterator[Server]:
    with serving(
        APP, HANDSHAKE_RATE_LIMIT=f"{LIMIT}/hour", TRUSTED_PROXIES=["127.0.0.1"]
    ) as server:
        yield server


async def address(server: Server, token: str, *forwarded: str) -> str:
    """Return what the app takes the client's address for."""
    how: dict[str, Any] = {"additional_headers": [("X-Forwarded-For", each) for each in forwarded]}
    async with opened(server, token, **how) as socket:
        asked = {"type": "request", "id": "1", "resource": "who", "payload": {"action": "address"}}
        return str((await ask(socket, asked))["payload"])


async def test_a_trusted_proxy_says_who_asks_and_nobody_else_does(
    proxied: Server, server: Server, token: Token
) -> None:
    assert await address(proxied, token("ana"), "203.0.113.1") == "203.0.113.1"
    assert await address(proxied, token("ana"), "6.6.6.6, 203.0.113.1") == "203.0.113.1"
    assert await address(proxied, token("ana"), "6.6.6.6", "203.0.113.1") == "203.0.113.1"
    assert await address(server, token("ana"), "203.0.113.1") == "127.0.0.1"


async def test_an_address_that_comes_too_often_is_told_when_to_come_back(
    proxied: Server, token: Token
) -> None:
    for _ in range(LIMIT):
        await address(proxied, token("ana"), "2001:db8::1")
    # Whoever has a network of IPv6 may choose any address in it.
    for same in ("2001:db8::1", "2001:db8::ffff:2"):
        with pytest.raises(InvalidStatus) as refused:
            await address(proxied, token("ana"), same)
        assert refused.value.response.status_code == 429
        assert 0 < int(refused.value.response.headers["Retry-After"]) <= 3600
    assert await address(proxied, token("ana"), "2001:db8:0:1::1") == "2001:db8:0:1::1"
    assert proxied.logs("QUART_REALTIME_TRUSTED_PROXIES")


async def test_before_login_a_handler_s_rate_holds_for_a_whole_network_of_ipv6(
    token: Token,
) -> None:
    codes: list[str] = []
    with serving(APP, TRUSTED_PROXIES=["127.0.0.1"]) as server:
        for number in range(5):
            forwarded = {"X-Forwarded-For": f"2001:db8::{number}"}
            async with opened(server, None, additional_headers=forwarded) as socket:
                frame = {"type": "request", "id": "1", "resource": "door"}
                answer = await ask(socket, {**frame, "payload": {"action": "knock"}})
                codes.append(answer["type"])
    assert codes == ["response"] * 3 + ["error"] * 2


async def test_a_page_behind_a_trusted_proxy_is_the_app_s_own(token: Token) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "app.example.com"}
    how: dict[str, Any] = {"additional_headers": told, "origin": "https://app.example.com"}
    with serving(APP, TRUSTED_PROXIES=["127.0.0.0/8"]) as server:
        async with opened(server, token("ana"), **how):
            pass
    with serving(APP) as server, pytest.raises(InvalidStatus):
        async with opened(server, token("ana"), **how):
            pass
