"""The configuration: read once, and wrong in no way that isn't told."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import exceptions

from quart_realtime.errors import SetupError
from quart_realtime.settings import Settings


def read(**values: Any) -> Settings:
    return Settings.from_config({f"QUART_REALTIME_{name}": value for name, value in values.items()})


def test_an_app_without_configuration_gets_the_documented_defaults() -> None:
    settings = Settings.from_config({})
    assert settings == Settings(
        url="/ws",
        broker_url="memory://",
        allowed_origins=None,
        auth_timeout=10,
        idle_timeout=300,
        ping_interval=25,
        max_message_size=65_536,
        send_buffer=1024 * 1024,
        max_connections_per_user=20,
        max_requests=16,
        request_timeout=30,
        rate_limit="100/second",
        history_size=100,
        history_ttl=300,
        idempotency_ttl=120,
        drain_timeout=10,
        retry_after=5,
        require_room=False,
    )


def test_the_keys_of_other_extensions_are_left_alone() -> None:
    assert Settings.from_config({"JWT_SECRET_KEY": "x", "URL": 3}) == Settings()


GOOD = [
    ("URL", "/realtime/v1"),
    ("AUTH_TIMEOUT", 0.5),
    ("ALLOWED_ORIGINS", "*"),
    ("ALLOWED_ORIGINS", None),
    ("ALLOWED_ORIGINS", []),
    ("ALLOWED_ORIGINS", ("https://app.example.com", "http://localhost:3000")),
    ("ALLOWED_ORIGINS", {"http://[::1]:8000"}),
    ("RATE_LIMIT", None),
    ("RATE_LIMIT", "10/minute"),
    ("RATE_LIMIT", "10/second; 100 per minute"),
    ("USER_RATE_LIMIT", "10/second"),
    ("HANDSHAKE_RATE_LIMIT", None),
    ("TRUSTED_PROXIES", ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]),
    ("HISTORY_SIZE", 0),
    ("MAX_MESSAGE_SIZE", 1),
    ("REQUIRE_ROOM", True),
    ("INSPECTOR", False),
    ("INSPECTOR", "inspector"),
    ("INSPECTOR", {"role": "admin"}),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_good_value_is_taken_as_it_is(name: str, value: Any) -> None:
    assert getattr(read(**{name: value}), name.lower()) == value


SECONDS = [
    "AUTH_TIMEOUT",
    "IDLE_TIMEOUT",
    "PING_INTERVAL",
    "REQUEST_TIMEOUT",
    "HISTORY_TTL",
    "IDEMPOTENCY_TTL",
    "DRAIN_TIMEOUT",
    "RETRY_AFTER",
]
COUNTS = ["MAX_MESSAGE_SIZE", "SEND_BUFFER", "MAX_CONNECTIONS_PER_USER", "MAX_REQUESTS"]
WRONG = [
    *((name, value) for name in SECONDS for value in (0, -1, "10", None, True, [10])),
    *((name, value) for name in COUNTS for value in (0, -1, 1.5, "10", None, True)),
    *(("HISTORY_SIZE", value) for value in (-1, 1.0, "10", None, False)),
    *(("URL", value) for value in ("", "/", "ws", None, 7, b"/ws", "wss://host/ws")),
    *(("RATE_LIMIT", value) for value in ("", "often", "100", 100, b"1/second", "-1/second")),
    *(("REQUIRE_ROOM", value) for value in (1, 0, "yes", None)),
    *(
        ("TRUSTED_PROXIES", value)
        for value in (1, "127.0.0.1", None, [1], ["localhost"], ["10.0.0.1/8"], {"10.0.0.1": True})
    ),
    *(
        ("ALLOWED_ORIGINS", value)
        for value in (
            "https://app.example.com",
            "",
            7,
            {"https://app.example.com": True},
            [None],
            ["*"],
            ["null"],
            ["app.example.com"],
            ["https://app.example.com/"],
            ["https://app.example.com/chat"],
            ["https://App.example.com"],
            ["ftp://app.example.com"],
            ["https://"],
            ["https://a.example.com,https://b.example.com"],
            ["http://[::1"],
        )
    ),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_its_key_and_value(name: str, value: Any) -> None:
    with pytest.raises(SetupError) as caught:
        read(**{name: value})
    (problem,) = caught.value.problems
    assert problem.startswith(f"QUART_REALTIME_{name} is {value!r}, but must be ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["AUTH_TIMEOUT", "RETRY_AFTER"])
def test_a_time_that_never_comes_is_refused(name: str, value: float) -> None:
    with pytest.raises(SetupError):
        read(**{name: value})


@pytest.mark.parametrize("value", ["0/second", "0/minute"])
def test_a_rate_that_lets_nothing_or_everything_through_is_refused(value: str) -> None:
    with pytest.raises(SetupError):
        read(RATE_LIMIT=value)


@pytest.mark.parametrize("value", ["/ws?x=1", "/ws#x", "/<name>", "//ws", "/w s"])
def test_a_url_that_no_request_can_match_is_refused(value: str) -> None:
    with pytest.raises(SetupError):
        read(URL=value)


@pytest.mark.parametrize(
    "origin",
    [
        "https://user@app.example.com",
        "https://app.example.com:99999",
        "https://app example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(SetupError):
        read(ALLOWED_ORIGINS=[origin])


def test_an_origin_that_is_no_url_is_answered_with_what_to_write() -> None:
    with pytest.raises(SetupError, match="a list of origins such as"):
        read(ALLOWED_ORIGINS=["http://[::1"])


def test_a_misspelt_key_is_told_with_the_right_one() -> None:
    with pytest.raises(SetupError, match="QUART_REALTIME_PING_INTERVAL"):
        read(PING_INTERVALL=5)


def test_an_unknown_key_is_told_with_all_that_are_known() -> None:
    with pytest.raises(SetupError) as caught:
        read(ZZZ=1)
    for name in ("URL", "HISTORY_TTL", "REQUIRE_ROOM"):
        assert f"QUART_REALTIME_{name}" in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SetupError) as caught:
        read(URL="ws", MAX_REQUESTS=0, PING_INTERVALL=5, AUTH_TIMEOUT=3)
    assert len(caught.value.problems) == 3
    assert "AUTH_TIMEOUT" not in str(caught.value)


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(exceptions.FrozenInstanceError):
        Settings().url = "/other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "no URL"),
        ("memory", "no URL"),
        ("amqp://localhost", "amqp://…"),
        (None, "of type NoneType"),
    ],
)
def test_a_wrong_broker_is_refused_without_its_secrets(value: object, shown: str) -> None:
    with pytest.raises(SetupError) as caught:
        Settings.from_config({"QUART_REALTIME_BROKER_URL": value})
    assert str(caught.value).startswith(f"QUART_REALTIME_BROKER_URL is {shown}, but must be ")
