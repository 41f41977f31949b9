"""Whose word about who asks is taken."""

from __future__ import annotations

from typing import Any

import pytest

from quart_realtime.proxies import parse_network, see_through, site_of

TRUSTED = [parse_network("127.0.0.1"), parse_network("10.0.0.0/8"), parse_network("fd00::/8")]


def seen(*headers: tuple[str, str], client: Any = ("127.0.0.1", 4711)) -> dict[str, Any]:
    """Return what becomes of such a handshake's scope."""
    scope = {
        "client": client,
        "scheme": "ws",
        "headers": [(b"host", b"app-1:8000")]
        + [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    see_through(scope, TRUSTED)
    return scope


def address(*forwarded: str, client: Any = ("127.0.0.1", 4711)) -> str:
    return str(seen(*[("X-Forwarded-For", said) for said in forwarded], client=client)["client"][0])


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.7", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9", "10.1.2.3", "10.1.2.4"], "203.0.113.9"),
        (["made up, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["203.0.113.9:5678"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, fd12::1"], "203.0.113.9"),
    ],
)
def test_the_address_is_the_last_that_a_trusted_proxy_tells_of_and_is_none_itself(
    forwarded: list[str], expected: str
) -> None:
    assert address(*forwarded) == expected


@pytest.mark.parametrize("forwarded", [[], [""], ["unknown"], ["203.0.113.9, _hidden"], ["1.2.3"]])
def test_where_nothing_can_be_read_the_address_is_the_proxy_s(forwarded: list[str]) -> None:
    assert address(*forwarded) == "127.0.0.1"


def test_behind_an_address_that_can_be_read_nothing_else_counts() -> None:
    assert address("203.0.113.9, nonsense, 10.1.2.3") == "10.1.2.3"


@pytest.mark.parametrize(
    "client", [("192.0.2.1", 1), ("::1", 1), ("<local>", 1), ("", 0), None, ["2001:db8::1", 1]]
)
def test_who_is_not_trusted_says_nothing_about_others(client: Any) -> None:
    headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    ]
    scope = seen(*headers, client=client)
    assert (scope["client"], scope["scheme"]) == (client, "ws")
    assert (b"host", b"app-1:8000") in scope["headers"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("https", "wss"), ("wss", "wss"), ("http", "ws"), ("http, https", "wss"), ("gopher", "ws")],
)
def test_scheme_and_host_are_the_nearest_proxy_s_word(said: str, expected: str) -> None:
    scope = seen(("X-Forwarded-Proto", said), ("X-Forwarded-Host", "evil.example, app.example.com"))
    assert scope["scheme"] == expected
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    assert hosts == [b"app.example.com"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.8", False),
        ("2001:db8::1", "2001:db8::2:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one(one: str, other: str, same: bool) -> None:
    assert (site_of(one) == site_of(other)) is same


@pytest.mark.parametrize("address", ["", "<local>", "localhost"])
def test_what_is_no_address_is_not_counted(address: str) -> None:
    assert site_of(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", 7, None])
def test_what_is_no_network_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_network(text)
