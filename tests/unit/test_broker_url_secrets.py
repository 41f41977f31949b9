"""A password of the broker's URL is shown by nothing that may end in a log."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_realtime.broker_url import parse_broker_url, without_secrets
from quart_realtime.errors import SetupError
from quart_realtime.redis_servers import connect
from quart_realtime.settings import Settings

SECRET = "hunter2"

GOOD = [
    f"redis://:{SECRET}@host",
    f"redis://ann:{SECRET}@host:6379/0",
    f"redis://:a@{SECRET}@host",
    f"redis://:a%40{SECRET}@host",
    f"redis://:{SECRET}@[::1]:6379",
    f"redis://:{SECRET}@",
    f"redis://:{SECRET}\n@host",
    f"unix://:{SECRET}@/redis.sock",
    f"redis+sentinel://:{SECRET}@a,b/ours/0",
    f"redis+cluster://:{SECRET}@a,b?client_name=x@y",
    f"redis://host?password={SECRET}",
    f"redis://host?username=ann&password={SECRET}&client_name=x",
    f"redis+sentinel://a,b/ours?sentinel_password={SECRET}",
    f"redis+sentinel://:pw@a,b/ours?sentinel_username=ann&sentinel_password=x@{SECRET}",
    f"rediss://host?ssl_password={SECRET}",
]
BAD = [
    f"redis://:{SECRET}@host:x",
    f"redis://:{SECRET}@a,b",
    f"redis://:{SECRET}@host/x",
    f"redis://:{SECRET}@host?prefix=",
    f"redis://:{SECRET}#@host",
    f"redis://:{SECRET}",
    f"redis://:a\n{SECRET}@host:x",
    f"amqp://ann:{SECRET}@host",
    f"memory://:{SECRET}@host",
    f"unix://:{SECRET}@host/redis.sock",
    f"redis+sentinel://:{SECRET}@host",
    f"redis+sentinel://host?sentinel_password={SECRET}",
    f"redis+cluster://:{SECRET}@host/1",
    f"redis://host/x?password={SECRET}",
    # What a / or ? in a password cuts off looks like a host, a path or a query.
    f"redis://:{SECRET}/x@host",
    f"redis://ann:{SECRET}/x@host",
    f"redis://ann:1/{SECRET}@host",
    f"redis://:{SECRET}?x@host",
    f"{SECRET}",
    f"redis:{SECRET}@host",
    f"{SECRET}://host",
    f"redis://:p@ss://{SECRET}@host:x",
]


@pytest.mark.parametrize("url", GOOD)
def test_the_settings_and_the_parsed_url_do_not_show_the_password(url: str) -> None:
    settings = Settings.from_config({"QUART_REALTIME_BROKER_URL": url})
    assert settings.broker_url == url
    assert SECRET not in repr(settings)
    assert SECRET not in repr(parse_broker_url(url))


@pytest.mark.parametrize("url", BAD)
def test_a_refused_url_is_told_without_the_password(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        Settings.from_config({"QUART_REALTIME_BROKER_URL": url})
    assert "QUART_REALTIME_BROKER_URL" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@host".encode(), [f"redis://:{SECRET}@host"], {"p": SECRET}]
)
def test_a_url_that_is_no_text_is_told_without_the_password(url: object) -> None:
    with pytest.raises(SetupError) as caught:
        Settings.from_config({"QUART_REALTIME_BROKER_URL": url})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host?no_such_option=1",
        f"redis://:{SECRET}@host?socket_timeout=soon",
        f"redis://host?no_such_option={SECRET}",
        f"redis://:a[{SECRET}]b@host",
        f"redis://:{SECRET}\uff20@host",
        f"redis+sentinel://:{SECRET}@host/ours?no_such_option=1",
        f"redis+sentinel://host/ours?sentinel_no_such_option={SECRET}",
        f"redis+cluster://:{SECRET}@host?no_such_option=1",
    ],
)
def test_what_redis_py_refuses_is_told_without_the_password(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        connect(parse_broker_url(url))
    assert SECRET not in str(caught.value)
    # What it was raised from would be shown with it.
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_only_how_a_url_begins_is_shown() -> None:
    assert without_secrets("redis://:pw@host/0") == "redis://…"
    assert without_secrets("redis+sentinel://host/ours") == "redis+sentinel://…"
    assert without_secrets("memory://") == "memory://"
    assert repr(Settings(broker_url="redis://:pw@host/0")).count("redis://…") == 1


@given(st.text(max_size=20))
def test_no_password_at_all_is_shown(rest: str) -> None:
    for url in (f"redis://:{rest}{SECRET}@host/0", f"redis://:{SECRET}{rest}@host:x/0"):
        assert SECRET not in without_secrets(url)
        try:
            shown = repr(Settings.from_config({"QUART_REALTIME_BROKER_URL": url}))
        except SetupError as error:
            shown = str(error)
        assert SECRET not in shown
