"""What the example believes of who stands in front of it, and what it tells them."""

import pytest

from example_app import create_app
from quart_realtime.testing import HandshakeRefused, realtime_client

PAGE = "https://chat.example.com"
FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "chat.example.com",
    "Host": "app-1:8000",
}


@pytest.mark.parametrize(
    ("proxies", "address"), [(0, "<local>"), (1, "198.51.100.7"), (2, "203.0.113.9")]
)
async def test_who_connects_is_who_as_many_proxies_say_as_are_trusted(config, proxies, address):
    app = create_app(config | {"TRUSTED_PROXIES": proxies})
    async with realtime_client(app, user_id="ana", headers=FORWARDED) as ana:
        assert (await ana.request("users", "whoami"))["remote_addr"] == address


async def refused(app, origin):
    try:
        async with realtime_client(app, user_id="ana", headers={**FORWARDED, "Origin": origin}):
            return False
    except HandshakeRefused:
        return True


async def test_behind_a_proxy_a_page_is_our_own_if_its_origin_is_the_one_that_was_asked(config):
    app = create_app(config | {"TRUSTED_PROXIES": 1})
    assert not await refused(app, PAGE)
    assert await refused(app, "http://app-1:8000")


async def test_without_a_trusted_proxy_nobody_can_say_for_which_host_they_ask(config):
    app = create_app(config)
    assert await refused(app, PAGE)
    assert not await refused(app, "http://app-1:8000")


async def test_a_process_is_healthy_until_it_sends_its_clients_away(app, anybody):
    assert await anybody.get("/health") == (200, {"draining": False, "broker_up": True})
    async with app.app_context():
        await app.extensions["QUART_REALTIME"].drain()
    assert await anybody.get("/health") == (503, {"draining": True, "broker_up": True})
