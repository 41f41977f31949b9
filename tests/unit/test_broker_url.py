"""The broker's URL: every form that it may have, and that none shows a password."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from quart_realtime.broker_url import (
    EXPECTED,
    BrokerUrl,
    Kind,
    parse_broker_url,
    without_secrets,
)
from quart_realtime.errors import SetupError
from quart_realtime.redis_servers import connect
from quart_realtime.settings import Settings


def servers_of(url: str) -> list[dict[str, Any]]:
    """What redis-py makes of each server's URL."""
    return [dict(parse_url(server)) for server in parse_broker_url(url).servers]


def server_of(url: str) -> dict[str, Any]:
    (server,) = servers_of(url)
    return server


# What a URL says


def test_memory_has_no_servers() -> None:
    assert parse_broker_url("memory://") == BrokerUrl(Kind.MEMORY)


SCHEMES = [
    ("redis://host", Kind.SINGLE, "redis://host:6379?db=0"),
    ("rediss://host", Kind.SINGLE, "rediss://host:6379?db=0"),
    ("unix:///run/redis.sock", Kind.SINGLE, "unix:///run/redis.sock?db=0"),
    ("redis+sentinel://host/ours", Kind.SENTINEL, "redis://host:26379?db=0"),
    ("rediss+sentinel://host/ours", Kind.SENTINEL, "rediss://host:26379?db=0"),
    ("redis+cluster://host", Kind.CLUSTER, "redis://host:6379?db=0"),
    ("rediss+cluster://host", Kind.CLUSTER, "rediss://host:6379?db=0"),
]


@pytest.mark.parametrize(("url", "kind", "server"), SCHEMES)
def test_each_scheme_says_what_is_there_and_on_which_port(
    url: str, kind: Kind, server: str
) -> None:
    parsed = parse_broker_url(url)
    assert parsed.kind is kind
    assert parsed.servers == (server,)
    assert parsed.prefix == "quart_realtime:0"


@pytest.mark.parametrize("url", ["rediss://host", "rediss+sentinel://host/ours"])
def test_a_scheme_with_a_second_s_is_tls(url: str) -> None:
    assert server_of(url)["connection_class"] is SSLConnection


def test_a_path_of_a_socket_is_taken_as_it_is() -> None:
    server = server_of("unix:///var/run/my%20redis/redis.sock")
    assert server["connection_class"] is UnixDomainSocketConnection
    assert server["path"] == "/var/run/my redis/redis.sock"


@pytest.mark.parametrize("url", ["redis://", "redis:///0", "redis:///"])
def test_a_url_without_a_host_means_this_machine(url: str) -> None:
    assert (server_of(url)["host"], server_of(url)["port"]) == ("localhost", 6379)


@pytest.mark.parametrize("port", [1, 6380, 65535])
def test_a_port_is_the_server_s(port: int) -> None:
    assert server_of(f"redis://host:{port}")["port"] == port


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("redis+cluster://a,b:7001,c", [("a", 6379), ("b", 7001), ("c", 6379)]),
        ("redis+sentinel://a:1,b,10.0.0.3:3/ours", [("a", 1), ("b", 26379), ("10.0.0.3", 3)]),
        ("redis+sentinel://[::1],[fe80::2]:7/ours", [("::1", 26379), ("fe80::2", 7)]),
        ("redis+cluster://my_host.example-1.com", [("my_host.example-1.com", 6379)]),
    ],
)
def test_several_hosts_each_have_their_port(url: str, places: list[tuple[str, int]]) -> None:
    assert [(server["host"], server["port"]) for server in servers_of(url)] == places


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://[::1]", ("::1", 6379)),
        ("redis://[::1]:6380/2", ("::1", 6380)),
        ("redis://:pw@[2001:db8::7]:6380", ("2001:db8::7", 6380)),
        ("redis://[::ffff:10.0.0.1]", ("::ffff:10.0.0.1", 6379)),
    ],
)
def test_an_ipv6_address_stands_in_brackets(url: str, place: tuple[str, int]) -> None:
    assert (server_of(url)["host"], server_of(url)["port"]) == place


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://host", 0),
        ("redis://host/", 0),
        ("redis://host/3", 3),
        ("redis://host/3/", 3),
        ("redis://host?db=3", 3),
        ("redis://host/?db=3", 3),
        ("redis://host/15?db=3", 15),
        ("unix:///redis.sock?db=3", 3),
        ("redis+sentinel://host/ours", 0),
        ("redis+sentinel://host/ours/", 0),
        ("redis+sentinel://host/ours/3", 3),
        ("redis+sentinel://host/ours?db=3", 3),
        ("redis+cluster://host/0", 0),
        ("redis+cluster://host?db=0", 0),
    ],
)
def test_the_database_is_the_server_s_and_part_of_all_names(url: str, database: int) -> None:
    assert server_of(url)["db"] == database
    assert parse_broker_url(url).prefix == f"quart_realtime:{database}"


@pytest.mark.parametrize("name", ["ours", "my-master.1", "0"])
def test_sentinel_s_name_for_the_master_comes_first_in_the_path(name: str) -> None:
    parsed = parse_broker_url(f"redis+sentinel://host/{name}/7")
    assert (parsed.service, parsed.prefix) == (name, "quart_realtime:7")


@pytest.mark.parametrize("prefix", ["shop", "a.b_c-D9", "x" * 64])
def test_a_prefix_is_what_all_names_begin_with_and_no_option_of_the_server_s(prefix: str) -> None:
    parsed = parse_broker_url(f"redis://host/2?prefix={prefix}&socket_timeout=3")
    assert parsed.prefix == f"{prefix}:2"
    assert parsed.servers == ("redis://host:6379?db=2&socket_timeout=3",)


def test_options_are_passed_on_to_each_server_as_they_are() -> None:
    url = "rediss+cluster://a,b?ssl_ca_certs=%2Fetc%2Fca.pem&health_check_interval=7&client_name=x"
    for server in servers_of(url):
        assert server["ssl_ca_certs"] == "/etc/ca.pem"
        assert server["health_check_interval"] == 7
        assert server["client_name"] == "x"


def test_options_for_the_sentinels_are_theirs_alone() -> None:
    parsed = parse_broker_url(
        "redis+sentinel://host/ours?sentinel_username=watch&client_name=x&sentinel_password=pw"
    )
    assert parsed.sentinel == "username=watch&password=pw"
    assert parsed.servers == ("redis://host:26379?db=0&client_name=x",)


def test_an_option_for_the_sentinels_may_be_percent_encoded_as_any_other() -> None:
    url = parse_broker_url("redis+sentinel://host/ours?sentinel_password=p%40s%26s")
    options = connect(url)._commands.sentinel_manager.sentinel_kwargs  # type: ignore[attr-defined]
    assert options["password"] == "p@s&s"


def test_a_number_among_the_options_for_the_sentinels_is_one() -> None:
    url = parse_broker_url("redis+sentinel://host/ours?sentinel_socket_timeout=1.5")
    assert connect(url)._commands.sentinel_manager.sentinel_kwargs["socket_timeout"] == 1.5  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["hosst=1", "db_=1", "no_such_option=secret"])
@pytest.mark.parametrize(
    "url", ["redis://host", "redis+sentinel://host/ours", "redis+cluster://host"]
)
def test_an_option_that_redis_py_does_not_know_is_told_by_name(url: str, option: str) -> None:
    with pytest.raises(SetupError) as caught:
        connect(parse_broker_url(f"{url}?{option}"))
    assert option.partition("=")[0] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("option", ["socket_timeout=soon", "max_connections=many"])
def test_an_option_of_the_wrong_kind_is_told_by_name(option: str) -> None:
    with pytest.raises(SetupError, match=option.partition("=")[0]):
        connect(parse_broker_url(f"redis://host?{option}"))


# Passwords

PASSWORDS = [
    ("simple", "simple"),
    ("p@ss", "p@ss"),
    ("@", "@"),
    ("p@ss:w@rd", "p@ss:w@rd"),
    ("p%40ss%2Fword%3F%23%25", "p@ss/word?#%"),
    ("100%", "100%"),
    ("a,b", "a,b"),
    ("a&b=c", "a&b=c"),
    ("with space", "with space"),
    ("üñí🙂", "üñí🙂"),
    ("%C3%BC", "ü"),
    ("a+b", "a+b"),
    ("'\"$;", "'\"$;"),
    ("***", "***"),
]


@pytest.mark.parametrize(("written", "password"), PASSWORDS)
@pytest.mark.parametrize(
    "form",
    [
        "redis://{}@host:6380/2",
        "rediss://{}@host",
        "redis://{}@[::1]:6380",
        "unix://{}@/redis.sock",
        "redis+sentinel://{}@a:1,b:2/ours/2",
        "redis+cluster://{}@a:1,b:2",
    ],
)
def test_a_password_may_hold_any_character_that_is_percent_encoded_or_ends_no_part(
    form: str, written: str, password: str
) -> None:
    for server in servers_of(form.format(f":{written}")):
        assert server["password"] == password
        assert "username" not in server
    for server in servers_of(form.format(f"ann:{written}")):
        assert (server["username"], server["password"]) == ("ann", password)


@given(st.text(min_size=1))
def test_any_password_at_all_can_be_percent_encoded(password: str) -> None:
    written = "".join(f"%{byte:02X}" for byte in password.encode())
    assert server_of(f"redis://:{written}@host/0")["password"] == password


@pytest.mark.parametrize("password", ["a[b", "a]b", "a[secret]b", "a\uff20b", "a\uff1ab"])
def test_a_password_that_redis_py_cannot_read_is_not_told(password: str) -> None:
    told = ""
    try:
        connect(parse_broker_url(f"redis://:{password}@host/0"))
    except (ValueError, SetupError) as error:
        told = str(error)
    assert password not in told
    assert "secret" not in told


# What is no URL of a broker


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "memory:",
        "memory:/",
        "redis",
        "redis:/host",
        "redis:host",
        "host:6379",
        "amqp://host",
        "http://host",
        "valkey://host",
        "redis+tls://host",
        "memory+cluster://",
        "REDIS://host",
        " redis://host",
        "redis://host#fragment",
        "redis://:p#ss@host",
        None,
        7,
        True,
        ["redis://host"],
        {"url": "redis://host"},
    ],
)
def test_what_is_no_broker_is_answered_with_what_one_looks_like(url: object) -> None:
    with pytest.raises(ValueError, match="memory://") as caught:
        parse_broker_url(url)
    assert str(caught.value) == EXPECTED


MALFORMED = {
    '"memory://", with nothing after it': (
        *("memory:///", "memory://localhost", "memory://?prefix=x", "memory:///0", "memory://x@y"),
    ),
    "a URL whose prefix is 1 to 64 letters, digits, . _ and -": (
        *(f"redis://host?prefix={prefix}" for prefix in ("", "a b", "a{b}", "a:b", "a%20b", "é")),
        *(f"redis://host?prefix={prefix}" for prefix in ("x" * 65, "*", "a\n")),
    ),
    'a URL with three slashes, as "unix:///path/to/redis.sock"': (
        *("unix://", "unix:///", "unix://redis.sock", "unix://host/redis.sock"),
    ),
    'a URL with the name of Sentinel\'s master, as "redis+sentinel://host/master"': (
        *("redis+sentinel://", "redis+sentinel://host", "redis+sentinel://host/"),
        *("redis+sentinel://host:26379?db=0", "redis+sentinel://a,b//"),
    ),
    "a URL whose hosts are host:port, with commas between": (
        *(f"redis://{host}" for host in ("host:", "host:x", "host:0", "host:65536", "host:-1")),
        *(f"redis://{host}" for host in ("host:123456", "host:6379:1", ":6379", "ho st", "host\n")),
        *(f"redis://{host}" for host in ("::1", "[::1", "[host]", "bücher.example")),
        *(f"redis+cluster://{hosts}" for hosts in ("a,", ",a", "a,,b", ",")),
    ),
    "a URL with the database's number after the last slash, 0 or none for a cluster": (
        *("redis://host/x", "redis://host/-1", "redis://host/1.0", "redis://host/0/1"),
        *("redis://host?db=", "redis://host?db=x", "redis://host/²", "unix:///redis.sock?db=x"),
        *("redis+sentinel://host/ours/x", "redis+sentinel://host/ours/0/1"),
        *("redis+cluster://host/1", "redis+cluster://host?db=1"),
    ),
    'a URL of one server; of several it begins with "redis+cluster://" or "redis+sentinel://"': (
        *("redis://a,b", "rediss://:pw@a:1,b:2/0"),
    ),
}
malformed = pytest.mark.parametrize(
    ("url", "message"), [(url, message) for message, urls in MALFORMED.items() for url in urls]
)


@malformed
def test_a_malformed_url_is_answered_with_what_it_must_be(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_broker_url(url)
    assert str(caught.value) == message


@malformed
def test_start_up_tells_the_same_with_the_key(url: str, message: str) -> None:
    with pytest.raises(SetupError) as caught:
        Settings.from_config({"QUART_REALTIME_BROKER_URL": url})
    (problem,) = caught.value.problems
    assert problem == (
        f"QUART_REALTIME_BROKER_URL is {without_secrets(url)}, but must be {message}."
    )


@given(st.text())
def test_any_text_is_a_url_or_refused_as_a_wrong_value(text: str) -> None:
    for url in (text, f"redis://{text}", f"redis+sentinel://{text}", f"redis+cluster://h/{text}"):
        try:
            parsed = parse_broker_url(url)
        except ValueError:
            continue
        assert parsed.servers or parsed.kind is Kind.MEMORY


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://host/00", "redis://host/0"),
        ("redis://host/٣", "redis://host/3"),
        ("redis://host?db=03", "redis://host/3"),
    ],
)
def test_two_ways_to_write_one_database_mean_the_same_names(one: str, other: str) -> None:
    try:
        prefix = parse_broker_url(one).prefix
    except ValueError:
        return
    assert prefix == parse_broker_url(other).prefix
