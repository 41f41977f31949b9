"""Where a socket may be opened from, and what is kept of the request that opens it."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart
from quart.wrappers import Websocket

from quart_realtime.errors import UnknownVersion
from quart_realtime.handshake import Brought, Handshake, choose_version, origin_is_allowed
from quart_realtime.protocol import SUBPROTOCOLS

APP = Quart("tests")
NOTHING = Brought(None, asks=False)
SECRET = Brought("secret", asks=True, used_up={"authorization"})


async def nothing(*_: Any) -> Any: ...


def websocket(*headers: tuple[str, str], scheme: str = "wss", **more: Any) -> Websocket:
    """Make what Quart makes of such a handshake."""
    scope: Any = {
        "type": "websocket",
        "asgi": {},
        "http_version": "1.1",
        "scheme": scheme,
        "path": "/mounted/ws",
        "query_string": b"a=1",
        "root_path": "/mounted",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("192.0.2.7", 4711),
        "subprotocols": [],
        **more,
    }
    return APP.asgi_websocket_class(APP, scope)._create_websocket_from_scope(nothing)


def allowed(
    origin: str, host: str = "app.example.com", scheme: str = "wss", origins: Any = None
) -> bool:
    opened = websocket(("Host", host), ("Origin", origin), scheme=scheme)
    return origin_is_allowed(opened, origins)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("https://app.example.com", "app.example.com", "wss"),
        ("https://app.example.com", "app.example.com:443", "wss"),
        ("https://app.example.com:443", "app.example.com", "wss"),
        ("https://app.example.com:8443", "app.example.com:8443", "wss"),
        ("HTTPS://APP.Example.COM", "app.example.com", "wss"),
        ("https://app.example.com", "APP.example.com", "wss"),
        ("http://localhost:5000", "localhost:5000", "ws"),
        ("http://127.0.0.1", "127.0.0.1:80", "ws"),
        ("http://[::1]:5000", "[::1]:5000", "ws"),
        ("http://[2001:DB8::1]", "[2001:db8::1]", "ws"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example", "wss"),
    ],
)
def test_the_app_s_own_origin_is_let_in(origin: str, host: str, scheme: str) -> None:
    assert allowed(origin, host, scheme)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("https://evil.com", "app.example.com", "wss"),
        ("https://app.example.com.evil.com", "app.example.com", "wss"),
        ("https://evil-app.example.com", "app.example.com", "wss"),
        ("https://example.com", "app.example.com", "wss"),
        ("https://sub.app.example.com", "app.example.com", "wss"),
        ("https://app.example.com@evil.com", "app.example.com", "wss"),
        ("https://evil.com@app.example.com", "app.example.com", "wss"),
        ("https://app.example.com:8443", "app.example.com", "wss"),
        ("https://app.example.com", "app.example.com:8443", "wss"),
        ("http://app.example.com", "app.example.com", "wss"),
        ("https://app.example.com", "app.example.com", "ws"),
        ("wss://app.example.com", "app.example.com", "wss"),
        ("file://", "app.example.com", "wss"),
        ("chrome-extension://app.example.com", "app.example.com", "wss"),
        ("null", "app.example.com", "wss"),
        ("NULL", "app.example.com", "wss"),
        ("null", "null", "wss"),
        ("", "app.example.com", "wss"),
        ("", "", "wss"),
        ("https://", "", "wss"),
        ("*", "app.example.com", "wss"),
        ("app.example.com", "app.example.com", "wss"),
        ("https://app.example.com/", "app.example.com", "wss"),
        ("https://app.example.com/path", "app.example.com", "wss"),
        ("https://app.example.com?a", "app.example.com", "wss"),
        ("https://app.example.com#a", "app.example.com", "wss"),
        ("https://app.example.com https://evil.com", "app.example.com", "wss"),
        ("https://app.example.com, https://evil.com", "app.example.com", "wss"),
        ("https://app.example.com,https://app.example.com", "app.example.com", "wss"),
        ("https://app.example.com:99999", "app.example.com", "wss"),
        ("https://app.example.com:x", "app.example.com:x", "wss"),
        ("http://[::1", "[::1", "ws"),
        ("http://[::1]", "[::2]", "ws"),
        ("http://::1", "[::1]", "ws"),
        ("http://[::1]:5000", "[::1]", "ws"),
    ],
)
def test_any_other_origin_is_refused(origin: str, host: str, scheme: str) -> None:
    assert not allowed(origin, host, scheme)


@pytest.mark.parametrize("origins", [["https://app.example.com"], None])
def test_a_doubled_origin_is_refused_even_if_each_is_good(origins: Any) -> None:
    opened = websocket(
        ("Host", "app.example.com"),
        ("Origin", "https://app.example.com"),
        ("Origin", "https://app.example.com"),
    )
    assert not origin_is_allowed(opened, origins)


def test_no_host_is_no_origin() -> None:
    opened = websocket(("Origin", "https://app.example.com"))
    assert not origin_is_allowed(opened, None)


@pytest.mark.parametrize("origins", [None, "*", [], ["https://app.example.com"]])
def test_who_sends_no_origin_is_no_browser_and_let_through(origins: Any) -> None:
    assert origin_is_allowed(websocket(("Host", "app.example.com")), origins)


LISTED = ["https://app.example.com", "http://localhost:3000", "http://[::1]:8000"]


@pytest.mark.parametrize("origin", [*LISTED, "https://APP.example.com"])
@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_an_origin_of_the_list_is_let_in_from_any_host(origin: str, kind: Any) -> None:
    assert allowed(origin, "api.example.org", origins=kind(LISTED))


@pytest.mark.parametrize(
    "origin",
    [
        "https://api.example.org",
        "https://app.example.com.evil.com",
        "https://app.example.co",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "http://app.example.com",
        "http://localhost:300",
        "null",
        "",
        "*",
    ],
)
def test_an_origin_beside_the_list_is_refused_even_the_app_s_own(origin: str) -> None:
    assert not allowed(origin, "api.example.org", origins=LISTED)


@pytest.mark.parametrize("origin", ["https://evil.com", "null", ""])
def test_a_star_lets_everybody_in_and_an_empty_list_nobody(origin: str) -> None:
    assert allowed(origin, origins="*")
    assert not allowed(origin, origins=[])


# What is kept


def test_the_headers_of_the_request_are_carried_on_without_those_of_the_hop() -> None:
    opened = websocket(
        ("Host", "app.example.com"),
        ("Cookie", "a=1"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.2"),
        ("Connection", "Upgrade"),
        ("UPGRADE", "websocket"),
        ("Sec-WebSocket-Key", "x"),
        ("Sec-WebSocket-Protocol", "realtime.v1, bearer.secret"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("authorization", "Bearer secret"),
    )
    kept = Handshake(opened, SECRET)
    assert [item for item in kept.headers() if item[0] != "Remote-Addr"] == [
        ("Host", "app.example.com"),
        ("Cookie", "a=1"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.2"),
    ]


def test_cookies_in_headers_of_their_own_stay_beside_one_that_is_set() -> None:
    kept = Handshake(websocket(("Cookie", "a=1"), ("Cookie", "b=2; c=3")), NOTHING)
    kept.set_cookie("b", "4")
    assert kept.headers().getlist("Cookie") == ["a=1; c=3; b=4"]


def test_a_token_is_not_in_the_text_of_a_handshake() -> None:
    opened = websocket(("Sec-WebSocket-Protocol", "bearer.secret"), subprotocols=["bearer.secret"])
    assert "secret" not in repr(SECRET)
    assert "secret" not in repr(Handshake(opened, SECRET))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["realtime.v1"], "realtime.v1"),
        (["bearer.x", "realtime.v1"], "realtime.v1"),
        (["bearer.x"], None),
        (["realtime.vx"], None),
    ],
)
def test_our_subprotocol_is_chosen_where_it_is_offered(
    offered: list[str], chosen: str | None
) -> None:
    opened = websocket(("Sec-WebSocket-Protocol", ", ".join(offered)), subprotocols=offered)
    handshake = Handshake(opened, NOTHING)
    assert handshake.subprotocol == chosen
    assert handshake.unknown_version is None


def test_the_highest_version_that_both_know_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (10, 9):
        monkeypatch.setitem(SUBPROTOCOLS, f"realtime.v{version}", version)
    assert choose_version(["realtime.v9", "realtime.v10", "realtime.v11"]) == "realtime.v10"
    assert choose_version(["realtime.v1", "bearer.x", "realtime.v9"]) == "realtime.v9"


def test_versions_that_nobody_here_knows_are_refused_and_told_which_are_known() -> None:
    with pytest.raises(UnknownVersion, match=r"this server speaks realtime\.v1") as refused:
        choose_version(["realtime.v3", "bearer.x", "realtime.v2"])
    assert refused.value.offered == ["realtime.v3", "realtime.v2"]
    assert refused.value.details == {"spoken": ["realtime.v1"]}


def test_the_rest_of_the_request_is_kept_as_http_would_see_it() -> None:
    opened = websocket(("Remote-Addr", "10.0.0.1"), scheme="ws", _quart_x=1, state={})
    kept = Handshake(opened, NOTHING)
    assert (kept.scheme, kept.root_path, kept.http_version) == ("http", "/mounted", "1.1")
    assert kept.remote_addr == "192.0.2.7"
    assert kept.token is None
    assert kept.scope()["state"] == {}
    assert "_quart_x" not in kept.scope()
    assert Handshake(websocket(), NOTHING).scheme == "https"
